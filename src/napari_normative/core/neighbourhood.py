"""Whether a space of few numbers keeps who is near whom."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.core.probe import Numbers


@dataclass(frozen=True)
class Preserved:
    """How well neighbourhoods are kept; 1 is perfect, about 0.5 is chance.

    Attributes
    ----------
    neighbours : int
    trustworthiness : float
        Falls with scans that are near in the small space and far in the true one.
    continuity : float
        Falls with scans that are near in the true space and far in the small one.
    """

    neighbours: int
    trustworthiness: float
    continuity: float


def preserved(true: Numbers, shown: Numbers, neighbours: int) -> Preserved:
    """Compare who is near in a small space with who is near in the true one.

    Parameters
    ----------
    true : float array, shape (n, D)
        Coordinates in which neighbours are the true ones, Euclidean.
    shown : float array, shape (n, d)
        The same scans in few numbers, Euclidean.
    neighbours : int
        Below n / 2.

    References
    ----------
    .. [1] Venna & Kaski, Neural Networks 19:889-899, 2006.
    """
    from sklearn.manifold import trustworthiness

    return Preserved(
        neighbours,
        float(trustworthiness(true, shown, n_neighbors=neighbours)),
        float(trustworthiness(shown, true, n_neighbors=neighbours)),
    )
