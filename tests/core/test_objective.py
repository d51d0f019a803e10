"""The evidence lower bound against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Laplace, Normal, kl_divergence

from napari_normative.core import objective
from napari_normative.core.config import ObjectiveConfig
from napari_normative.core.objective import LOG_SIGMA_FLOOR, evaluate, negative_log_likelihood
from napari_normative.core.vae import Latent

MASK = torch.ones(1, 1, 1, 1, 1)


def latent(n: int = 4, size: int = 6) -> Latent:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, n, size, generator=generator)
    return Latent(mean, log_variance)


def test_kl_equals_the_closed_form_of_torch() -> None:
    q = latent()
    wanted = kl_divergence(Normal(q.mean, (0.5 * q.log_variance).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(objective.kl_divergence(q), wanted)


def test_kl_of_the_prior_is_zero() -> None:
    q = Latent(torch.zeros(2, 3), torch.zeros(2, 3))
    assert objective.kl_divergence(q).abs().max() == 0


@pytest.mark.parametrize(("likelihood", "law"), [("gaussian", Normal), ("laplace", Laplace)])
def test_likelihood_equals_that_of_torch_at_the_best_scale(likelihood, law) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 3, 1, 4, 4, 4, generator=generator)
    nll, scale = negative_log_likelihood(x, y, MASK, likelihood)
    wanted = -law(y, scale).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(nll, wanted, rtol=1e-4, atol=1e-3)
    for other in (0.9 * scale, 1.1 * scale):  # the scale is the best of its neighbourhood
        assert nll.sum() <= -law(y, other).log_prob(x).sum()


def test_voxels_outside_the_mask_have_no_say() -> None:
    x, y = torch.zeros(2, 1, 4, 4, 4), torch.full((2, 1, 4, 4, 4), 0.1)
    mask = torch.zeros(1, 1, 4, 4, 4)
    mask[..., :2] = 1
    before, _ = negative_log_likelihood(x, y, mask, "gaussian")
    y[..., 2:] = 99.0
    after, _ = negative_log_likelihood(x, y, mask, "gaussian")
    torch.testing.assert_close(before, after)
    assert before[0] == pytest.approx(32 * (math.log(0.1) + 0.5 * math.log(2 * math.pi) + 0.5))


def test_a_perfect_reconstruction_stays_finite() -> None:
    x = torch.ones(1, 1, 4, 4, 4)
    nll, scale = negative_log_likelihood(x, x, MASK, "gaussian")
    assert torch.isfinite(nll).all()
    assert scale == pytest.approx(math.exp(LOG_SIGMA_FLOOR))


def test_elbo_is_minus_the_sum_of_its_terms_whatever_beta() -> None:
    x, y = torch.randn(2, 4, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    for beta in (0.0, 1.0, 4.0):
        config = ObjectiveConfig(beta=beta, free_nats=0.0, warmup=0.0)
        terms = evaluate(x, y, latent(), MASK, config)
        torch.testing.assert_close(terms.elbo, -(terms.reconstruction + terms.kl))
        torch.testing.assert_close(terms.loss, terms.reconstruction + beta * terms.kl)


def test_warmup_lets_the_kl_in_slowly() -> None:
    x, y = torch.randn(2, 4, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    config = ObjectiveConfig(free_nats=0.0, warmup=0.5)
    start, half, full = (evaluate(x, y, latent(), MASK, config, p) for p in (0.0, 0.25, 0.5))
    torch.testing.assert_close(start.loss, start.reconstruction)
    torch.testing.assert_close(half.loss, half.reconstruction + 0.5 * half.kl)
    torch.testing.assert_close(full.loss, full.reconstruction + full.kl)


def test_free_nats_cost_nothing_and_do_not_count_as_active() -> None:
    mean = torch.zeros(4, 2)
    mean[:, 0] = 2.0
    q = Latent(mean, torch.zeros(4, 2))
    x = torch.zeros(4, 1, 2, 2, 2)
    terms = evaluate(x, x + 0.1, q, MASK, ObjectiveConfig(free_nats=0.1, warmup=0.0))
    assert terms.active == 1
    assert terms.kl == pytest.approx(2.0)
    assert terms.loss - terms.reconstruction == pytest.approx(2.0 + 0.1)
