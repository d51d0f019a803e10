"""The latents of a scan of which a part is missing, and the whole image that they decode to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.core.config import VAEConfig
from napari_normative.engine.infer import DeviceNote, on_device
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    import torch

    from napari_normative.core.baselines import Network
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel

MOST_STEPS = 5
"""Of L-BFGS; each decodes and differentiates once or twice."""

LEAST_SIGMA = 0.02
"""Model units; e to the power of the training objective's floor of log σ."""


@dataclass(frozen=True)
class Completion:
    """How the latents of the observed part were found.

    Attributes
    ----------
    sigma : float
        Of the Gaussian likelihood, model units.
    nats_before, nats_after : float
        Negative log of likelihood and prior together, up to a constant: at the latents that the
        encoder gives for the interpolated scan, and at the optimum.
    latent_distance : float
        Of the optimum from the cohort's mean, over its expectation; 1 is usual.
    evaluations : int
    """

    sigma: float
    nats_before: float
    nats_after: float
    latent_distance: float
    evaluations: int


def complete(
    model: NormativeModel,
    image: FloatArray,
    inside: Mask,
    observed: Mask,
    device: str,
    cancel: Cancel | None = None,
) -> tuple[FloatArray, Completion, DeviceNote]:
    """Return the image that the most probable latents of the observed voxels decode to.

    The global level maximises the posterior: a Gaussian likelihood of the observed voxels with
    the model's σ, times the Gaussian of the cohort's latents. σ is the decoder's map where the
    model has one, else what is optimal for the scan, as in training. The local level has a closed
    form.

    Parameters
    ----------
    model : NormativeModel
    image : float32 array, shape of the model's grid
        The prepared scan, its missing part interpolated.
    inside : bool array, shape of the grid
        Foreground.
    observed : bool array, shape of the grid
    device : str
    cancel : callable, optional

    Raises
    ------
    CancelledError
    """
    from napari_normative.errors import CancelledError

    def work(name: str) -> tuple[FloatArray, Completion]:
        import torch

        network = model.network(name)
        x = torch.from_numpy(image).to(name)[None, None]
        seen = torch.from_numpy(observed).to(name)[None, None]
        weight = (seen & torch.from_numpy(inside).to(name)).float()
        posterior = model.posterior
        mean = torch.from_numpy(posterior.mean).to(name)
        factor = torch.from_numpy(posterior.cholesky).to(name)
        dense = mean.ndim == 1 and factor.ndim == 2
        evaluations = 0

        def latent(u: torch.Tensor) -> torch.Tensor:
            return (mean + (factor @ u if dense else factor * u))[None]

        with torch.no_grad():
            start = network.encode(x).mean
            error = ((x - network.decode(start)) * weight).square().sum() / weight.sum()
            optimal = error.sqrt().clamp_min(LEAST_SIGMA)
            sigma = _sigma_map(network, optimal)
            white = posterior.whiten(start.float().cpu().numpy())[0].astype(np.float32)

        def nats(u: torch.Tensor) -> torch.Tensor:
            left = (x - network.decode(latent(u))) * weight / sigma
            return 0.5 * left.square().sum() + 0.5 * u.square().sum()

        u = torch.from_numpy(white).to(name).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [u], max_iter=MOST_STEPS, tolerance_change=1e-2, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            nonlocal evaluations
            if cancel is not None and cancel():
                raise CancelledError
            evaluations += 1
            value = nats(u)
            (u.grad,) = torch.autograd.grad(value, [u])
            return value.detach()

        before = float(optimiser.step(closure))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            after = float(nats(u))
            whole = network.decode(latent(u))
            local = getattr(network, "local", None)
            if local is not None:
                left = (x - whole) * (x != 0)
                whole = whole + local.decode(local.encode_observed(left, seen.float()))
            found = float(u.square().mean().sqrt())
            completion = Completion(float(optimal), before, after, found, evaluations)
            return whole[0, 0].float().cpu().numpy(), completion

    (made, completion), note = on_device(work, model, device)
    return made, completion, note


def _sigma_map(network: Network, optimal: torch.Tensor) -> torch.Tensor:
    """Return the decoder's map of σ, or the one σ."""
    config, log_sigma = network.config, getattr(network, "log_sigma", None)
    if not isinstance(config, VAEConfig) or log_sigma is None:
        return optimal
    sigma: torch.Tensor = log_sigma[None].exp().clamp_min(LEAST_SIGMA)
    return sigma
