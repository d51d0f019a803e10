"""Whether a model has anything to say about a scan: contrast, spacing, view, fit, likeness.

A model maps whatever it is given; a T2-weighted scan yields a map too. What is found here
is said before that map is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.calibration import conformal_p
from napari_normative.core.preprocess import Prepared, PreprocessConfig, Template
from napari_normative.errors import PreprocessError
from napari_normative.volume import FloatArray, Mask, Volume

Status = Literal["ok", "warn", "refuse"]

COARSEST = 1.5
"""Slices thicker than this many voxels of the model are warned of."""

LEAST_VIEW = 0.75
"""Share of the model's region below which a scan is warned of; healthy scans reach .87."""

USUAL_CONTRAST, LEAST_CONTRAST = 0.45, 0.25
"""Tissue contrast over the template's. Measured with brain-t1: healthy T1 scans .77 to .86, T1
of people with large lesions .50 and more, FLAIR -.09 to .20, T2 below 0."""

UNLIKE = 1.25
"""How far beyond all calibration people a scan may lie before it is called unlike them."""

FEWEST_VOXELS = 30

_STORED = ("latent.distances", "reconstruction.errors")


@dataclass(frozen=True)
class Check:
    """One question asked of a scan.

    Attributes
    ----------
    name : str
        ``spacing``, ``field of view``, ``alignment``, ``contrast``, ``latent`` or
        ``reconstruction``; of a prediction also ``probe`` and ``range``.
    found, expected : float
        The scan's figure, and the limit between ok and a warning.
    status : {"ok", "warn", "refuse"}
    what, remedy : str
        What was found, one clause; what to do about it, sentences. Empty when ok.
    """

    name: str
    found: float
    expected: float
    status: Status = "ok"
    what: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Applicability:
    """All that was asked of a scan.

    Attributes
    ----------
    checks : tuple of Check
    """

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Status:
        """The worst status of all."""
        found = {check.status for check in self.checks}
        return "refuse" if "refuse" in found else "warn" if "warn" in found else "ok"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found and what to do, for each check that is not ok."""
        return tuple(
            f"{c.what[0].upper()}{c.what[1:]}. {c.remedy}" for c in self.checks if c.status != "ok"
        )

    def record(self) -> dict[str, Any]:
        """Return verdict and checks, JSON-ready."""
        rows = [
            {**asdict(c), "found": round(c.found, 4), "expected": round(c.expected, 4)}
            for c in self.checks
        ]
        return {"verdict": self.verdict, "checks": rows}

    def require(self, subject: str) -> None:
        """Raise unless the model may be used.

        Raises
        ------
        PreprocessError
            ``PRE-004``.
        """
        for check in self.checks:
            if check.status == "refuse":
                raise PreprocessError("PRE-004", check.what, check.remedy, subject=subject)


@dataclass(frozen=True, eq=False)
class HealthyRange:
    """How far calibration people, unseen in training, lie from the model's cohort.

    Attributes
    ----------
    distances : float array, shape (n,)
        Latent distances; sorted. Empty when the model file has none.
    errors : float array, shape (n,)
        Of :func:`reconstruction_error`; sorted. Empty when the model file has none.
    """

    distances: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> HealthyRange:
        """Read ``latent.distances`` and ``reconstruction.errors`` of a model file."""
        empty = np.zeros(0)
        return cls(*(np.sort(tensors.get(n, empty).astype(np.float64).ravel()) for n in _STORED))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return what :meth:`of` reads."""
        values = (self.distances, self.errors)
        return {n: v.astype(np.float32) for n, v in zip(_STORED, values, strict=True)}


def check_prepared(
    scan: Volume, prepared: Prepared, config: PreprocessConfig, template: Template
) -> tuple[Check, ...]:
    """Ask what can be asked before the network runs.

    Parameters
    ----------
    scan : Volume
    prepared : Prepared
        Of ``scan``.
    config : PreprocessConfig
    template : Template
    """
    checks = [_spacing(scan, config), _view(prepared, template)]
    if config.alignment == "affine":
        checks.append(_alignment(prepared, config))
        contrast = tissue_contrast(prepared.image, prepared.mask, template)
        if contrast is not None:
            checks.append(_contrast(contrast))
    return tuple(checks)


def check_likeness(distance: float, error: float, healthy: HealthyRange) -> tuple[Check, ...]:
    """Ask whether the network treats a scan like those of unseen healthy people.

    People of the training cohort itself lie far out in latent space too: nothing shrinks
    what a network has learnt by heart.

    Parameters
    ----------
    distance : float
        Latent distance.
    error : float
        Of :func:`reconstruction_error`.
    healthy : HealthyRange
        Without one nothing is asked.
    """
    asked = (
        ("latent", distance, healthy.distances, "its latents lie farther out"),
        ("reconstruction", error, healthy.errors, "it is reconstructed worse"),
    )
    checks = []
    for name, found, people, how in asked:
        if not people.size:
            continue
        limit = UNLIKE * float(people[-1])
        if found <= limit:
            checks.append(Check(name, found, limit))
            continue
        what = (
            f"the scan is unlike the training cohort: {how} than in any of {people.size} unseen "
            f"healthy people ({found:.3g}, largest {people[-1]:.3g}; p = "
            f"{conformal_p(people, found):.2g})"
        )
        remedy = (
            "The map may show scanner, contrast or age rather than disease; compare it with "
            "those of healthy scans of the same scanner."
        )
        checks.append(Check(name, found, limit, "warn", what, remedy))
    return tuple(checks)


def tissue_contrast(image: FloatArray, mask: Mask, template: Template) -> float | None:
    """Return how much brighter the template's bright tissue is than its middle one.

    In units of the same contrast in the template itself: about .8 for a scan of the
    template's modality (individual folds do not lie exactly on it), 0 or less where the
    order of tissues is another one. Medians over classes, so that lesions have little say.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
        In the template's space; any monotone intensity units.
    mask : bool array, shape (I, J, K)
    template : Template

    Returns
    -------
    float or None
        None when the template has no contrast, or too little of it lies in the mask.
    """
    smooth = ndimage.gaussian_filter(np.where(template.mask, template.image, 0), 1.0)
    low, middle, high = np.quantile(smooth[template.mask], (0.35, 0.55, 0.8))
    inside = mask & template.mask
    medium, bright = inside & (smooth > low) & (smooth < middle), inside & (smooth > high)
    if min(int(medium.sum()), int(bright.sum())) < FEWEST_VOXELS:
        return None

    def contrast(data: FloatArray) -> float:
        span = float(np.ptp(np.quantile(data[inside], (0.05, 0.95))))
        step = float(np.median(data[bright]) - np.median(data[medium]))
        return step / span if span > 0 else 0.0

    own = contrast(template.image)
    return contrast(image) / own if own > 0.05 else None


def reconstruction_error(image: FloatArray, reconstruction: FloatArray, mask: Mask) -> float:
    """Return the median of ``|image - reconstruction|`` inside the mask, model units.

    A median, because a lesion must not make a scan unlike the cohort, its scanner may.
    """
    return float(np.median(np.abs(image - reconstruction)[mask]))


def _spacing(scan: Volume, config: PreprocessConfig) -> Check:
    found, limit = max(scan.spacing_mm), COARSEST * config.spacing_mm
    if found <= limit:
        return Check("spacing", found, limit)
    what = (
        f"the scan's voxels are {found:.2g} mm wide in one direction, the model's "
        f"{config.spacing_mm:.2g} mm"
    )
    remedy = (
        "What lies between is interpolated, and small findings may come from that; use a scan "
        "with thinner slices if there is one."
    )
    return Check("spacing", found, limit, "warn", what, remedy)


def _view(prepared: Prepared, template: Template) -> Check:
    found = float((prepared.mask & template.mask).sum() / max(int(template.mask.sum()), 1))
    if found >= LEAST_VIEW or prepared.foreground == "given":
        return Check("field of view", found, LEAST_VIEW)
    what = f"only {found:.0%} of the model's region lies in the scan"
    remedy = (
        "The rest is not judged; check that the scan is complete and was not cut when its "
        "background was removed."
    )
    return Check("field of view", found, LEAST_VIEW, "warn", what, remedy)


def _alignment(prepared: Prepared, config: PreprocessConfig) -> Check:
    found, limit = prepared.alignment.similarity, config.expected_similarity
    if found >= limit:
        return Check("alignment", found, limit)
    what = (
        f"the scan aligns poorly to the model's template (similarity {found:.2f}, usual "
        f"{limit:.2f} or more)"
    )
    remedy = (
        "Compare scan and reconstruction side by side before believing the map; a foreground "
        "mask often helps."
    )
    return Check("alignment", found, limit, "warn", what, remedy)


def _contrast(found: float) -> Check:
    if found >= USUAL_CONTRAST:
        return Check("contrast", found, USUAL_CONTRAST)
    status: Status = "warn" if found >= LEAST_CONTRAST else "refuse"
    shown = "reversed" if found < -0.1 else "weak" if status == "warn" else "missing"
    what = (
        f"the contrast between bright and medium tissue is {shown} ({found:.0%} of the "
        "template's, usual 80%), as in another modality or weighting"
    )
    remedy = "Use a model of this scan's modality."
    if status == "refuse":
        remedy += " To score it all the same: --force, force=True, or Run anyway."
    return Check("contrast", found, USUAL_CONTRAST, status, what, remedy)
