"""Which voxels of a scan, and which latent directions, a candidate's score comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.candidates import Candidate
from napari_normative.core.integrated import (
    LEFT_OUT,
    PASSED_THROUGH,
    STEPS,
    Account,
    Judged,
    Numbers,
    Shares,
    account_of,
    integrated_gradients,
)
from napari_normative.core.preprocess import restore, scored_mask
from napari_normative.core.residual import Contrast
from napari_normative.engine.infer import on_device
from napari_normative.engine.made import MadeVolume, record_of
from napari_normative.engine.why import require_together, where_found
from napari_normative.layers.spec import ATTRIBUTION, THROUGH
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.core.baselines import Network
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.model import NormativeModel

UNITS = "SD of healthy per ml"


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a candidate's score comes from.

    The score is the differentiable part of the detection's: see ``record()["score"]``. On the
    straight way from the pseudo-healthy reconstruction to the scan it changes from ``baseline``
    to ``score``; ``image`` says which voxels change it.

    Attributes
    ----------
    candidate : str
        Its id.
    label : int
    score, baseline : float
        Of the scan, and of the reconstruction in the scan's place; SD of healthy, signed.
    shares : Shares
        The change in four groups of voxels.
    error : float
        Sum of all attributions less the change: what the rule of integration misses.
    account : Account or None
        The expectation by latent directions; None where the model has no global latent.
    image, through : float64 array, shape of the model's grid
        What each voxel adds, SD of healthy; the part of it that goes through the expectation.
    region : bool array, shape of the model's grid
        The candidate.
    judged : Judged
        The score as a weighted sum of the residual.
    contrast : Contrast
        The scan's, through which the expectation goes.
    on_scan, through_on_scan : MadeVolume
        ``image`` and ``through`` on the scan's grid, as a density: SD of healthy per ml.
    made : dict
        What made it.
    """

    candidate: str
    label: int
    score: float
    baseline: float
    shares: Shares
    error: float
    account: Account | None
    image: Numbers
    through: Numbers
    region: Mask
    judged: Judged
    contrast: Contrast
    on_scan: MadeVolume
    through_on_scan: MadeVolume
    made: dict[str, Any]

    def sentence(self) -> str:
        """Return the essence in a sentence or two, for people."""
        shares = self.shares
        own = shares.residual_inside + shares.residual_around
        text = (
            f"{_sd(self.score)} SD of healthy people here, {_sd(self.baseline)} for the "
            f"reconstruction in its place; of the difference {_sd(shares.total)} the voxels' own "
            f"intensity makes {_sd(own)}, what the network saw in the candidate "
            f"{_sd(shares.expectation_inside)}, what it saw elsewhere "
            f"{_sd(shares.expectation_elsewhere)}"
        )
        if self.account is None or not self.account.directions:
            return f"{text}."
        first = self.account.directions[0]
        return (
            f"{text}. The latents moved the expectation by "
            f"{_sd(self.account.expected - self.account.average)} SD from the average person's, "
            f"most of all direction {first.index + 1} ({_sd(first.contribution)}, where the scan "
            f"lies at {_sd(first.coordinate_sd)} SD)."
        )

    def record(self) -> dict[str, Any]:
        """Return all figures, JSON-ready."""
        account = None if self.account is None else dataclasses.asdict(self.account)
        return {
            **self.made,
            "candidate": self.candidate,
            "label": self.label,
            "score": {
                "passed_through": PASSED_THROUGH,
                "left_out": LEFT_OUT,
                "unit": "SD of healthy",
                "scan": self.score,
                "baseline": self.baseline,
            },
            "baseline": "pseudo-healthy reconstruction in the scan's contrast",
            "shares": {**dataclasses.asdict(self.shares), "sum": self.shares.total},
            "completeness_error": self.error,
            "expectation": account,
            "maps": {
                "attribution": f"all that a voxel adds, {UNITS}",
                "attribution_through_expectation": "the part that goes through the network's "
                f"expectation, {UNITS}",
            },
        }


def _sd(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"


def attribute(
    model: NormativeModel,
    detection: Detection,
    candidate: Candidate,
    *,
    directions: int = 5,
    steps: int = STEPS,
    threshold_z: float | None = None,
    device: str = "auto",
) -> Attribution:
    """Attribute a candidate's score to voxels and to latent directions; seconds on a CPU.

    Parameters
    ----------
    model : NormativeModel
        The one that made the detection.
    detection : Detection
        Fresh from the model: one without ``in_model`` cannot be attributed.
    candidate : Candidate
        One of the detection's, or of its ``recount`` at ``threshold_z``.
    directions : int
        Latent directions to name.
    steps : int
        Points along the path; each is one pass forth and back.
    threshold_z : float, optional
        At which the candidate was formed; the detection's unless given.
    device : str

    Raises
    ------
    ValueError
        When detection and model, or candidate and detection, do not belong together.
    """
    space = require_together(model, detection)
    model = model.given(space.known)
    region = where_found(
        model, space.z, candidate, detection.threshold_z if threshold_z is None else threshold_z
    )
    prepared, scoring, grid = space.prepared, model.card.score, model.card.preprocess
    image, mask = prepared.image, prepared.mask
    judged = Judged.inside(region, mask, model.calibration, scoring, grid.spacing_mm)
    contrast = Contrast()
    if scoring.contrast_fit:
        contrast = Contrast.between(image, space.reconstruction, mask)
    start = np.where(mask, contrast.applied(space.reconstruction), 0).astype(np.float32)

    def work(name: str) -> tuple[Numbers, Numbers, float, float, Account | None]:
        seen = Expectation(model.network(name), judged, contrast, name)
        own = judged.weights * (image.astype(np.float64) - start)
        through = -integrated_gradients(seen.gradient, start, image, steps)
        scores = [judged.of(x) - seen.expectation(x) for x in (image, start)]
        account = None
        if space.latent_mean.ndim == 1:
            account = _account(model, seen, space.latent_mean, image, directions, steps)
        return own, through, scores[0], scores[1], account

    (own, through, score, baseline, account), note = on_device(work, model, device)
    shares = Shares.of(own, through, region)
    voxel_ml = grid.spacing_mm**3 / 1000
    inside = scored_mask(prepared, grid, detection.scan)

    made = record_of(
        model, ATTRIBUTION, note, scan={"sha256": detection.scan.source.digest}, steps=steps
    )

    def on_scan(values: Numbers, role: str) -> MadeVolume:
        density = (values / voxel_ml).astype(np.float32)
        laid = restore(density, prepared, grid, detection.scan, units="model")
        volume = detection.scan.with_data(np.where(inside, laid, 0), is_label=False)
        name = f"{detection.scan.source.name} · candidate {candidate.rank} · {role}"
        return MadeVolume.of(volume, name, role, made, like=detection.scan)

    return Attribution(
        candidate=candidate.id,
        label=candidate.label,
        score=score,
        baseline=baseline,
        shares=shares,
        error=shares.total - (score - baseline),
        account=account,
        image=own + through,
        through=through,
        region=region,
        judged=judged,
        contrast=contrast,
        on_scan=on_scan(own + through, ATTRIBUTION),
        through_on_scan=on_scan(through, THROUGH),
        made=made,
    )


@dataclass(frozen=True, eq=False)
class Expectation:
    """The expectation inside a candidate, as a function of the scan or of the global latent."""

    network: Network
    judged: Judged
    contrast: Contrast
    device: str

    def expectation(self, image: FloatArray) -> float:
        """Return the weighted reconstruction of an image (I, J, K)."""
        import torch

        with torch.no_grad():
            return float(self._weighted(self.network.reconstruct(self._tensor(image[None, None]))))

    def decoded(self, latent: FloatArray) -> float:
        """Return the weighted decoded image of a global latent (Z,)."""
        import torch

        with torch.no_grad():
            return float(self._weighted(self.network.decode(self._tensor(latent[None]))))

    def gradient(self, image: FloatArray) -> Numbers:
        """Return the gradient of :meth:`expectation`, shape of the image."""
        slope: Numbers = self._slope(image[None, None], self.network.reconstruct)[0, 0]
        return slope

    def latent_gradient(self, latent: FloatArray) -> Numbers:
        """Return the gradient of :meth:`decoded`, shape (Z,)."""
        slope: Numbers = self._slope(latent[None], self.network.decode)[0]
        return slope

    def _slope(self, at: FloatArray, function: Callable[..., Any]) -> Numbers:
        import torch

        with torch.enable_grad():
            x = self._tensor(at).requires_grad_()
            value = self._weighted(function(x))
            if not value.requires_grad:  # a baseline that expects the same of every scan
                return np.zeros(at.shape)
            (gradient,) = torch.autograd.grad(value, x)
        slope: Numbers = gradient.double().cpu().numpy()
        return slope

    def _weighted(self, made: Any) -> Any:
        import torch

        weights = torch.from_numpy(self.judged.weights.astype(np.float32)).to(self.device)
        return (weights.double() * self.contrast.applied(made[0, 0].double())).sum()

    def _tensor(self, values: FloatArray) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)


def _account(
    model: NormativeModel,
    seen: Expectation,
    latent: FloatArray,
    image: FloatArray,
    count: int,
    steps: int,
) -> Account:
    posterior = model.posterior
    contributions = integrated_gradients(seen.latent_gradient, posterior.mean, latent, steps)
    return account_of(
        contributions,
        (latent - posterior.mean) / posterior.sd(),
        seen.decoded(posterior.mean),
        seen.decoded(latent),
        seen.expectation(image),
        count,
    )
