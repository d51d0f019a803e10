"""A scan in a model's space, plane by plane, with what must be known of the whole scan first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.applicability import Applicability, check_prepared
from napari_normative.core.grid import antialias, overlap, resample, shifted
from napari_normative.core.preprocess import IntensityMap, PreprocessConfig, Template, prepare
from napari_normative.core.windows import Triple
from napari_normative.io.streamed import StreamedScan
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

OVERVIEW_VOXELS = 1 << 24
"""A scan and a model's space are looked at as a whole in so many voxels or fewer: 256 per axis."""
SAMPLED_PLANES = 24
"""Of the model's space, whose intensities stand for all where the overview is in blocks."""


class ScanInSpace:
    """How a scan lies in a model's space and what its intensities are there, plane by plane."""

    def __init__(self, model: NormativeModel, scan: StreamedScan, force: bool) -> None:
        self.scan, self.config, self.mask = scan, model.card.preprocess, model.template.mask
        found = scan.overview(OVERVIEW_VOXELS)
        self.overview, self.warnings, self.background = found.scan, found.warnings, found.background
        factor = 1
        while np.prod([n // factor for n in self.config.shape]) > OVERVIEW_VOXELS:
            factor += 1
        self.exact = factor == 1
        self.coarse, template = coarser(self.config, model.template, factor)
        self.prepared = prepare(self.overview, self.coarse, template)
        self.checks = check_prepared(scan.grid, self.prepared, self.config, template)
        if not force:
            Applicability(self.checks).require(scan.source.name)
        self.to_template = self.prepared.alignment.scan_to_template @ scan.affine
        self.intensity = self.prepared.intensity
        if not self.exact or self.overview.shape != scan.shape:
            self.intensity = self._sampled_intensity()

    def planes(self, first: int, last: int) -> tuple[Triple, Any]:
        """Return shape and affine of some planes of the model's grid."""
        i, j, _ = self.config.shape
        box = slice(0, i), slice(0, j), slice(first, last)
        return (i, j, last - first), shifted(self.config.grid.affine, box)

    def inside(self, first: int, last: int) -> Mask:
        """Return the foreground of some planes."""
        if self.exact:
            return self.prepared.mask[..., first:last]
        mask = self.prepared.mask.astype(np.float32)
        found: Mask = resample(mask, self.coarse.grid.affine, *self.planes(first, last)) > 0.5
        return found & self.mask[..., first:last]

    def bias(self, first: int, last: int) -> FloatArray:
        """Return the bias field of some planes."""
        if self.exact:
            return self.prepared.bias[..., first:last]
        coarse = self.coarse.grid.affine
        return resample(self.prepared.bias, coarse, *self.planes(first, last), outside=1.0)

    def seen(self, first: int, last: int) -> FloatArray:
        """Return some planes of the scan as the network sees them: model units, 0 outside."""
        values, inside = self._values(first, last)
        out = np.zeros(inside.shape, np.float32)
        out[inside] = self.intensity.forward(values)
        return out

    def _sampled_intensity(self) -> IntensityMap:
        """Return the intensity map of planes in full detail: blocks have lost the extremes."""
        depth = self.config.shape[2]
        planes = np.unique(np.linspace(0, depth - 1, SAMPLED_PLANES + 2).astype(int)[1:-1])
        values = np.concatenate([self._values(int(p), int(p) + 1)[0] for p in planes])
        return IntensityMap.matching(values, self.config.reference)

    def _values(self, first: int, last: int) -> tuple[FloatArray, Mask]:
        """Return the scan's values in the foreground of some planes, bias taken out, and where."""
        shape, affine = self.planes(first, last)
        spacing, width = np.linalg.norm(self.to_template[:3, :3], axis=0), self.config.spacing_mm
        to_index = np.linalg.inv(affine) @ self.to_template
        box = overlap(self.scan.shape, to_index, shape, round(3 * width / spacing.min()))
        inside = self.inside(first, last)
        if any(s.stop <= s.start for s in box) or not inside.any():
            return np.zeros(0, np.float32), np.zeros(shape, bool)
        values = self.scan.box(box)
        own = np.ones(values.shape, np.float32)
        if self.prepared.foreground == "zeros":
            own = (values != self.background).astype(np.float32)
        at = shifted(self.to_template, box)
        value, weight = (
            resample(antialias(data, spacing, width), at, shape, affine)
            for data in (values * own, own)
        )
        bias = self.bias(first, last)[inside]
        flat = value[inside] / np.maximum(weight[inside], 0.25) / bias
        return flat.astype(np.float32, copy=False), inside

    def in_scan_units(self, image: FloatArray, first: int) -> FloatArray:
        """Return planes that the network made, in the scan's units."""
        bias = self.bias(first, first + image.shape[2])
        return (self.intensity.backward(image) * bias).astype(np.float32)


def coarser(
    config: PreprocessConfig, template: Template, factor: int
) -> tuple[PreprocessConfig, Template]:
    """Return space and template in blocks of ``factor``³ voxels."""
    if factor == 1:
        return config, template
    grid = config.grid.coarser(factor)
    coarse = {"shape": grid.shape, "spacing_mm": grid.spacing_mm, "origin_mm": grid.origin_mm}
    cut = tuple(slice(0, n * factor) for n in grid.shape)
    i, j, k = grid.shape
    blocks = (i, factor, j, factor, k, factor)
    share = template.mask[cut].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    total = template.image[cut].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    mask = share > 0.5
    image = np.where(mask, total / np.maximum(share, 0.5), 0).astype(np.float32)
    return config.model_copy(update=coarse), Template(image, mask)
