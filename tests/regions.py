"""Label volumes with known regions, on grids of every kind."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_normative.core.segments import Segment, measure
from napari_normative.volume import Affine, Volume
from strategies import turn

SHAPE = (12, 10, 9)
MARKED = (10, 2, 7)
"""The one voxel of the region of value 300."""


def _grids() -> dict[str, Affine]:
    grids = {}
    for codes in ("RAS", "LPS", "LAS", "PIR", "ASL", "SRP", "IPL", "RSA"):
        affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), (1, 1, 1))
        grids[codes] = affine @ np.diag([1.5, 2.0, 3.25, 1.0])
    grids["oblique"] = np.eye(4)
    grids["oblique"][:3, :3] = turn(np.radians(30), np.radians(30), 0) * [0.8, 1.7, 4.0]
    grids["sheared"] = grids["oblique"].copy()
    grids["sheared"][:3, :3] = grids["oblique"][:3, :3] @ [[1, 0.2, 0.1], [0, 1, 0.3], [0, 0, 1]]
    for affine in grids.values():
        affine[:3, 3] = 11.125, -72.5, 33.0625
    return grids


GRIDS = _grids()
"""Eight axis orders, one tilted by 30° about two axes, one sheared."""


def regions(affine: Affine, shape: tuple[int, int, int] = SHAPE) -> tuple[Volume, list[Segment]]:
    """Three regions of values 1, 7 and 300, none of them symmetric."""
    data = np.zeros(shape, np.float32)
    data[1:4, 2:7, 1:3] = 1
    data[6:8, 1:3, 3:8] = 7
    data[MARKED] = 300
    labels = Volume.from_array(data, affine).with_data(data, is_label=True)
    words = {1: ("finding 1", "accept", "infarct"), 7: ("candidate 2", "reject", ""),
             300: ("Läsion? | 50 %", "uncertain", "a|b %7C")}  # fmt: skip
    segments = []
    for number, (value, (name, decision, word)) in enumerate(words.items(), start=1):
        size, centre = measure(data == value, labels)
        segments.append(Segment(value, f"case-001:c{number}", name, decision, word, size, centre))
    return labels, segments


def meaning(segment: Segment) -> tuple[object, ...]:
    """What a segment says, without what is measured."""
    return segment.value, segment.id, segment.name, segment.decision, segment.label


def assert_same(found: tuple[Segment, ...], wanted: list[Segment]) -> None:
    """The same meanings, sizes and places."""
    assert [meaning(s) for s in found] == [meaning(s) for s in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.volume_ml, other.volume_ml, rtol=1e-5)
        np.testing.assert_allclose(one.centroid_mm, other.centroid_mm, atol=1e-3)


def ends(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Indices of the eight corner voxels, shape (8, 3)."""
    return np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T


def seen_by_itk(path: object, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """World positions (RAS+) at which SimpleITK sees voxels of a file, shape (n, 3)."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    lps = [image.TransformIndexToPhysicalPoint([int(n) for n in one]) for one in index]
    return np.array(lps) * [-1, -1, 1]
