"""Regions as a NIfTI label volume on the scan's grid, with the lookup table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_normative.core.segments import Segment
from napari_normative.io.atomic import replace_files
from napari_normative.io.lookup import (
    described,
    lookup_table,
    measured,
    read_lookup,
    whole_labels,
)
from napari_normative.io.names import stem
from napari_normative.io.nifti import read_volume
from napari_normative.io.tables import tsv_bytes
from napari_normative.io.transforms import Trust
from napari_normative.io.writing import volume_parts
from napari_normative.volume import Volume


def write_labels(
    path: str | Path, labels: Volume, segments: Sequence[Segment], like: Volume
) -> tuple[Path, Path]:
    """Write labels on the exact grid of the scan, and a table of what they mean.

    Both files are new or both are old, whatever fails before the first is renamed.

    Parameters
    ----------
    path : str or Path
        Ends in ``.nii.gz`` or another name that
        :func:`~napari_normative.io.writing.write_volume` knows.
    labels : Volume
        Whole numbers from 0.
    segments : sequence of Segment
        One for each value but 0.
    like : Volume
        The scan, whose header gives transforms, codes and unit.

    Returns
    -------
    labels, table : Path
        ``path``, and the same name ending in ``.tsv``.

    Raises
    ------
    OutputError
        ``OUT-030`` if values and segments do not fit; others as in ``write_volume``.
    GeometryMismatchError
        If the labels lie on another grid than the scan.
    """
    target = Path(path)
    table = target.with_name(f"{stem(target)}.tsv")
    values = described(labels, segments, target.name)
    parts = volume_parts(target, labels.with_data(values, is_label=True), like=like)
    replace_files({**parts, table: tsv_bytes(lookup_table(segments))})
    return target, table


def read_labels(
    path: str | Path, table: str | Path | None = None, *, trust: Trust | None = None
) -> tuple[Volume, tuple[Segment, ...]]:
    """Read a label volume and what its values mean.

    Parameters
    ----------
    path : str or Path
        NIfTI or MGH.
    table : str or Path, optional
        Tab-separated, with the columns ``index`` and ``name``. Values without a row, or all
        without a table, get ordinary names.
    trust : {"sform", "qform"}, optional
        Which transform to use when the two disagree about left and right.

    Returns
    -------
    labels : Volume
    segments : tuple of Segment
        By value, measured; rows without voxels are left out.

    Raises
    ------
    VolumeFileError
        If the volume is refused.
    RegionsFileError
        ``IMP-030`` if its values are no labels; ``IMP-001``, ``IMP-002`` and ``IMP-031`` for
        the table.
    """
    meanings = () if table is None else read_lookup(Path(table))
    labels = whole_labels(read_volume(path, trust=trust, any_size=True))
    return labels, measured(labels, meanings)
