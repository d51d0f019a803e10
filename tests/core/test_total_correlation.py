"""The parts of the KL against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from napari_normative.core.config import ObjectiveConfig
from napari_normative.core.objective import evaluate, kl_divergence
from napari_normative.core.total_correlation import _log_weight, decomposed, log_normal
from napari_normative.core.vae import Latent

OWN = 0.4
"""Variance of a person's own Gaussian."""


def cohort(correlation: float, n: int = 2000, scale: float = 1.0) -> tuple[torch.Tensor, Latent]:
    """Return draws and Gaussians of people who together are a Gaussian of known covariance."""
    generator = torch.Generator().manual_seed(0)
    together = torch.eye(3)
    together[0, 1] = together[1, 0] = correlation
    factor = torch.linalg.cholesky(together * scale - OWN * torch.eye(3))
    mean = torch.randn(n, 3, generator=generator) @ factor.T
    latent = Latent(mean, torch.full_like(mean, math.log(OWN)))
    return latent.sample(generator), latent


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.55])
def test_total_correlation_of_a_gaussian_cohort_is_that_of_its_correlations(
    correlation: float,
) -> None:
    z, latent = cohort(correlation)
    found = decomposed(z, latent, len(z)).total_correlation
    assert float(found) == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.03)


def test_the_other_parts_have_their_closed_forms_too() -> None:
    z, latent = cohort(0.0, scale=2.0)
    parts = decomposed(z, latent, len(z))
    # I(z; x) of independent Gaussians, and KL(N(0, 2) || N(0, 1)), both three times.
    assert float(parts.mutual_information) == pytest.approx(1.5 * math.log(2 / OWN), abs=0.1)
    assert float(parts.dimension_wise) == pytest.approx(1.5 * (1 - math.log(2)), abs=0.1)


@pytest.mark.parametrize("batch", [2, 8, 2000])
def test_the_parts_sum_to_the_kl_whatever_the_batch(batch: int) -> None:
    z, latent = cohort(0.4)
    z, latent = z[:batch], Latent(*(t[:batch] for t in latent))
    parts = decomposed(z, latent, 2000)
    q = Normal(latent.mean, torch.exp(0.5 * latent.log_variance))
    wanted = (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(1).mean()
    torch.testing.assert_close(sum(parts), wanted, rtol=1e-4, atol=1e-4)
    if batch == 2000:  # the mean over draws is near the KL itself
        assert float(wanted) == pytest.approx(float(kl_divergence(latent).sum(1).mean()), abs=0.1)


def test_a_batch_tells_correlated_from_independent() -> None:
    values = {}
    for correlation in (0.0, 0.55):
        z, latent = cohort(correlation)
        parts = [
            decomposed(z[i : i + 40], Latent(*(t[i : i + 40] for t in latent)), 2000)
            for i in range(0, 2000, 40)
        ]
        values[correlation] = float(torch.stack([p.total_correlation for p in parts]).mean())
    gap = -0.5 * math.log(1 - 0.55**2)
    assert values[0.55] - values[0.0] == pytest.approx(gap, abs=0.1)


def test_its_gradient_takes_a_correlation_away() -> None:
    z, latent = cohort(0.5, n=400)
    turn = torch.zeros(3, 3, requires_grad=True)
    adam = torch.optim.Adam([turn], lr=0.02)
    for _ in range(60):
        mixed = torch.eye(3) + turn - torch.diag(torch.diag(turn))
        mean = latent.mean @ mixed
        made = Latent(mean, latent.log_variance)
        total = decomposed(mean + (z - latent.mean), made, 400).total_correlation
        adam.zero_grad()
        total.backward()
        adam.step()
    after = torch.corrcoef((latent.mean @ mixed).detach().T)[0, 1]
    assert abs(float(after)) < 0.25 < abs(float(torch.corrcoef(latent.mean.T)[0, 1]))


def test_the_density_of_the_cohort_is_estimated_without_bias() -> None:
    z, latent = cohort(0.4, n=4)
    wanted = torch.exp(log_normal(z[:1, None], latent.mean, latent.log_variance).sum(-1)).mean()
    found = []
    for other in (1, 2, 3):  # every batch of two in which the first person is
        pair = torch.tensor([0, other])
        own, their = (log_normal(z[:1], *(t[[i]] for t in latent)).sum().exp() for i in pair)
        weight = _log_weight(2, 4, like=z).exp()
        assert weight.sum(1).tolist() == pytest.approx([1, 1])
        found.append(weight[0, 0] * own + weight[0, 1] * their)
    torch.testing.assert_close(torch.stack(found).mean(), wanted)


def test_one_person_alone_has_no_cohort() -> None:
    one = Latent(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="two people"):
        decomposed(one.mean, one, 10)


def test_log_density_is_that_of_torch() -> None:
    z, latent = cohort(0.0, n=5)
    wanted = MultivariateNormal(latent.mean, OWN * torch.eye(3)).log_prob(z)
    torch.testing.assert_close(log_normal(z, *latent).sum(1), wanted)


def test_the_weight_is_of_total_correlation_within_the_kl() -> None:
    z, latent = cohort(0.5, n=6)
    x = torch.zeros(6, 1, 2, 2, 2)
    mask = torch.ones(1, 1, 2, 2, 2)
    known = {"z": z, "people": 50}

    def loss(weight: float, beta: float = 2.0) -> torch.Tensor:
        config = ObjectiveConfig(beta=beta, free_nats=0.0, warmup=0.0, total_correlation=weight)
        return evaluate(x, x + 0.1, latent, mask, config, **known).loss

    total = decomposed(z, latent, 50).total_correlation
    torch.testing.assert_close(loss(6.0) - loss(1.0), 2.0 * 5.0 * total)
    torch.testing.assert_close(loss(6.0, beta=0.0), loss(1.0, beta=0.0))
    with pytest.raises(ValueError, match="needs the draws"):
        evaluate(x, x, latent, mask, ObjectiveConfig(total_correlation=2.0))
