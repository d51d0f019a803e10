"""The model card: what a normative model is, was made of, and cannot do."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_normative.core.comparison import BASELINE_NAMES, ComparisonRow, beaten, verdict
from napari_normative.core.config import BaselineConfig, NetworkConfig, ObjectiveConfig
from napari_normative.core.preprocess import PreprocessConfig
from napari_normative.core.score import ScoreConfig

FORMAT: Literal["napari-normative-model/2"] = "napari-normative-model/2"
RESEARCH_USE = "Research use only, not for diagnosis."


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(_Record):
    """Training at one moment; nats per volume, means since the previous point.

    ``held_out_mae`` is the mean absolute error on the calibration-a people, model units, where
    it was measured.
    """

    step: int
    minutes: float
    elbo_nats: float
    reconstruction_nats: float
    kl_nats: float
    active_units: int
    held_out_mae: float | None = None


class TrainingFacts(_Record):
    """How the weights came about."""

    preset: str
    command: str
    seed: int
    steps: int
    minutes: float
    device: str
    precision: str
    people: dict[str, dict[str, int]] = Field(
        description="split -> site -> number of people; train, calibration-a/-b, test"
    )
    cohort_digest: str = Field(description="SHA-256 over the scans' digests and the split")
    versions: dict[str, str]
    curves: tuple[CurvePoint, ...]


class HeldOut(_Record):
    """Reconstruction of people who took no part in training, per site.

    Mean absolute error inside the mask, model units, beside that of the mean image.
    """

    site: str
    people: int
    mae: float
    mae_mean_image: float


class CalibrationFacts(_Record):
    """Where thresholds and p values come from; what the latents of training people do.

    ``latent_aggregate_kl_nats`` is the part of the total that is distance of the cohort's
    latents, taken together, from N(0, I).
    """

    people: int
    threshold_z: float
    false_per_scan: float
    rate_low: float
    rate_high: float
    latent_total_kl_nats: float
    latent_active: int
    latent_aggregate_kl_nats: float | None = None

    def rate_line(self) -> str:
        """Return in a line what the threshold is and means, with its interval."""
        return (
            f"z threshold {self.threshold_z:g} ({self.false_per_scan:.1f} false candidates per "
            f"healthy scan, 95 % interval {self.rate_low:.1f} to {self.rate_high:.1f})"
        )

    def latents_line(self) -> str:
        """Return in a line whether the latents are in use."""
        line = f"latents: {self.latent_active} active, {self.latent_total_kl_nats:g} nats"
        if self.latent_aggregate_kl_nats is None:
            return line
        return f"{line}, of them {self.latent_aggregate_kl_nats:g} distance from N(0, I)"


class ModelCard(_Record):
    """Everything about a model except its numbers' arrays.

    Attributes
    ----------
    name, title, modality : str
    network : VAEConfig, BaselineConfig or AutoencoderConfig
    objective : ObjectiveConfig or None
        None for a baseline, and for weights from elsewhere.
    comparison : tuple of ComparisonRow
        With the baselines, on the test people; empty where none was made.
    license, credit : str
        Of weights and statistics.
    intended_use, limits : str
        In sentences for people.
    """

    format: Literal["napari-normative-model/2"] = FORMAT
    name: str
    title: str
    modality: str
    created_utc: str
    network: NetworkConfig
    objective: ObjectiveConfig | None
    preprocess: PreprocessConfig
    score: ScoreConfig
    training: TrainingFacts
    calibration: CalibrationFacts
    held_out: tuple[HeldOut, ...]
    comparison: tuple[ComparisonRow, ...] = ()
    intended_use: str
    limits: str
    license: str
    credit: str

    def one_line(self) -> str:
        """Return the card in a line, for pickers and logs."""
        people = sum(self.training.people["train"].values())
        sites = len(self.training.people["train"])
        return (
            f"{self.title}: {self.modality}, {self.preprocess.spacing_mm:g} mm, "
            f"{people} healthy people of {sites} site{'s' * (sites != 1)}, "
            f"{self.calibration.rate_line()}"
        )

    def verdict(self, *, figures: bool = True) -> str:
        """Return in a sentence or two whether the model does better than simple baselines."""
        if isinstance(self.network, BaselineConfig):
            return f"A simple baseline ({BASELINE_NAMES[self.network.kind]}), to compare with."
        return verdict(self.comparison, figures=figures)

    def beats_no_baseline(self) -> bool:
        """Whether the comparison was made and no baseline finds simulated lesions worse."""
        decided = any(r.figure == "ap" and r.low is not None for r in self.comparison)
        own = not isinstance(self.network, BaselineConfig)
        return own and decided and not beaten(self.comparison)
