"""What a latent direction does to a volume: how much, where, and alike on both sides or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_normative.core.place import describe_place, middle_of
from napari_normative.core.preprocess import Template
from napari_normative.volume import Affine, FloatArray, Mask

CHANGED = 0.1
"""Change that counts, in model units: a tenth of the cohort's median intensity."""

DEEP_MM = 20.0
"""Depth below the surface of the foreground from which on a voxel lies deep."""

T1_NAMES = {
    "dark, deep": "ventricles and deep fluid",
    "dark, outer": "outer fluid and sulci",
    "middle, outer": "cortex",
    "middle, deep": "deep grey matter",
    "bright": "white matter",
}
"""What the zones are in T1-weighted scans of the brain, roughly."""

SHARE_SAID, EXCESS_SAID = 0.1, 1.5
"""Share of the effect, and times its due, from which on a zone is named."""


@dataclass(frozen=True, eq=False)
class Zones:
    """Coarse zones of a template: three classes of intensity, and how deep they lie.

    No atlas stands behind it: a zone is a way to say where an effect lies, not a segmentation.

    Attributes
    ----------
    masks : dict of str to bool array, shape of the template
        By name; together the template's mask, none empty.
    dark : float
        Intensity up to which a voxel is dark.
    """

    masks: dict[str, Mask]
    dark: float

    @classmethod
    def of(
        cls, template: Template, spacing_mm: float, names: Mapping[str, str] | None = None
    ) -> Zones:
        """Return the zones of a template; classes are split where Otsu's method does.

        Parameters
        ----------
        template : Template
        spacing_mm : float
        names : mapping, optional
            What to call them, such as ``T1_NAMES``, whose keys they have unless given.
        """
        from skimage.filters import threshold_multiotsu

        inside = template.mask
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1] * spacing_mm
        low, high = threshold_multiotsu(template.image[inside], classes=3)
        dark, bright = template.image <= low, template.image > high
        found = {"bright": inside & bright}
        for name, where in (("dark", dark), ("middle", ~dark & ~bright)):
            found[f"{name}, deep"] = inside & where & (depth >= DEEP_MM)
            found[f"{name}, outer"] = inside & where & (depth < DEEP_MM)
        known = names or {}
        return cls(
            {known.get(name, name): where for name, where in found.items() if where.any()},
            float(low),
        )


@dataclass(frozen=True)
class Zone:
    """How much of an effect lies in a zone.

    Attributes
    ----------
    name : str
    share : float
        Of the squared change.
    excess : float
        Over the zone's share of the volume: 1 where it has no more than its due.
    """

    name: str
    share: float
    excess: float


@dataclass(frozen=True)
class EffectFacts:
    """What a direction does between -2 and +2 SD, in figures.

    Attributes
    ----------
    rms : float
        Root mean square change inside the template's mask, model units.
    largest : float
        Signed, of the voxel that changes most.
    at_mm : tuple of 3 floats
        That voxel, mm in the model's space.
    place : str
        The same in words, from the middle of the template.
    changed_ml : float
        Volume that changes by more than ``CHANGED``.
    dark_ml : float
        Change of the volume of dark voxels; of fluid, in T1-weighted scans.
    symmetry : float
        1 where both sides change alike, -1 where they change oppositely.
    zones : tuple of Zone
        Largest share first.
    """

    rms: float
    largest: float
    at_mm: tuple[float, float, float]
    place: str
    changed_ml: float
    dark_ml: float
    symmetry: float
    zones: tuple[Zone, ...]

    def acts_on(self) -> str:
        """Return where it acts more than elsewhere, in words."""
        named = [z for z in self.zones if z.share >= SHARE_SAID and z.excess >= EXCESS_SAID]
        if not named:
            return "no zone in particular"
        return ", ".join(
            f"{z.name} ({z.share:.0%} of the effect, {z.excess:.1f} times its due)"
            for z in sorted(named, key=lambda zone: -zone.excess)
        )

    def side(self) -> str:
        """Return whether both sides change alike, in words."""
        if self.symmetry > 0.5:
            return "both sides alike"
        return "the sides oppositely" if self.symmetry < -0.5 else "the sides differently"


def effect_facts(
    above: FloatArray,
    below: FloatArray,
    template: Template,
    zones: Zones,
    affine: Affine,
) -> EffectFacts:
    """Return what changes between two images of the model's grid.

    Parameters
    ----------
    above, below : float32 array, shape (I, J, K)
        At +2 and -2 SD.
    template : Template
        Its first axis runs from left to right about the middle plane.
    zones : Zones
        Of the template.
    affine : array, shape (4, 4)
        Of the model's grid; voxels are cubes.
    """
    inside = template.mask
    spacing = float(np.linalg.norm(affine[:3, 0]))
    voxel_ml = spacing**3 / 1000
    change = np.where(inside, above - below, 0).astype(np.float64)
    power = change**2
    total = max(float(power.sum()), 1e-30)
    at = np.unravel_index(int(np.abs(change).argmax()), change.shape)
    x, y, z = (affine[:3, :3] @ np.array(at) + affine[:3, 3]).tolist()
    middle = middle_of(inside, affine)
    both = inside & inside[::-1]
    alike = float((change * change[::-1])[both].sum()) / max(float(power[both].sum()), 1e-30)
    shares = []
    for name, where in zones.masks.items():
        share = float(power[where].sum()) / total
        shares.append(Zone(name, share, share * int(inside.sum()) / int(where.sum())))
    return EffectFacts(
        rms=float(np.sqrt(power[inside].mean())),
        largest=float(change[at]),
        at_mm=(x, y, z),
        place=describe_place(a - b for a, b in zip((x, y, z), middle, strict=True)),
        changed_ml=float((np.abs(change) > CHANGED).sum()) * voxel_ml,
        dark_ml=(
            int((above[inside] <= zones.dark).sum()) - int((below[inside] <= zones.dark).sum())
        )
        * voxel_ml,
        symmetry=alike,
        zones=tuple(sorted(shares, key=lambda zone: -zone.share)),
    )
