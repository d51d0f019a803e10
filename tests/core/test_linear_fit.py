"""Ridge and logistic regression against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.linear_fit import logistic, ridge


@pytest.mark.parametrize("penalty", [1e4, 10.0, 0.1])
def test_logistic_regression_is_that_of_scikit_learn(penalty: float) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [50, 30])
    features = random.normal(size=(80, 30)) + labels[:, None] * 0.5
    weights, offset = logistic(features, labels, penalty)
    peer = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=5000, tol=1e-9)
    peer.fit(features, labels)
    np.testing.assert_allclose(
        features @ weights.T + offset, features @ peer.coef_.T + peer.intercept_, atol=2e-3
    )


def test_classes_that_can_be_parted_at_a_weak_penalty_are_fitted_too() -> None:
    labels = np.repeat([0, 1], 20)
    features = np.column_stack([labels * 200.0 - 100, np.arange(40)])
    weights, offset = logistic(features, labels, 1e-6)
    assert np.isfinite(weights).all()
    assert ((features @ weights.T + offset)[:, 0] > 0).tolist() == (labels == 1).tolist()


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(1)
    features, values = random.normal(2, 1, size=(20, 30)), random.normal(50, 9, 20)
    weights, offset = ridge(features, values, 3.0)
    peer = Ridge(alpha=3.0).fit(features, values)
    np.testing.assert_allclose(weights, peer.coef_, atol=1e-9)
    assert offset == pytest.approx(peer.intercept_)
