"""Folders of detections as the material of a review: scans, candidates and their masks."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_normative.core.segments import measure
from napari_normative.errors import NormativeError, ReviewError
from napari_normative.io.names import file_digest, find_volumes, stem
from napari_normative.io.nifti import read_volume
from napari_normative.review.masks import encode_mask
from napari_normative.review.records import Image, Project, ReviewCandidate, Run
from napari_normative.volume import Volume, require_same_grid

RECORD = "detection.json"
LABELS = "candidates.nii.gz"
TABLE = "candidates.tsv"


@dataclass(frozen=True)
class Found:
    """A detection on disk and the scan it belongs to."""

    folder: Path
    scan: Path
    volume: int | None = None


@dataclass(frozen=True)
class Material:
    """What is reviewed; the same for all readers of a project.

    Attributes
    ----------
    images : tuple of Image
    runs : tuple of Run
    candidates : tuple of ReviewCandidate
        By image, strongest first.
    masks : mapping of str to bytes
        By digest.
    refused : tuple of str
        A sentence for each detection that cannot be reviewed.
    names : mapping of str to str
        File name without ending, by image; for assignment lists. Not kept in the review.
    """

    images: tuple[Image, ...]
    runs: tuple[Run, ...]
    candidates: tuple[ReviewCandidate, ...]
    masks: Mapping[str, bytes]
    refused: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


def find_detections(
    folder: Path, scans: Iterable[Path], *, volume: int | None = None
) -> tuple[list[Found], list[str]]:
    """Return the detections in a folder with their scans, and a sentence for each without one.

    A scan belongs to a detection when its file has the digest that the detection names.

    Parameters
    ----------
    folder : Path
        Of results of ``detect``: in it, or in folders in it, lies ``detection.json``.
    scans : iterable of Path
        Files and folders in which scans are looked for.
    volume : int, optional
        Which volume of 4D scans was compared.

    Raises
    ------
    ReviewError
        ``REV-030`` if there is no detection.
    """
    records = sorted(p for p in folder.rglob(RECORD) if not _hidden(p.relative_to(folder)))
    if not records:
        raise ReviewError(
            "REV-030",
            "the folder holds no detections",
            "Run `napari-normative detect SCANS --out FOLDER` first, or name its output folder.",
            subject=folder.name,
        )
    files = _Files([p for scan in scans for p in find_volumes(scan)])
    found, alone = [], []
    for record in records:
        try:
            digest = _read_json(record)["scan"]["sha256"]
        except (KeyError, TypeError, ReviewError):
            alone.append(str(_damaged(record.parent, f"{RECORD} cannot be read")))
            continue
        scan = files.with_digest(digest, record.parent.name)
        if scan is None:
            alone.append(
                str(
                    ReviewError(
                        "REV-031",
                        "the scan of this detection was not found",
                        "Name the folder of the scans with --scans; a file that was changed "
                        "since must be detected again.",
                        subject=record.parent.name,
                        consequence="It is not in the review.",
                    )
                )
            )
            continue
        found.append(Found(record.parent, scan, volume))
    return found, alone


def gather(
    found: Sequence[Found],
    root: Path,
    *,
    refused: Sequence[str] = (),
    progress: Callable[[str, float], None] = lambda step, fraction: None,
) -> Material:
    """Read detections into the material of a review.

    Parameters
    ----------
    found : sequence of Found
    root : Path
        Folder of the review; paths are kept relative to it where they can be.
    refused : sequence of str
        Sentences about what was refused before.
    progress : callable of (step, fraction)

    Raises
    ------
    ReviewError
        ``REV-032`` if none can be used.
    """
    images: list[Image] = []
    runs: list[Run] = []
    candidates: list[ReviewCandidate] = []
    masks: dict[str, bytes] = {}
    names: dict[str, str] = {}
    lines = list(refused)
    for at, detection in enumerate(found):
        progress("reading detections", at / len(found))
        name = f"case-{len(images) + 1:03d}"
        try:
            image, run, own, blobs = _read(detection, name, root)
        except NormativeError as error:
            lines.append(str(error))
            continue
        images.append(image)
        runs.append(run)
        candidates += own
        masks |= blobs
        names[name] = stem(detection.scan)
    if not images:
        raise ReviewError(
            "REV-032",
            f"none of the {len(found) + len(refused)} detections can be reviewed"
            + (f" (first: {lines[0]})" if lines else ""),
            "Mend what is named, and create the review again.",
        )
    return Material(tuple(images), tuple(runs), tuple(candidates), masks, tuple(lines), names)


def read_scan(image: Image, root: Path) -> Volume:
    """Return the scan of an image, checked to be the one that was compared.

    Raises
    ------
    ReviewError
        ``REV-033`` if the file is another one now.
    VolumeFileError
        If it cannot be read.
    """
    scan = read_volume(located(image.path, root), volume=image.volume)
    if scan.source.digest != image.digest:
        raise ReviewError(
            "REV-033",
            "the scan's file is not the one that the review was made of",
            "Put the former file back; its decisions are kept.",
            subject=image.id,
            consequence="The scan is not shown.",
        )
    return scan


def located(path: str, root: Path) -> Path:
    """Return where a path that a review keeps lies now."""
    return Path(os.path.normpath(root / path))


def moved(project: Project, root: Path, target: Path) -> Project:
    """Return a project whose paths are seen from another folder."""
    images = tuple(
        dataclasses.replace(
            image,
            path=_relative(located(image.path, root), target),
            folder=_relative(located(image.folder, root), target) if image.folder else "",
        )
        for image in project.images
    )
    return dataclasses.replace(project, images=images)


def _read(
    found: Found, name: str, root: Path
) -> tuple[Image, Run, list[ReviewCandidate], dict[str, bytes]]:
    record = _read_json(found.folder / RECORD)
    scan = read_volume(found.scan, volume=found.volume)
    labels = read_volume(found.folder / LABELS)
    require_same_grid(scan, labels)
    try:
        run = Run(
            image=name,
            model=str(record["model"]["name"]),
            model_digest=str(record["model"]["sha256"]),
            software=str(record["software"]),
            created_utc=str(record["created_utc"]),
            threshold_z=float(record["threshold_z"]),
        )
        image = Image(
            id=name,
            path=_relative(found.scan, root),
            digest=str(record["scan"]["sha256"]),
            volume=found.volume,
            shape=scan.shape,
            affine=tuple(tuple(map(float, row)) for row in scan.affine),
            folder=_relative(found.folder, root),
            score=float(record["scan_score"]),
            score_p=float(record["scan_p"]),
            foreground_ml=float(record["foreground_ml"]),
        )
        rows = _read_table(found.folder / TABLE)
        candidates, masks = [], {}
        for row in sorted(rows, key=lambda row: int(row["rank"])):
            mask = labels.data == int(row["label"])
            if not mask.any():
                raise _damaged(found.folder, f"candidate {row['label']} has no voxel")
            digest, masks_bytes = encode_mask(mask)
            masks[digest] = masks_bytes
            ml, centroid = measure(mask, scan)
            candidates.append(
                ReviewCandidate(
                    id=f"{name}-{row['id']}",
                    image=name,
                    value=int(row["label"]),
                    sign=int(row["sign"]),
                    peak_z=float(row["peak_z"]),
                    mean_z=float(row["mean_z"]),
                    volume_ml=ml,
                    centroid_mm=centroid,
                    p=float(row["p"]),
                    mask=digest,
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(found.folder, f"its record cannot be used ({error})") from error
    return image, run, candidates, masks


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path.parent, f"{path.name} cannot be read") from error
    if not isinstance(record, dict):
        raise _damaged(path.parent, f"{path.name} holds no record")
    return record


def _read_table(path: Path) -> list[dict[str, str]]:
    import csv

    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle, delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path.parent, f"{path.name} cannot be read") from error


def _damaged(folder: Path, why: str) -> ReviewError:
    return ReviewError(
        "REV-034",
        why,
        "Run the detection of this scan again.",
        subject=folder.name,
        consequence="It is not in the review.",
    )


def _relative(path: Path, root: Path) -> str:
    """Return a path as seen from the review, so that both can move together."""
    try:
        return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _hidden(below: Path) -> bool:
    return any(part.startswith(".") for part in below.parts)


class _Files:
    """Scans by their digest; a file is read only when it may be the one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(dict.fromkeys(paths))
        self._digests: dict[Path, str] = {}

    def with_digest(self, digest: str, name: str) -> Path | None:
        """Return the scan with a digest; files of this name are looked at first."""
        for path in sorted(self._paths, key=lambda path: stem(path) != name):
            if self._digest(path) == digest:
                return path
        return None

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            try:
                self._digests[path] = file_digest(path)
            except (OSError, NormativeError):
                self._digests[path] = ""
        return self._digests[path]
