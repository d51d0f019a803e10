"""What a probe says of one scan, and whether it may be believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari_normative.core.applicability import Applicability


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a probe says of one scan, and whether it may be believed.

    Attributes
    ----------
    target : str
    value : str or float
        Of a category the most probable, all taken as equally frequent.
    probabilities : dict of str to float
        At the frequencies of the probe's scans; empty for a number.
    applicability : Applicability
        The model's checks, and ``probe``: how far the scan's latents lie from the probe's.
    distance, distance_quantile : float
        Mahalanobis distance from the probe's latents over its expectation; the share of the
        probe's people, each held out, who lie nearer.
    warnings : tuple of str
    record : dict
        What made it, JSON-ready.
    """

    target: str
    value: str | float
    probabilities: dict[str, float]
    applicability: Applicability
    distance: float
    distance_quantile: float
    warnings: tuple[str, ...]
    record: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        return {
            "target": self.target,
            "value": self.value,
            "probabilities": self.probabilities,
            "applicability": self.applicability.record(),
            "probe_distance": round(self.distance, 4),
            "probe_distance_quantile": round(self.distance_quantile, 4),
            "warnings": list(self.warnings),
            **self.record,
        }

    def describe(self) -> str:
        """Return the outcome in one line."""
        said = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        shown = ", ".join(f"{name} {p:.2f}" for name, p in self.probabilities.items())
        far = f"farther out than {self.distance_quantile:.0%} of the probe's people"
        return f"{self.target} {said}" + (f" ({shown})" if shown else "") + f"; {far}"
