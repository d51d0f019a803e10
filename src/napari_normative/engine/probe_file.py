"""A saved probe: what it is, its file, and what it says of a scan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_normative.core.applicability import Applicability, Check
from napari_normative.core.calibration import conformal_p
from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.latent import AggregatedPosterior
from napari_normative.core.probe import Kind, LinearRule
from napari_normative.engine.made import record_of
from napari_normative.engine.prediction import Prediction
from napari_normative.engine.probe_scans import MeasuredScan, measure_scan
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.errors import ModelFileError, ProbeError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import pack, unpack

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

FORMAT: Literal["napari-normative-probe/1"] = "napari-normative-probe/1"


class ProbeCard(BaseModel):
    """What a probe is and where it comes from.

    Attributes
    ----------
    target : str
        Column of the table.
    kind : {"category", "number"}
    classes : tuple of str
    model, model_sha256 : str
        The only model whose latents it reads.
    penalty : float
    people, scans : int
    trained : int
        Scans of people whom the model's network was trained on.
    lowest, highest : float or None
        Of the numbers it was fitted to.
    figures : dict
        Of the latents, from people out of fold.
    warnings : tuple of str
    created_utc, software : str
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-normative-probe/1"] = FORMAT
    notice: str = RESEARCH_USE
    target: str
    kind: Kind
    classes: tuple[str, ...] = ()
    model: str
    model_sha256: str
    penalty: float
    people: int
    scans: int
    trained: int = 0
    lowest: float | None = None
    highest: float | None = None
    figures: dict[str, float | None] = {}
    warnings: tuple[str, ...] = ()
    created_utc: str = ""
    software: str = ""

    @property
    def outputs(self) -> int:
        """How many rows of coefficients there are."""
        return len(self.classes) if self.kind == "category" else 1


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear rule on a model's latents that tells a column of a table.

    Attributes
    ----------
    card : ProbeCard
    rule : LinearRule
    cloud : AggregatedPosterior
        The Gaussian of the latents it was fitted to.
    distances : float64 array, shape (n,)
        From the Gaussian of the other folds, of each scan; sorted.
    low, high : float64 array, shape (Z,)
        Range of each latent.
    digest : str
        SHA-256 of the content; empty until it is saved.
    """

    card: ProbeCard
    rule: LinearRule
    cloud: AggregatedPosterior
    distances: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    digest: str = ""

    def packed(self) -> bytes:
        """Return the file's content."""
        tensors = {
            "features.mean": self.rule.mean,
            "features.scale": self.rule.scale,
            "coefficients": self.rule.coefficients,
            "intercept": self.rule.intercept,
            "frequencies": self.rule.frequencies,
            "latent.mean": self.cloud.mean.astype(np.float64),
            "latent.cholesky": self.cloud.cholesky.astype(np.float64),
            "latent.low": self.low,
            "latent.high": self.high,
            "latent.distances": self.distances,
        }
        return pack(tensors, self.card.model_dump_json())

    def with_digest(self) -> Probe:
        """Return the probe with the digest that its file will have."""
        return dataclasses.replace(self, digest=unpack(self.packed(), "probe")[2])

    def save(self, path: str | Path) -> Path:
        """Write the probe to one ``.safetensors`` file, whole or not at all.

        Raises
        ------
        OutputError
            ``OUT-002`` if it cannot be written.
        """
        replace_files({Path(path): self.packed()})
        return Path(path)

    def require_model(self, model: NormativeModel) -> None:
        """Raise ``PRB-004`` unless the probe was fitted to this very model's latents."""
        if model.digest != self.card.model_sha256:
            raise ProbeError(
                "PRB-004",
                f"the probe reads the latents of {self.card.model} "
                f"({self.card.model_sha256[:12]}), not of {model.card.name} ({model.digest[:12]})",
                "Choose that model, or fit a probe to this one.",
                subject=self.card.target,
                consequence="Nothing was predicted.",
            )

    def predict(
        self,
        model: NormativeModel,
        scan: ScanLike,
        *,
        volume: int | None = None,
        device: str = "auto",
        force: bool = False,
    ) -> Prediction:
        """Return what the probe says of a scan, and whether it may be believed.

        Parameters
        ----------
        model : NormativeModel
            The one that the probe was fitted to.
        scan : scan
            As for :meth:`NormativeModel.detect`.
        volume : int, optional
            Which volume of a 4D file, from 0.
        device : str
        force : bool
            Predict for a scan of another contrast than the model's too.

        Raises
        ------
        ProbeError
            ``PRB-004`` for another model.
        NormativeError
            As for :meth:`NormativeModel.detect`.
        """
        self.require_model(model)
        given = as_volume(scan, volume=volume)
        seen = measure_scan(model, given, device=device, force=force)
        return self.predicted(model, seen, given.source.digest, given.source.warnings)

    def predicted(
        self,
        model: NormativeModel,
        seen: MeasuredScan,
        scan_digest: str,
        warnings: tuple[str, ...] = (),
    ) -> Prediction:
        """Return what the probe says of a scan that was measured."""
        latent = seen.latent.astype(np.float64)[None]
        probabilities: dict[str, float] = {}
        value: str | float
        if self.card.kind == "category":
            shares = self.rule.probabilities(latent)[0]
            probabilities = dict(zip(self.card.classes, shares.round(6).tolist(), strict=True))
            value = self.card.classes[int(self.rule.balanced(latent)[0].argmax())]
        else:
            value = float(self.rule.numbers(latent)[0])
        distance = self.cloud.distance(seen.latent)
        checks = [*seen.applicability.checks, self._place(distance)]
        if isinstance(value, float):
            checks.append(self._range(value))
        fits = Applicability(tuple(checks))
        outside = int(((latent[0] < self.low) | (latent[0] > self.high)).sum())
        record = record_of(
            model, "prediction", seen.note, scan_sha256=scan_digest,
            probe_sha256=self.digest, latents_outside_range=outside,
            probe_distance_p=conformal_p(self.distances, distance),
        )  # fmt: skip
        return Prediction(
            self.card.target,
            value,
            probabilities,
            fits,
            distance,
            float((self.distances < distance).mean()),
            (*warnings, *fits.warnings, *seen.note.warnings),
            record,
        )

    def _place(self, distance: float) -> Check:
        least, most = float(self.distances[0]), float(self.distances[-1])
        if least <= distance <= most:
            return Check("probe", distance, most)
        if distance > most:
            what = (
                f"the scan's latents lie farther from the probe's than those of any of its "
                f"{len(self.distances)} scans did ({distance:.3g}, largest {most:.3g})"
            )
            remedy = "The prediction is an extrapolation; do not rely on it."
            return Check("probe", distance, most, "warn", what, remedy)
        what = (
            f"the scan's latents lie nearer to the middle than those of any of the probe's "
            f"{len(self.distances)} scans did ({distance:.3g}, smallest {least:.3g})"
        )
        remedy = (
            "Scans that the model was trained on lie far out: a probe that was fitted to them "
            "predicts too near to the average for others. Fit it to people the model never saw."
        )
        return Check("probe", distance, least, "warn", what, remedy)

    def _range(self, value: float) -> Check:
        low, high = self.card.lowest, self.card.highest
        if low is None or high is None or low <= value <= high:
            return Check("range", value, value)
        limit = low if value < low else high
        what = (
            f"the predicted {self.card.target} {value:.4g} lies outside what the probe was "
            f"fitted to ({low:.4g} to {high:.4g})"
        )
        return Check("range", value, limit, "warn", what, "It is an extrapolation.")


def load_probe(path: str | Path) -> Probe:
    """Load a probe that :func:`fit_probe` or :meth:`Probe.save` wrote.

    Raises
    ------
    ProbeError
        ``PRB-005`` when the file is missing, foreign, damaged or of another version.

    Examples
    --------
    >>> probe = load_probe("site/probe.safetensors")  # doctest: +SKIP
    >>> print(probe.predict(model, "scan.nii.gz").describe())  # doctest: +SKIP
    """
    file = Path(path)
    try:
        tensors, text, digest = unpack(file.read_bytes(), file.name)
        card = ProbeCard.model_validate_json(text)
        t = {name: array.astype(np.float64) for name, array in tensors.items()}
        size, rows = t["coefficients"].shape[1], card.outputs
        classes = len(card.classes)
        wanted = {
            "features.mean": (size,), "features.scale": (size,), "coefficients": (rows, size),
            "intercept": (rows,), "frequencies": (classes,), "latent.mean": (size,),
            "latent.cholesky": (size, size), "latent.low": (size,), "latent.high": (size,),
        }  # fmt: skip
        bad = [n for n, shape in wanted.items() if t[n].shape != shape]
        bad += [n for n, array in t.items() if not np.isfinite(array).all()]
        if bad or t["latent.distances"].ndim != 1 or not t["latent.distances"].size:
            raise ValueError(f"the tensors {', '.join(bad)} do not fit")
    except (OSError, ModelFileError, ValidationError, ValueError, KeyError, IndexError) as error:
        raise ProbeError(
            "PRB-005",
            f"this is no probe that can be read ({_why(error)})",
            "Pass a probe.safetensors that napari-normative probe wrote.",
            subject=file.name,
            consequence="Nothing was predicted.",
        ) from error
    rule = LinearRule(
        t["features.mean"], t["features.scale"], t["coefficients"], t["intercept"],
        t["frequencies"], card.penalty,
    )  # fmt: skip
    cloud = AggregatedPosterior(
        t["latent.mean"].astype(np.float32), t["latent.cholesky"].astype(np.float32)
    )
    low, high = t["latent.low"], t["latent.high"]
    return Probe(card, rule, cloud, np.sort(t["latent.distances"]), low, high, digest)


def _why(error: Exception) -> str:
    if isinstance(error, ModelFileError):
        return error.what
    if isinstance(error, OSError):
        return error.strerror or "it cannot be opened"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"missing {error}" if isinstance(error, KeyError) else str(error)
