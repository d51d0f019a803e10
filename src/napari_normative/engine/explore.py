"""The latent directions of a model: which matter, what each does, and sliders along them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_normative.core.latent import Basis, Direction, directions_of
from napari_normative.engine.draws import Latents, decode_levels, encode_image
from napari_normative.engine.embed import principal_axes
from napari_normative.engine.infer import DeviceNote, on_device
from napari_normative.engine.made import MadeVolume, record_of
from napari_normative.errors import CancelledError, ModelFileError
from napari_normative.layers.spec import EFFECT
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

Order = Literal["kl", "variance"]
EFFECT_SD = 2.0
"""An effect is the difference between this many SD above and below the mean."""


def directions(
    model: LatentModel,
    order: Order = "kl",
    *,
    basis: Basis = "latent",
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[Direction, ...]:
    """Return the latent directions of a model, the most used first.

    Parameters
    ----------
    model : LatentModel
    order : {"kl", "variance"}
        ``kl`` by mean KL(q(z|x) || N(0, I)) over the cohort, from its first two moments in the
        model file and the log-variance at the template. ``variance`` by the share of decoded
        variance: mean square over the template's mask of half the difference between +1 and
        -1 SD, over the sum of all directions.
    basis : {"latent", "principal"}
        Entries of the latent; or principal axes of what the cohort's latents decode to
        (:class:`~napari_normative.core.embedding.PrincipalAxes`), which are ordered by variance.
    device : str
    progress, cancel : callable, optional

    Returns
    -------
    tuple of Direction
        Computed once a model and order.

    Raises
    ------
    ModelFileError
        ``MOD-022`` if the model has no latents; ``MOD-007`` for principal axes of a model
        without one latent vector for a scan.
    """
    key = order if basis == "latent" else basis
    known = model.known_directions.get(key)
    if known is None and basis == "principal":
        axes = principal_axes(model, device=device, progress=progress, cancel=cancel)
        parts = zip(axes.steps(), axes.share().tolist(), strict=True)
        known = model.known_directions[key] = tuple(
            Direction(n, step, float("nan"), share, basis) for n, (step, share) in enumerate(parts)
        )
    if known is None:
        listed = _listed(model, device)
        if order == "variance":
            listed = _measured(model, listed, device, progress, cancel)
        known = model.known_directions[key] = tuple(listed)
    return known


def _listed(model: LatentModel, device: str) -> list[Direction]:
    network = model.card.network
    if network.kind in {"atlas", "threshold"}:
        raise ModelFileError(
            "MOD-022",
            f"a {network.kind} model has no latents: it gives the same volume for every scan",
            "Choose a model with latents, such as brain-t1.",
            subject=model.card.name,
            consequence="There is nothing to explore.",
        )
    levels, _ = on_device(
        lambda name: encode_image(model, model.template.image, name), model, device
    )
    return directions_of(model.posterior, np.log(levels[0][1]))


def _measured(
    model: LatentModel,
    listed: Sequence[Direction],
    device: str,
    progress: Progress | None,
    cancel: Cancel | None,
) -> list[Direction]:
    mean, inside = model.posterior.mean, model.template.mask
    power = []
    for done, direction in enumerate(listed):
        if cancel is not None and cancel():
            raise CancelledError
        if progress:
            progress(f"measuring direction {done + 1} of {len(listed)}", done / len(listed))
        above, below, _ = _ends(model, mean, direction, 1.0, device)
        half = (above - below) / 2
        power.append(float((half[inside] ** 2).mean(dtype=np.float64)))
    total = sum(power) or 1.0
    measured = [
        dataclasses.replace(d, variance_share=p / total) for d, p in zip(listed, power, strict=True)
    ]
    return sorted(measured, key=lambda d: -(d.variance_share or 0.0))


def effect(model: LatentModel, direction: Direction, *, device: str = "auto") -> MadeVolume:
    """Return what a direction does: decoded +2 SD minus decoded -2 SD about the cohort's mean.

    Signed, in model units, on the model's grid; 0 outside the template's mask.
    """
    return effect_between(model, direction, *ends(model, direction, device=device))


def ends(
    model: LatentModel, direction: Direction, *, device: str = "auto"
) -> tuple[FloatArray, FloatArray, DeviceNote]:
    """Return the images (I, J, K) at +2 and -2 SD along a direction, about the cohort's mean."""
    return _ends(model, model.posterior.mean, direction, EFFECT_SD, device)


def effect_between(
    model: LatentModel,
    direction: Direction,
    above: FloatArray,
    below: FloatArray,
    note: DeviceNote,
) -> MadeVolume:
    """Return the effect of a direction from the images at its :func:`ends`."""
    number = direction.index + 1
    about: dict[str, Any] = {"direction": number, "sd": EFFECT_SD}
    if direction.basis != "latent":
        about["basis"] = direction.basis
    record = record_of(model, EFFECT, note, synthetic=True, **about)
    made = model.synthetic(above - below, f"effect of {direction.name}")
    name = f"{model.card.name} · effect of {direction.name} (synthetic)"
    return MadeVolume.of(made, name, EFFECT, record)


def _ends(
    model: LatentModel, mean: FloatArray, direction: Direction, sd: float, device: str
) -> tuple[FloatArray, FloatArray, DeviceNote]:
    inside = model.template.mask

    def work(name: str) -> tuple[FloatArray, FloatArray]:
        above, below = (
            np.where(
                inside, decode_levels(model, (mean + side * sd * direction.step,), name), 0
            ).astype(np.float32)
            for side in (1, -1)
        )
        return above, below

    (above, below), note = on_device(work, model, device)
    return above, below, note


@dataclasses.dataclass(frozen=True, eq=False)
class Sliders:
    """A start point and the directions it is moved along; holds no model, so that it can travel.

    Attributes
    ----------
    start : float32 array, shape of one latent
        The global latent at 0.
    steps : float32 array, shape (n, shape of one latent)
        One SD along each direction.
    still : float32 array, shape of the model's grid, or None
        What the other levels add: it does not depend on the global latent.
    """

    start: FloatArray
    steps: FloatArray
    still: FloatArray | None

    @classmethod
    def at(
        cls, model: LatentModel, start: Latents, moved: Sequence[Direction], device: str
    ) -> Sliders:
        """Return the sliders of directions at the latents of all levels.

        The levels below the first stay as they are.
        """
        still: FloatArray | None = None
        if len(start) > 1:
            whole, first = (
                on_device(partial(decode_levels, model, latents), model, device)[0]
                for latents in (start, start[:1])
            )
            still = whole - first
        return cls(start[0], np.stack([direction.step for direction in moved]), still)

    def latent(self, values: Sequence[float]) -> FloatArray:
        """Return the global latent at ``values``, SD along each direction."""
        weights = np.asarray(values, dtype=np.float32)
        if not weights.any():
            return self.start
        return (self.start + np.tensordot(weights, self.steps, axes=1)).astype(np.float32)

    def decode(self, model: LatentModel, values: Sequence[float], device: str) -> FloatArray:
        """Return the image (I, J, K) at ``values``; 0 outside the template's mask."""
        latents = (self.latent(values),)
        image: FloatArray = on_device(partial(decode_levels, model, latents), model, device)[0]
        if self.still is not None:
            image = image + self.still
        return image * model.template.mask
