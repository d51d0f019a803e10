"""Masks that were edited elsewhere, back into a review."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from napari_normative.core.grid import on_grid
from napari_normative.core.segments import Segment
from napari_normative.errors import ReviewError
from napari_normative.io.names import stem
from napari_normative.review.book import Book
from napari_normative.review.masks import encode_mask
from napari_normative.review.material import read_scan
from napari_normative.review.reading import Pass
from napari_normative.review.records import NewEvent
from napari_normative.volume import Volume


def import_labels(book: Book, case: str, path: Path, table: Path | None = None) -> int:
    """Take the masks of a scan from a file, as edits of the review; return how many changed.

    A region that carries the id of a candidate replaces its mask; any other is a finding that
    the reader added. A candidate that is not in the file stays as it is.

    Parameters
    ----------
    book : Book
    case : str
        Code of the scan.
    path : Path
        NIfTI labels, a 3D Slicer segmentation (``.seg.nrrd``) or a DICOM SEG (``.dcm``), on the
        scan's voxels.
    table : Path, optional
        Lookup table of NIfTI labels; the ``.tsv`` beside them unless given.

    Raises
    ------
    ReviewError
        ``REV-060`` if the review has no such scan.
    GeometryMismatchError
        If the voxels of the file are not the scan's: nothing is resampled.
    NormativeError
        If the file is refused.
    """
    at = book.reading.first_passes().get(case)
    if at is None:
        raise ReviewError(
            "REV-060",
            f"the review has no scan {case!r}",
            f"Name one of {', '.join(list(book.images)[:3])}, ….",
        )
    scan = read_scan(book.images[case], book.root)
    labels, segments = read_regions(path, scan, table)
    events, masks = changes(book, at, labels, segments)
    if events:
        book.record(*events, masks=masks).result()
    return len(masks)


def changes(
    book: Book, at: Pass, labels: Volume, segments: Sequence[Segment]
) -> tuple[list[NewEvent], dict[str, bytes]]:
    """Return the events that make a pass hold the regions of a label volume, with their masks."""
    edited, events, masks = {}, [], {}
    value = book.reading.free_value(at.number)
    for segment in segments:
        digest, data = encode_mask(labels.data == segment.value)
        read = at.read(segment.id)
        if read is not None and read.mask == digest:
            continue
        masks[digest] = data
        if read is not None:
            edited[segment.id] = digest
            continue
        details = {"mask": digest, "value": value, "how": "imported"}
        name = f"{at.image}-{uuid.uuid4().hex[:12]}"
        events.append(NewEvent("add", at.number, name, details))
        if segment.label in book.project.labels:
            events.append(NewEvent("label", at.number, name, {"label": segment.label}))
        value += 1
    if edited:
        details = {"masks": edited, "how": "imported"}
        events.insert(0, NewEvent("edit_mask", at.number, next(iter(edited)), details))
    return events, masks


def read_regions(
    path: Path, scan: Volume, table: Path | None = None
) -> tuple[Volume, tuple[Segment, ...]]:
    """Read regions from a file, on the voxels of a scan; see :func:`import_labels`."""
    if path.name.lower().endswith(".nrrd"):
        from napari_normative.io.segnrrd import read_seg_nrrd

        labels, segments = read_seg_nrrd(path)
    elif path.name.lower().endswith(".dcm"):
        from napari_normative.io.dicom import read_seg

        labels, segments = read_seg(path, scan)
    else:
        from napari_normative.io.labelfile import read_labels

        beside = path.with_name(f"{stem(path)}.tsv")
        labels, segments = read_labels(path, table or (beside if beside.is_file() else None))
    return on_grid(labels, scan), segments
