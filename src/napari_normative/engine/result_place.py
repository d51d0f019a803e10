"""Where the results of one scan of a cohort lie: a folder of its own, or files named as in BIDS.

Either way a record says what made them, and where the record is, everything is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_normative.engine.batch import RECORD
from napari_normative.engine.bids_results import result_parts
from napari_normative.io.atomic import replace_files
from napari_normative.io.folders import whole_folder

if TYPE_CHECKING:
    from napari_normative.core.card import ModelCard
    from napari_normative.engine.detection import Detection


class Save(Protocol):
    """Writes a detection; with a card also the report for people."""

    def __call__(self, found: Detection, card: ModelCard | None) -> None: ...  # noqa: D102


class ResultPlace(Protocol):
    """Where the results of a scan lie."""

    @property
    def folder(self) -> Path:
        """The folder that a person opens."""

    def record(self) -> dict[str, Any] | None:
        """Return the record of what lies there; None where there is nothing whole."""

    def writing(self) -> Any:
        """Return a context that gives :class:`Save`; results appear at its end."""


@dataclass(frozen=True)
class ResultFolder:
    """A folder as ``detect`` writes it; it appears whole or not at all."""

    folder: Path

    def record(self) -> dict[str, Any] | None:
        """Return ``detection.json``."""
        return _read(self.folder / RECORD)

    @contextmanager
    def writing(self) -> Iterator[Save]:
        """Yield what saves into a folder that takes its place at the end."""
        with whole_folder(self.folder, RECORD) as fresh:

            def save(found: Detection, card: ModelCard | None) -> None:
                found.save(fresh)
                if card is not None:
                    from napari_normative.engine.case_report import save_case_report

                    save_case_report(found, fresh / "report.html", card=card)

            yield save


@dataclass(frozen=True)
class BidsFiles:
    """Files of one image in a BIDS derivatives dataset.

    Attributes
    ----------
    folder : Path
        The ``anat`` folder.
    entities : str
        Of the image, such as ``sub-01_ses-2``.
    suffix : str
        Of the image, such as ``T1w``.
    """

    folder: Path
    entities: str
    suffix: str

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.entities}_desc-anomaly_dseg.json"

    def record(self) -> dict[str, Any] | None:
        """Return the record inside the sidecar of the candidates."""
        sidecar = _read(self._record)
        found = None if sidecar is None else sidecar.get("Detection")
        return found if isinstance(found, dict) else None

    @contextmanager
    def writing(self) -> Iterator[Save]:
        """Yield what saves the files; the record goes first and comes last."""

        def save(found: Detection, card: ModelCard | None) -> None:
            parts = result_parts(found, self.folder, self.entities, self.suffix, card)
            record = parts.pop(self._record)
            self._record.unlink(missing_ok=True)
            replace_files({**parts, self._record: record})
            own = re.compile(re.escape(self.entities) + r"_desc-[a-z0-9]+_[A-Za-z0-9]+\..+")
            for path in self.folder.iterdir():
                if own.fullmatch(path.name) and path not in {*parts, self._record}:
                    path.unlink()  # of earlier options, such as samples

        yield save


def remove_unfinished_files(folders: set[Path]) -> None:
    """Remove what a killed process left half written in BIDS folders that nobody writes to."""
    for folder in folders:
        for path in folder.glob(".*.part") if folder.is_dir() else ():
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
