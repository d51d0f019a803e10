"""What the values of a label volume mean: the lookup table beside it, written and read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.segments import Segment
from napari_normative.errors import OutputError, RegionsFileError
from napari_normative.io.imported import file_bytes
from napari_normative.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**24
"""Largest label: float32 counts in whole numbers up to here."""

DECISIONS = {
    "accept": "The reader accepted the candidate as a finding.",
    "reject": "The reader rejected the candidate.",
    "uncertain": "The reader could not decide.",
}

COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "index": {"Description": "Value of the region's voxels."},
    "name": {"Description": "Name of the region."},
    "color": {"Description": "Colour for display, #RRGGBB."},
    "id": {"Description": "Identifier of the candidate in the review."},
    "decision": {"Description": "What the reader decided.", "Levels": DECISIONS},
    "label": {"Description": "Word that the reader chose from the review's label set."},
    "volume_ml": {"Description": "Volume of the region.", "Units": "mL"},
    "x_mm": {"Description": "Centroid, to the right in world coordinates (RAS+).", "Units": "mm"},
    "y_mm": {"Description": "Centroid, to the front in world coordinates.", "Units": "mm"},
    "z_mm": {"Description": "Centroid, upwards in world coordinates.", "Units": "mm"},
}
"""Columns of the table, in order, described as BIDS describes columns."""

_MOST_BYTES = 1 << 24
_REMEDY = "Use a table that this program or a BIDS tool wrote: tab-separated UTF-8 text."


def lookup_table(segments: Iterable[Segment]) -> pd.DataFrame:
    """Return one row for each segment, by value; columns are :data:`COLUMNS`."""
    import pandas as pd

    rows = [
        (s.value, s.name, "#{:02X}{:02X}{:02X}".format(*s.colour), s.id, s.decision, s.label,
         s.volume_ml, *s.centroid_mm)
        for s in sorted(segments, key=lambda s: s.value)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_lookup(path: Path) -> tuple[Segment, ...]:
    """Return the meanings in a lookup table; volume and place are left to be measured.

    ``index`` and ``name`` are needed; ``id``, ``decision`` and ``label`` are read where given.

    Raises
    ------
    RegionsFileError
        ``IMP-031`` if the table cannot be understood.
    """
    try:
        text = file_bytes(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad_table(path, "it is not UTF-8 text") from error
    lines = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()]
    names, rows = (lines[0], lines[1:]) if lines else ([], [])
    if not {"index", "name"} <= set(names):
        raise _bad_table(path, "its first line does not name the columns index and name")
    found: dict[int, Segment] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise _bad_table(path, f"row {number} has not one cell for each column")
        cells = {name: _text(cell) for name, cell in zip(names, row, strict=True)}
        index, decision = cells["index"], cells.get("decision", "")
        value = int(index) if re.fullmatch("[0-9]{1,8}", index) else -1
        if not 0 <= value <= LARGEST or value in found:
            raise _bad_table(path, f"row {number} has no index of its own")
        if decision not in ("", *DECISIONS):
            raise _bad_table(path, f"row {number} has an unknown decision")
        found[value] = unmeasured(
            value, cells.get("id", ""), cells["name"], decision, cells.get("label", "")
        )
    found.pop(0, None)  # the background
    return tuple(found.values())


def unmeasured(
    value: int, id: str = "", name: str = "", decision: str = "", label: str = ""
) -> Segment:
    """Return a segment whose volume and place :func:`measured` fills in."""
    return Segment(value, id, name or f"region {value}", decision, label, 0.0, (0.0, 0.0, 0.0))


def measured(labels: Volume, meanings: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return a segment, with volume and centroid, for each value that occurs, in order.

    A value without a meaning gets an ordinary name; a meaning without voxels is left out.
    """
    known = {segment.value: segment for segment in meanings}
    places = np.nonzero(labels.data)
    values, number = np.unique(labels.data[places].astype(np.int64), return_inverse=True)
    counts = np.bincount(number, minlength=len(values))
    sums = [np.bincount(number, weights=axis, minlength=len(values)) for axis in places]
    centres = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
    world = centres @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    return tuple(
        dataclasses.replace(
            known.get(value) or unmeasured(value),
            volume_ml=int(count) * labels.voxel_ml,
            centroid_mm=(float(place[0]), float(place[1]), float(place[2])),
        )
        for value, count, place in zip(values.tolist(), counts, world, strict=True)
    )


def described(labels: Volume, segments: Sequence[Segment], name: str) -> NDArray[np.int32]:
    """Return the labels as whole numbers, each of them with one meaning.

    Raises
    ------
    OutputError
        ``OUT-030`` if a value has no segment, two segments share a value or an id, or a
        segment's value is no label.
    """
    values = [segment.value for segment in segments]
    ids = [segment.id for segment in segments if segment.id]
    present = np.unique(labels.data)
    why = ""
    if not np.isin(present, [0, *values]).all():
        why = "the labels hold a value that no segment describes"
    elif len(set(values)) < len(values) or len(set(ids)) < len(ids):
        why = "two segments share a value or an id"
    elif not all(1 <= value <= LARGEST for value in values):
        why = f"a segment's value is not between 1 and {LARGEST:,}"
    if why:
        raise OutputError("OUT-030", why, "Give each value one segment.", subject=name)
    return labels.data.astype(np.int32)


def whole_labels(volume: Volume) -> Volume:
    """Return a volume that was read from a file, marked as labels.

    Raises
    ------
    RegionsFileError
        ``IMP-030`` if a value is negative, between whole numbers or too large.
    """
    data = volume.data
    if (data < 0).any() or (data > LARGEST).any() or (data != np.rint(data)).any():
        raise RegionsFileError(
            "IMP-030",
            "its values are no labels: some are negative, between whole numbers or too large",
            "Choose the file with the regions, not a scan or a map.",
            subject=volume.source.name,
        )
    return volume if volume.source.is_label else volume.with_data(data, is_label=True)


def _text(cell: str) -> str:
    """Take back what :func:`~napari_normative.io.tables.tsv_bytes` does to a text."""
    cell = cell.strip()
    if cell == "n/a":
        return ""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@") else cell


def _bad_table(path: Path, why: str) -> RegionsFileError:
    return RegionsFileError(
        "IMP-031", f"the lookup table cannot be used: {why}", _REMEDY, subject=path.name
    )
