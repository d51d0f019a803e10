"""A head: what readers' decisions taught about the candidates of a model; its file and use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_normative.core.candidates import components
from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.probe import LinearRule
from napari_normative.engine.detection import Detection, InModelSpace
from napari_normative.engine.head_features import voxel_features
from napari_normative.errors import ModelFileError, SegmentationError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import pack, unpack
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

SMALLEST_ML = 1e-3
FORMAT: Literal["napari-normative-head/1"] = "napari-normative-head/1"

_PARTS = ("mean", "scale", "coefficients", "intercept", "frequencies")


class HeadCard(BaseModel):
    """What a head is and where it comes from.

    Attributes
    ----------
    model, model_sha256 : str
        The only model whose features it reads.
    people, scans : int
    accepted, rejected : int
        Regions that it learnt from.
    penalty : float
        Of the logistic regression, chosen in folds of people.
    figures : dict
        Of people out of fold; see :func:`~napari_normative.engine.head_fit.fit_head`.
    refused : tuple of str
        A sentence for each scan that could not be used.
    created_utc, software : str
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-normative-head/1"] = FORMAT
    notice: str = RESEARCH_USE
    model: str
    model_sha256: str
    people: int
    scans: int
    accepted: int
    rejected: int
    penalty: float
    figures: dict[str, float | None] = {}
    refused: tuple[str, ...] = ()
    created_utc: str = ""
    software: str = ""

    def line(self) -> str:
        """Return in one line how well the head does, for people."""
        shown = {name: float("nan") if v is None else v for name, v in self.figures.items()}
        gain = "gain_over_evidence"
        return (
            f"{self.accepted} accepted and {self.rejected} rejected regions of {self.people} "
            f"people; of people it did not learn from: AUROC {shown['candidate_auroc']:.2f}, by "
            f"evidence {shown['candidate_auroc_evidence']:.2f}, difference "
            f"{shown[gain]:+.2f} [{shown[gain + '_low']:+.2f}, {shown[gain + '_high']:+.2f}]; "
            f"without the encoder's features {shown['candidate_auroc_plain']:.2f}"
        )


@dataclass(frozen=True, eq=False)
class Head:
    """A linear rule on features of voxels, and with the evidence one of candidates.

    Attributes
    ----------
    card : HeadCard
    rule : LinearRule
        Of a voxel: part of what was accepted, or not.
    candidate : float array, shape (3,)
        Log odds that a candidate is accepted: weight of the mean log odds of its voxels, weight of
        the logarithm of its evidence, offset.
    digest : str
        SHA-256 of the content; empty until it has one.
    """

    card: HeadCard
    rule: LinearRule
    candidate: NDArray[np.float64]
    digest: str = ""

    def log_odds(
        self, model: NormativeModel, inside: InModelSpace, *, device: str = "auto"
    ) -> FloatArray:
        """Return the log odds of each voxel, on the model's grid; both kinds equally frequent.

        Raises
        ------
        SegmentationError
            ``SEG-003`` for another model.
        """
        self.require_model(model)
        weights = (self.rule.coefficients[1] - self.rule.coefficients[0]) / self.rule.scale
        offset = float(self.rule.intercept[1] - self.rule.intercept[0] - weights @ self.rule.mean)
        return voxel_features(model, inside, device).linear(weights, offset)

    def candidates(
        self, model: NormativeModel, detection: Detection, *, device: str = "auto"
    ) -> NDArray[np.float64]:
        """Return the probability that a reader accepts each candidate, shape (n,).

        Raises
        ------
        SegmentationError
            ``SEG-003`` for another model, ``SEG-006`` for a detection without its maps on
            the model's grid.
        """
        if (inside := detection.in_model) is None:
            raise SegmentationError(
                "SEG-006",
                "the detection does not carry what a head reads",
                "Pass the scan, or a detection that this session made.",
                subject=detection.scan.source.name,
            )
        odds = self.log_odds(model, inside, device=device)
        minimum, spacing = model.card.score.minimum_ml, model.card.preprocess.spacing_mm
        labels, found = components(inside.z, detection.threshold_z, minimum, spacing**3 / 1000)
        evidence = {component.label: component.evidence for component in found}
        of = [c.label for c in detection.candidates]
        mean = np.array([odds[labels == label].mean() for label in of], dtype=np.float64)
        return self.probabilities(mean, np.array([evidence[label] for label in of]))

    def probabilities(
        self, mean_log_odds: NDArray[np.float64], evidence: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the probability of being accepted from a candidate's log odds and evidence."""
        odds = np.column_stack([mean_log_odds, log_evidence(evidence)]) @ self.candidate[:2]
        return np.asarray(1 / (1 + np.exp(-(odds + self.candidate[2]))))

    def packed(self) -> bytes:
        """Return the file's content."""
        tensors = {f"rule.{name}": getattr(self.rule, name) for name in _PARTS}
        tensors["candidate"] = self.candidate
        return pack(tensors, self.card.model_dump_json())

    def with_digest(self) -> Head:
        """Return the head with the digest that its file will have."""
        return dataclasses.replace(self, digest=unpack(self.packed(), "head")[2])

    def save(self, path: str | Path) -> Path:
        """Write the head to one ``.safetensors`` file, whole or not at all.

        Raises
        ------
        OutputError
            ``OUT-002`` if it cannot be written.
        """
        replace_files({Path(path): self.packed()})
        return Path(path)

    def require_model(self, model: NormativeModel) -> None:
        """Raise ``SEG-003`` unless the head reads this very model's features."""
        if model.digest != self.card.model_sha256:
            raise SegmentationError(
                "SEG-003",
                f"the head reads the features of {self.card.model} "
                f"({self.card.model_sha256[:12]}), not of {model.card.name} ({model.digest[:12]})",
                "Choose that model, or train a head for this one.",
            )


def load_head(path: str | Path) -> Head:
    """Load a head that :func:`fit_head` or :meth:`Head.save` wrote.

    Raises
    ------
    SegmentationError
        ``SEG-004`` when the file is missing, foreign, damaged or of another version.

    Examples
    --------
    >>> head = load_head("study/head.safetensors")  # doctest: +SKIP
    >>> model.segment("scan.nii.gz", head=head).kept  # doctest: +SKIP
    """
    file = Path(path)
    try:
        tensors, text, digest = unpack(file.read_bytes(), file.name)
        card = HeadCard.model_validate_json(text)
        parts = {name: tensors[f"rule.{name}"].astype(np.float64) for name in _PARTS}
        candidate = tensors["candidate"].astype(np.float64)
        size = len(parts["mean"])
        wanted = {"mean": (size,), "scale": (size,), "coefficients": (2, size), "intercept": (2,)}
        bad = [name for name, shape in wanted.items() if parts[name].shape != shape]
        bad += [name for name, array in parts.items() if not np.isfinite(array).all()]
        if bad or candidate.shape != (3,) or not np.isfinite(candidate).all():
            raise ValueError(f"the tensors {', '.join(bad)} do not fit")
    except (OSError, ModelFileError, ValidationError, ValueError, KeyError) as error:
        why = error.what if isinstance(error, ModelFileError) else str(error).splitlines()[0]
        raise SegmentationError(
            "SEG-004",
            f"this is no head that can be read ({why})",
            "Pass a file that napari-normative review train-head wrote.",
            subject=file.name,
        ) from error
    return Head(card, LinearRule(**parts, penalty=card.penalty), candidate, digest)


def log_evidence(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of evidence, finite where there is none."""
    return np.log(evidence + SMALLEST_ML)
