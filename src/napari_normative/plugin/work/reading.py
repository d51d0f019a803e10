"""The jobs of the dock "Reading room"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.limits import image_limits
from napari_normative.errors import CancelledError
from napari_normative.layers.looks import candidate_features
from napari_normative.layers.sources import (
    Snapshot,
    volume_of,
)
from napari_normative.layers.spec import (
    CANDIDATES,
    LayerSpec,
    content_digest,
    origin_of,
    spec_of,
)
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.windowing import (
    MODALITIES,
    Modality,
    Window,
    recognise,
    robust_window,
)

if TYPE_CHECKING:
    from napari_normative.core.calibration import Calibration
    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection
    from napari_normative.layers.grid import DisplayGrid


@dataclass(frozen=True)
class Measured:
    """What the grey values of a scan say.

    Attributes
    ----------
    origin : str
        Of the scan's volume, as its results carry it; of the first volume of a series.
    recognised : {"MR", "CT", "other"}
    automatic : dict of Window
        The default of each modality.
    full : Window
        All values.
    opened : tuple of 2 floats
        Contrast limits the layer was opened with.
    """

    origin: str
    recognised: Modality
    automatic: dict[Modality, Window]
    full: Window
    opened: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Measure:
    """Look at the grey values of a scan."""

    scan: Snapshot

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Measured:
        """Do it; a tenth of a second."""
        data: NDArray[Any] = np.asarray(self.scan.data)
        facts = self.scan.facts
        if facts is not None and not self.scan.moved:
            origin = facts.origin
        else:
            origin = origin_of(volume_of(self.scan, 0))
        windows = {modality: robust_window(data, modality) for modality in MODALITIES}
        finite = data[np.isfinite(data)]
        full = (
            Window.between(float(finite.min()), float(finite.max()))
            if finite.size
            else Window(0, 1)
        )
        return Measured(origin, recognise(data), windows, full, image_limits(data))


@dataclass(frozen=True, eq=False)
class Recounted:
    """Candidates at a threshold, and what is known of healthy scans there.

    Attributes
    ----------
    candidates : tuple of Candidate
    spec : LayerSpec or None
        The labels; None where the present labels were edited.
    rate_line : str
    """

    candidates: tuple[Candidate, ...]
    spec: LayerSpec | None
    rate_line: str


@dataclass(frozen=True, eq=False)
class Recount:
    """Form the candidates of a detection at another threshold.

    Attributes
    ----------
    models : ModelShelf
    model : str
        Key of the chosen model.
    detection : Detection
    threshold_z : float
    name : str
        Of the labels layer.
    grid : DisplayGrid or None
        Where the labels are shown; None when there is no such layer.
    labels : array or None
        Values of the present labels layer.
    digest : str
        That they have unless somebody edited them.
    """

    models: ModelShelf
    model: str
    detection: Detection
    threshold_z: float
    name: str
    grid: DisplayGrid | None
    origin: str
    labels: NDArray[np.generic] | None
    digest: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Recounted:
        """Do it.

        Raises
        ------
        ModelFileError
            ``MOD-021`` if another model than that of the detection was chosen.
        """
        from napari_normative.engine.infer import recount

        told = self.detection.provenance["model"]
        model = self.models.load_same(self.model, told["sha256"], told["name"])
        volume, candidates = recount(model, self.detection, self.threshold_z)
        rate = rate_line(model.calibration, self.threshold_z)
        if cancelled():
            raise CancelledError
        spec = None
        if self.labels is not None and content_digest(np.asarray(self.labels)) == self.digest:
            told = {**self.detection.provenance, "candidates_threshold_z": self.threshold_z}
            spec = spec_of(
                [volume],
                self.name,
                CANDIDATES,
                origin=self.origin,
                grid=self.grid,
                provenance=told,
                features=candidate_features(candidates),
            )
        return Recounted(candidates, spec, rate)


def rate_line(calibration: Calibration, threshold_z: float) -> str:
    """Return what is known of healthy scans at a threshold."""
    if abs(threshold_z - calibration.threshold_z) < 1e-6:
        return model_rate_line(
            calibration.false_per_scan, calibration.rate_low, calibration.rate_high
        )
    share = float(calibration.voxel_p(np.array([threshold_z], dtype=np.float32))[0])
    voxels = f"{voxel_share(share)} of healthy voxels lie beyond this threshold."
    rate = calibration.false_per_scan_at(threshold_z)
    if rate is None:
        known = f"|z| {calibration.threshold_z:.1f}"
        return f"{voxels} How many candidates healthy scans have is known at {known}."
    return f"Healthy scans have {rate:.1f} candidates each at this threshold. {voxels}"


def model_rate_line(rate: float, low: float, high: float) -> str:
    """Return how many candidates healthy scans have at the model's own threshold."""
    return (
        f"Healthy scans have {rate:.1f} candidates each at the model's threshold "
        f"(95 % interval {low:.1f} to {high:.1f})."
    )


def voxel_share(share: float) -> str:
    """Return a share of voxels in words; the calibration ends at 1 in 100,000."""
    if share <= 1.05e-5:
        return "At most 1 in 100,000"
    if share < 0.01:
        return f"1 in {round(1 / share):,}"
    return f"{100 * share:.1f} %"
