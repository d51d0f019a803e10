"""The evidence lower bound against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Laplace, Normal, kl_divergence

from napari_normative.core import objective
from napari_normative.core.config import ObjectiveConfig
from napari_normative.core.objective import (
    LOG_SIGMA_FLOOR,
    evaluate,
    gaussian,
    gaussian_map,
    laplace,
    ssim_map,
)
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


@pytest.mark.parametrize(("likelihood", "law"), [(gaussian, Normal), (laplace, Laplace)])
def test_likelihood_equals_that_of_torch_at_the_best_scale(likelihood, law) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 3, 1, 4, 4, 4, generator=generator)
    nll, scale = likelihood(x - y, torch.ones_like(x))
    wanted = -law(y, scale).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(nll, wanted, rtol=1e-4, atol=1e-3)
    for other in (0.9 * scale, 1.1 * scale):  # the scale is the best of its neighbourhood
        assert nll.sum() <= -law(y, other).log_prob(x).sum()


def test_voxels_outside_the_mask_have_no_say() -> None:
    x, y = torch.zeros(2, 1, 4, 4, 4), torch.full((2, 1, 4, 4, 4), 0.1)
    mask = torch.zeros(1, 1, 4, 4, 4)
    mask[..., :2] = 1
    config = ObjectiveConfig(ssim=1.0)
    before = evaluate(x, y, latent(2), mask, config)
    y[..., 2:] = 99.0
    after = evaluate(x, y, latent(2), mask, config)
    torch.testing.assert_close(before, after)
    assert before.reconstruction == pytest.approx(
        32 * (math.log(0.1) + 0.5 * math.log(2 * math.pi) + 0.5)
    )


def test_a_perfect_reconstruction_stays_finite() -> None:
    x = torch.ones(1, 1, 4, 4, 4)
    nll, scale = gaussian(x - x, torch.ones_like(x))
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


def residuals() -> tuple[torch.Tensor, torch.Tensor]:
    """Return errors of many people whose SD differs from voxel to voxel, and those SDs."""
    sd = torch.tensor([0.05, 0.2, 1.0, 3.0]).reshape(1, 1, 1, 4)
    error = torch.randn(500, 1, 1, 1, 4, generator=torch.Generator().manual_seed(3)) * sd
    return error, (error**2).mean(0).sqrt()


def test_the_best_map_of_sigma_is_the_residual_sd_of_every_voxel() -> None:
    error, sd = residuals()
    log_sigma = torch.zeros(1, 1, 1, 4, requires_grad=True)
    adam = torch.optim.Adam([log_sigma], lr=0.05)
    for _ in range(600):
        adam.zero_grad()
        gaussian_map(error, torch.ones_like(error), log_sigma)[0].mean().backward()
        adam.step()
    sigma = (torch.exp(2 * log_sigma) + math.exp(2 * LOG_SIGMA_FLOOR)).sqrt()
    torch.testing.assert_close(sigma.detach(), sd, rtol=1e-3, atol=1e-4)
    nll, scale = gaussian_map(error, torch.ones_like(error), log_sigma)
    wanted = -Normal(0.0, sigma).log_prob(error).flatten(1).sum(1)
    torch.testing.assert_close(nll, wanted)
    assert scale.item() == pytest.approx(float((sd**2).mean().sqrt()), rel=1e-3)
    assert nll.mean() < gaussian(error, torch.ones_like(error))[0].mean()


def test_the_map_of_sigma_has_a_floor_that_does_not_stop_the_gradient() -> None:
    log_sigma = torch.full((1, 1, 1, 1), 3 * LOG_SIGMA_FLOOR, requires_grad=True)
    error = torch.full((1, 1, 1, 1, 1), 0.5)
    nll, scale = gaussian_map(error, torch.ones_like(error), log_sigma)
    nll.sum().backward()
    assert scale.item() == pytest.approx(math.exp(LOG_SIGMA_FLOOR), rel=1e-3)
    assert log_sigma.grad is not None
    assert log_sigma.grad.item() < 0  # towards a larger σ


def test_a_map_of_sigma_that_is_not_there_is_an_error() -> None:
    x = torch.zeros(1, 1, 2, 2, 2)
    with pytest.raises(ValueError, match="map of σ"):
        evaluate(x, x, latent(1), MASK, ObjectiveConfig(likelihood="gaussian-map"))


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "gaussian-map"])
def test_gradients_equal_finite_differences(likelihood: str) -> None:
    random = torch.Generator().manual_seed(4)
    x, y, log_sigma = torch.randn(3, 1, 1, 5, 5, 5, generator=random, dtype=torch.float64)
    mask = (torch.rand(1, 1, 5, 5, 5, generator=random) > 0.3).double()
    config = ObjectiveConfig(likelihood=likelihood, ssim=0.5)
    q = Latent(torch.zeros(1, 2).double(), torch.zeros(1, 2).double())

    def loss(y: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
        return evaluate(x, y, q, mask, config, 1.0, log_sigma[0]).loss

    y = y.clone().requires_grad_()
    log_sigma = log_sigma.clone().requires_grad_(likelihood == "gaussian-map")
    assert torch.autograd.gradcheck(loss, (y, log_sigma))


def test_ssim_equals_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    random = torch.Generator().manual_seed(5)
    x, y = torch.rand(2, 1, 1, 12, 13, 14, generator=random, dtype=torch.float64)
    y = 0.7 * x + 0.3 * y
    _, full = structural_similarity(
        x[0, 0].numpy(), y[0, 0].numpy(), win_size=objective.SSIM_WINDOW, data_range=1.0,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    ours = ssim_map(x, y, torch.ones_like(x))[0, 0]
    inner = (slice(2, -2),) * 3  # scikit-image mirrors the volume at its edge
    np.testing.assert_allclose(ours[inner].numpy(), full[inner], rtol=1e-9)
    torch.testing.assert_close(ssim_map(x, x, torch.ones_like(x)), torch.ones_like(x))


def test_ssim_costs_nats_per_voxel_and_leaves_the_bound_alone() -> None:
    x, y = torch.randn(2, 4, 1, 6, 6, 6, generator=torch.Generator().manual_seed(2))
    without, with_it = (
        evaluate(x, y, latent(), MASK, ObjectiveConfig(ssim=weight)) for weight in (0.0, 2.0)
    )
    wanted = 2.0 * 216 * (1 - ssim_map(x, y, MASK)).mean()
    torch.testing.assert_close(with_it.loss - without.loss, wanted)
    assert with_it.elbo == without.elbo
