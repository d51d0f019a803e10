"""A set of synthetic volumes as files: a BIDS derivatives dataset of people that do not exist.

Volumes are written one by one, each with its sidecar, so that a run that was interrupted goes on
where it stopped. Equal volumes and facts give equal bytes.

References
----------
.. [1] Brain Imaging Data Structure 1.10, derivatives of imaging data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from napari_normative import __version__
from napari_normative.core.card import RESEARCH_USE
from napari_normative.errors import GenerationError
from napari_normative.io.atomic import replace_files
from napari_normative.io.bids_dataset import DESCRIPTION
from napari_normative.io.digest import file_digest
from napari_normative.io.folders import cannot_write
from napari_normative.io.tables import json_bytes, tsv_bytes
from napari_normative.io.writing import volume_parts
from napari_normative.volume import Volume

RECORD = "synthetic.json"
"""At the root of a set: what made it, and when."""

REPORT = ("quality.json", "quality.tsv", "quality.html")
_IGNORED = f"{RECORD}\nquality.*\n"
_LOCK = ".lock"

_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "participant_id": {"Description": "Number of a synthetic volume; it stands for nobody."},
    "synthetic": {"Description": "Always true: no row is a person."},
    "kind": {
        "Description": "Where the latents came from.",
        "Levels": {
            "prior": "The Gaussian of the latents of the model's training people.",
            "group": "The Gaussian of the latents of a group of people.",
            "posterior": "What the model holds possible for one scan.",
            "interpolation": "The straight line between the latents of two scans.",
        },
    },
    "seed": {"Description": "Of the draws; n/a where nothing was drawn."},
    "temperature": {"Description": "Of the draws: 1 as learnt, 0 the mean."},
    "model_sha256": {"Description": "Digest of the model that decoded the volume."},
    "sha256": {"Description": "Of the volume's file."},
}
_README = f"""# Synthetic volumes

{RESEARCH_USE}

Every volume in this dataset was made by a normative model. None is a scan, and none of the
"participants" is a person. Sidecars (`*.json`) name the model, the seed and, by digest, the scans
that had a part in it; `{RECORD}` says what made the whole set. `quality.*`, where they are there,
say how much the volumes are like real scans, and like whom.

Volumes are smoother than scans and show the head without skull. Keep them apart from scans in any
analysis; say in any publication how many they were.
"""


class SyntheticFolder:
    """The folder of one set.

    Parameters
    ----------
    root : Path
    suffix : str
        Of the images, such as ``T1w``.
    terms : str
        Digest of all that decides about the volumes; a folder holds one set.
    """

    def __init__(self, root: Path, suffix: str, terms: str) -> None:
        self.root, self.suffix, self.terms = root, suffix, terms

    def volume(self, number: int) -> Path:
        """Return the file of a volume, numbered from 1."""
        return self._folder(number) / f"{self._base(number)}.nii.gz"

    @contextmanager
    def claimed(self, count: int) -> Iterator[None]:
        """Keep other runs out, and make the folder known as that of a set of ``count`` volumes.

        Raises
        ------
        GenerationError
            ``GEN-002`` for other files or another set, ``GEN-003`` for a larger one, ``GEN-004``
            if another run is at work.
        OutputError
            If it cannot be written.
        """
        self._require_own(count)
        lock = FileLock(self.root / _LOCK, timeout=0)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise GenerationError(
                "GEN-004",
                "another run writes into this folder",
                "Wait for it, or choose another folder.",
                subject=self.root.name,
            ) from error
        except OSError as error:
            raise cannot_write(self.root, error) from error
        try:
            for left in self.root.glob("sub-synth*/anat/.*.part"):  # of a run that was killed
                left.unlink(missing_ok=True)
            self.note({"synthetic": True, "finished": False})
            yield
        finally:
            lock.release()

    def note(self, record: Mapping[str, Any]) -> None:
        """Write what made the set."""
        replace_files({self.root / RECORD: json_bytes({**record, "set": self.terms})})

    def holds(self, number: int) -> bool:
        """Whether a volume of this set is there, undamaged."""
        facts = _json_of(self._sidecar(number))
        if facts.get("Set") != self.terms:
            return False
        try:
            return bool(file_digest(self.volume(number)) == facts.get("SHA256"))
        except OSError:
            return False

    def write(
        self, number: int, made: Volume, like: Volume | None, facts: Mapping[str, Any]
    ) -> None:
        """Write a volume and its sidecar; the sidecar comes last."""
        path = self.volume(number)
        parts = volume_parts(path, made, like=like)
        digest = hashlib.sha256(parts[path]).hexdigest()
        sidecar = {
            "Description": "Synthetic: decoded from latents of a normative model; no scan.",
            "Notice": RESEARCH_USE,
            "Synthetic": True,
            "SkullStripped": True,
            "Number": number,
            **facts,
            "Set": self.terms,
            "SHA256": digest,
        }
        replace_files({**parts, self._sidecar(number): json_bytes(sidecar)})

    def finish(
        self, count: int, name: str, about: Mapping[str, Any], row: Mapping[str, Any]
    ) -> None:
        """Write the files at the root of the dataset.

        Parameters
        ----------
        count : int
        name : str
        about : mapping
            Further keys of ``dataset_description.json``.
        row : mapping
            What is equal in all rows of ``participants.tsv``.
        """
        import pandas as pd  # late: it takes a third of a second

        numbers = range(1, count + 1)
        rows = [
            {
                "participant_id": f"sub-{_code(n)}",
                "synthetic": True,
                **row,
                "sha256": _json_of(self._sidecar(n))["SHA256"],
            }
            for n in numbers
        ]
        description = {
            "Name": name,
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "napari-normative", "Version": __version__}],
            **about,
        }
        replace_files(
            {
                self.root / "participants.tsv": tsv_bytes(pd.DataFrame(rows, columns=[*_COLUMNS])),
                self.root / "participants.json": json_bytes(_COLUMNS),
                self.root / "README.md": _README.encode(),
                self.root / ".bidsignore": _IGNORED.encode(),
                self.root / DESCRIPTION: json_bytes(description),
            }
        )

    def write_report(self, parts: Sequence[bytes]) -> list[Path]:
        """Write the report's record, table and page."""
        files = [self.root / name for name in REPORT]
        replace_files(dict(zip(files, parts, strict=True)))
        return files

    def _require_own(self, count: int) -> None:
        if not self.root.is_dir() or not any(p.name != _LOCK for p in self.root.iterdir()):
            return
        if _json_of(self.root / RECORD).get("set") != self.terms:
            raise GenerationError(
                "GEN-002",
                "the folder holds other files, or synthetic volumes of another model, seed or kind",
                "Choose another folder.",
                subject=self.root.name,
            )
        found = len(list(self.root.glob(f"sub-synth*/anat/*_{self.suffix}.nii.gz")))
        if found > count:
            raise GenerationError(
                "GEN-003",
                f"the folder holds {found} volumes of this set already, {count} were asked for",
                "Ask for at least as many, or choose another folder.",
                subject=self.root.name,
            )

    def _folder(self, number: int) -> Path:
        return self.root / f"sub-{_code(number)}" / "anat"

    def _base(self, number: int) -> str:
        return f"sub-{_code(number)}_desc-synthetic_{self.suffix}"

    def _sidecar(self, number: int) -> Path:
        return self._folder(number) / f"{self._base(number)}.json"


def _code(number: int) -> str:
    return f"synth{number:04d}"


def _json_of(path: Path) -> dict[str, Any]:
    """Return a record; empty where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
