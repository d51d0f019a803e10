"""The layers of a detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.limits import image_limits
from napari_normative.layers.grid import display_grid
from napari_normative.layers.looks import (
    MAGNITUDE,
    candidate_features,
    magnitude_limits,
)
from napari_normative.layers.spec import (
    ABS_Z,
    ANOMALY_Z,
    CANDIDATES,
    LOCAL_VOLUME,
    MASK,
    RECONSTRUCTION,
    RESIDUAL,
    SAMPLE,
    LayerSpec,
    origin_of,
    signed_spec,
    spec_of,
)
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection


@dataclass(frozen=True)
class Outputs:
    """Which results become layers."""

    reconstruction: bool = True
    residual: bool = True
    anomaly_z: bool = True
    abs_z: bool = True
    candidates: bool = True
    local_volume: bool = True
    mask: bool = False


def detection_layers(
    detection: Detection, name: str | None = None, outputs: Outputs | None = None
) -> list[LayerSpec]:
    """Return the result layers of a detection, bottom first.

    Runs in a job: resampling a tilted scan takes a third of a second per layer.

    Parameters
    ----------
    detection : Detection
    name : str
        Of the source layer; the scan's own name unless given.
    outputs : Outputs
        All unless given. Samples and the local volume are shown only if the detection has them.
    """
    outputs = outputs or Outputs()
    name = name or detection.scan.source.name
    grid = display_grid(detection.scan)
    origin = origin_of(detection.scan)

    def spec(volume: Volume, role: str, label: str = "", **attributes: Any) -> LayerSpec:
        return spec_of(
            [volume],
            f"{name} · {label or role}",
            role,
            origin=origin,
            grid=grid,
            provenance=detection.provenance,
            **attributes,
        )

    def signed(volume: Volume, role: str, **attributes: Any) -> LayerSpec:
        return signed_spec(
            volume,
            f"{name} · {role}",
            role,
            origin=origin,
            grid=grid,
            provenance=detection.provenance,
            **attributes,
        )

    limits = image_limits(detection.scan.data)
    specs = []
    if outputs.reconstruction:
        specs.append(
            spec(
                detection.reconstruction,
                RECONSTRUCTION,
                contrast_limits=limits,
                colormap="gray",
                visible=False,
            )
        )
    for number, sample in enumerate(detection.samples, start=1):
        specs.append(
            spec(
                sample,
                f"{SAMPLE} {number}",
                f"sample {number} (synthetic)",
                contrast_limits=limits,
                colormap="gray",
                visible=False,
            )
        )
    if outputs.residual:
        specs.append(signed(detection.residual, RESIDUAL, visible=False))
    if outputs.local_volume and detection.local_volume is not None:
        specs.append(signed(detection.local_volume, LOCAL_VOLUME, visible=False))
    if outputs.anomaly_z:
        # Full colour below the threshold would make the map of a healthy scan look diseased.
        least = detection.threshold_z
        specs.append(signed(detection.anomaly_z, ANOMALY_Z, least=least, opacity=0.8))
    if outputs.abs_z:
        magnitude = detection.anomaly_z.with_data(np.abs(detection.anomaly_z.data))
        specs.append(
            spec(
                magnitude,
                ABS_Z,
                colormap=MAGNITUDE,
                contrast_limits=magnitude_limits(magnitude.data, detection.threshold_z),
                blending="translucent_no_depth",
                rendering="mip",
                visible=False,
            )
        )
    if outputs.mask:
        scored = detection.scan.with_data(detection.mask.astype(np.float32), is_label=True)
        specs.append(
            spec(scored, MASK, blending="translucent_no_depth", opacity=0.35, visible=False)
        )
    if outputs.candidates:
        candidates = spec(
            detection.candidate_labels,
            CANDIDATES,
            features=candidate_features(detection.candidates),
            blending="translucent_no_depth",
            opacity=0.9,
        )
        specs.append(candidates)
    return specs
