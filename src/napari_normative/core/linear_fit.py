"""Ridge and logistic regression: what scikit-learn gives, at a tenth of the time of small fits.

A permutation test makes tens of thousands of fits of some hundred scans.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 30
CLOSE = 1e-7


def ridge(
    features: NDArray[np.float64], values: NDArray[np.float64], penalty: float
) -> tuple[NDArray[np.float64], float]:
    """Return coefficients (Z,) and intercept of ridge regression.

    Parameters
    ----------
    features : float64 array, shape (n, Z)
    values : float64 array, shape (n,)
    penalty : float
        ``alpha`` of ``sklearn.linear_model.Ridge``.
    """
    mean, middle = features.mean(axis=0), float(values.mean())
    centred = features - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, centred.T @ (values - middle))
    return weights, middle - float(mean @ weights)


def logistic(
    features: NDArray[np.float64], labels: NDArray[np.int_], penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients and intercepts of logistic regression, classes weighted alike.

    Parameters
    ----------
    features : float64 array, shape (n, Z)
    labels : int array, shape (n,)
        Of two or more different classes.
    penalty : float
        ``1 / C`` of ``sklearn.linear_model.LogisticRegression``.

    Returns
    -------
    coefficients : float64 array, shape (1, Z) or (K, Z)
        Of two classes those of the logit of the second.
    intercepts : float64 array, shape (1,) or (K,)
    """
    classes = np.unique(labels)
    if len(classes) == 2:
        found = _newton(features, (labels == classes[1]).astype(np.float64), penalty)
        if found is not None:
            return found[None, :-1], found[-1:]
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=1000)
    fitted.fit(features, labels)
    return fitted.coef_, fitted.intercept_


def _newton(
    features: NDArray[np.float64], truth: NDArray[np.float64], penalty: float
) -> NDArray[np.float64] | None:
    """Return coefficients with the intercept last; None if Newton's method did not settle."""
    design = np.column_stack([features, np.ones(len(features))])
    weight = np.where(truth == 1, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    shrink = np.full(design.shape[1], penalty)
    shrink[-1] = 0.0
    found = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -40, 40)))
        slope = design.T @ (weight * (chance - truth)) + shrink * found
        if np.abs(slope).max() < CLOSE * len(truth):
            return found
        curve = (design * (weight * np.maximum(chance * (1 - chance), 1e-12))[:, None]).T @ design
        curve[np.diag_indices_from(curve)] += shrink
        found = found - np.linalg.solve(curve, slope)
    return None
