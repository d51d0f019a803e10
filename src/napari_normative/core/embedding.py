"""A map of latents: axes that mean something, and where the cohort lies on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_normative.core.latent import AggregatedPosterior
from napari_normative.volume import FloatArray


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Principal axes of the volumes that the cohort's latents decode to.

    The covariance of the latents alone cannot order them: a latent that starts as whitened
    components is spread alike in all directions. What a step does to the decoded volume
    can: on these axes the cohort is independent, and a distance on the map is the root mean
    square difference of two decoded volumes, to first order.

    Attributes
    ----------
    posterior : AggregatedPosterior
        Of dense latents.
    turn : float64 array, shape (Z, Z)
        Whitened latents to axes of unit variance; rows are orthogonal.
    sd : float64 array, shape (Z,)
        Of the cohort along each axis, model units; falling.
    """

    posterior: AggregatedPosterior
    turn: NDArray[np.float64]
    sd: NDArray[np.float64]

    @classmethod
    def of(cls, posterior: AggregatedPosterior, effects: FloatArray) -> PrincipalAxes:
        """Return the axes of a cohort.

        Parameters
        ----------
        posterior : AggregatedPosterior
        effects : float32 array, shape (Z, V)
            Change of V voxels of the decoded volume for one unit along each latent.
        """
        per_sd = posterior.cholesky.astype(np.float64).T @ effects.astype(np.float64)
        values, vectors = np.linalg.eigh(per_sd @ per_sd.T / per_sd.shape[1])
        order = np.argsort(-values, kind="stable")
        turn = vectors[:, order].T
        # Signs are arbitrary; fixed so that the same model gives the same map.
        turn *= np.sign(turn[np.arange(len(turn)), np.abs(turn).argmax(axis=1)])[:, None]
        return cls(posterior, turn, np.sqrt(np.maximum(values[order], 0)))

    def place(self, latents: FloatArray) -> NDArray[np.float64]:
        """Return where latents (n, Z) lie, shape (n, Z): model units, most telling axis first."""
        return np.asarray(self.posterior.whiten(latents) @ self.turn.T * self.sd)

    def coordinates(self, latents: FloatArray) -> NDArray[np.float64]:
        """Return where latents (n, Z) lie in SD of the cohort along each axis, shape (n, Z)."""
        return np.asarray(self.posterior.whiten(latents) @ self.turn.T)

    def steps(self) -> FloatArray:
        """Return one SD of the cohort along each axis as a latent, shape (Z, Z), a row an axis."""
        return (self.turn @ self.posterior.cholesky.astype(np.float64).T).astype(np.float32)

    def share(self) -> NDArray[np.float64]:
        """Return the share of the decoded volumes' variance that each axis has; sums to 1."""
        variance = self.sd**2
        return np.asarray(variance / max(float(variance.sum()), 1e-30))

    def ellipse(self, first: int, second: int, level: float) -> tuple[float, float]:
        """Return the half axes of the ellipse about 0 that holds a share of the cohort.

        Parameters
        ----------
        first, second : int
            Axes, from 0.
        level : float
            Between 0 and 1: 0.95 holds 95 % of the draws from the aggregated posterior.
        """
        radius = float(np.sqrt(stats.chi2.ppf(level, 2)))
        return radius * float(self.sd[first]), radius * float(self.sd[second])
