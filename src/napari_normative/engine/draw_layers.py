"""The layers of synthetic volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_normative.core.limits import image_limits, signed_limit
from napari_normative.layers.looks import MAGNITUDE
from napari_normative.layers.spec import (
    INTERPOLATION,
    SAMPLE_MEAN,
    SAMPLE_SD,
    SAMPLES,
    LayerSpec,
    origin_of,
    spec_of,
)
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.draws import Draws

_LABELS = {"prior": "samples", "posterior": "posterior samples", "interpolation": "interpolation"}


def draw_layers(draws: Draws, name: str = "", label: str = "", origin: str = "") -> list[LayerSpec]:
    """Return the layers of draws, bottom first: a series of volumes, their mean and SD.

    Parameters
    ----------
    draws : Draws
    name : str
        Of the scan or the model; taken from the draws unless given.
    label : str
        Of the series; says its kind unless given.
    origin : str
        What the layers belong to; the scan or the model unless given.
    """
    record, like = draws.record, draws.like
    name = name or (like.source.name if like is not None else record["model"])
    origin = origin or (origin_of(like) if like is not None else f"model:{record['model_sha256']}")
    kind = record["kind"]
    # Draws are compared with each other, so all have the limits of the first.
    seen = draws.volumes[0] if draws.volumes else draws.mean
    limits = (0.0, 1.0) if seen is None else image_limits(seen.data)

    def spec(volumes: tuple[Volume, ...], label: str, role: str, **looks: Any) -> LayerSpec:
        return spec_of(
            volumes, f"{name} · {label} (synthetic)", role, origin=origin,
            provenance=record, **looks,
        )  # fmt: skip

    specs = []
    gray: dict[str, Any] = {"colormap": "gray", "contrast_limits": limits}
    if draws.volumes:
        role = INTERPOLATION if kind == "interpolation" else SAMPLES
        specs.append(spec(draws.volumes, label or _LABELS[kind], role, **gray))
    if draws.mean is not None:
        hidden = bool(draws.volumes)
        specs.append(
            spec((draws.mean,), "mean of samples", SAMPLE_MEAN, visible=not hidden, **gray)
        )
    if draws.sd is not None:
        looks = {
            "colormap": MAGNITUDE,
            "contrast_limits": (0.0, signed_limit(draws.sd.data)),
            "blending": "translucent_no_depth",
        }
        specs.append(spec((draws.sd,), "SD of samples", SAMPLE_SD, visible=False, **looks))
    return specs
