"""The codebook: which code is nearest, where gradients go, how codes move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_normative.core.config import ObjectiveConfig, VAEConfig
from napari_normative.core.latent import code_health
from napari_normative.core.objective import evaluate, latent_nats
from napari_normative.core.quantise import DECAY, Quantiser
from napari_normative.core.vae import LOG_VARIANCE_RANGE, VAE, Latent


def codebook(rows: list[list[float]]) -> Quantiser:
    made = Quantiser(len(rows), len(rows[0]))
    made.codes.data = torch.tensor(rows)
    made.usage.data = torch.full((len(rows),), 10.0)
    return made


def cells(vectors: list[list[float]]) -> torch.Tensor:
    """Return vectors as the cells of one volume: (1, Z, n, 1, 1)."""
    return torch.tensor(vectors).T[None, :, :, None, None]


def test_a_cell_becomes_its_nearest_code() -> None:
    made = codebook([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    z = cells([[0.4, 0.1], [0.6, 0.0], [0.0, 1.4], [-9.0, 9.0]])
    found = made.quantised(z)
    assert found.which.flatten().tolist() == [0, 1, 0, 2]
    assert torch.equal(made(z), cells([[0, 0], [1, 0], [0, 0], [0, 3]]).float())
    assert found.distance().item() == pytest.approx(0.17 + 0.16 + 1.96 + 81 + 36)
    assert found.used().item() == 3
    assert found.nats() == pytest.approx(4 * math.log(3))


def test_gradients_pass_as_if_nothing_had_been_replaced() -> None:
    made = codebook([[0.0, 0.0], [1.0, 0.0]])
    z = cells([[0.4, 0.1], [0.9, 0.3]]).requires_grad_()
    out = made(z)
    torch.testing.assert_close(out.detach(), made(z.detach()))
    (out**3).sum().backward()
    torch.testing.assert_close(z.grad, 3 * out.detach() ** 2)
    assert made.codes.grad is None


def test_a_code_moves_to_the_mean_of_the_cells_that_choose_it() -> None:
    made = codebook([[0.0, 0.0], [10.0, 0.0]])
    z = cells([[1.0, 1.0], [3.0, 1.0], [10.0, 0.0]])
    made.follow(z)
    # After a step: the moving averages of sums and counts, one over the other.
    usage = DECAY * 10 + (1 - DECAY) * 2
    assert made.codes[0].tolist() == pytest.approx(
        [(1 - DECAY) * 4 / usage, (1 - DECAY) * 2 / usage]
    )
    for _ in range(400):
        made.follow(z)
    assert made.codes[0].tolist() == pytest.approx([2.0, 1.0], abs=1e-3)
    assert made.usage.tolist() == pytest.approx([2.0, 1.0], abs=1e-3)


def test_unused_codes_move_to_where_cells_are_and_draw_nothing() -> None:
    torch.manual_seed(0)
    z = torch.randn(4, 3, 5, 5, 5)
    made, again = codebook([[50.0] * 3] * 16), codebook([[50.0] * 3] * 16)
    state = torch.get_rng_state()
    for _ in range(200):
        made.follow(z)
        again.follow(z)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(made.codes, again.codes)
    found = made.quantised(z)
    assert found.used() == 16
    spread = (z**2).flatten(1).sum(1)
    assert (found.distance() < 0.4 * spread).all()  # k-means with 16 codes halves it and more


def test_the_network_decodes_codes_and_is_sure_of_them() -> None:
    torch.manual_seed(0)
    config = VAEConfig(shape=(8, 12, 8), widths=(8, 16), latent_size=5, latent="spatial", codes=7)
    network = VAE(config).eval()
    x = torch.randn(2, 1, 8, 12, 8)
    latent = network.encode(x)
    assert (latent.log_variance == LOG_VARIANCE_RANGE[0]).all()
    assert latent.mean.shape == (2, 5, 2, 3, 2)
    assert network.quantiser is not None
    codes = network.quantiser(latent.mean)
    torch.testing.assert_close(network.decode(latent.mean), network.decoder(codes))
    assert latent_nats((Latent(*(t[:1] for t in latent)),), config.codes) == pytest.approx(
        12 * math.log(7)
    )
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == {
        "quantiser.codes", "quantiser.usage"
    }  # fmt: skip


def test_the_rate_is_that_of_a_uniform_prior_and_beta_weighs_the_commitment() -> None:
    made = codebook([[0.0, 0.0], [1.0, 0.0]])
    z = cells([[0.4, 0.0], [0.9, 0.0]])
    latent = Latent(z, torch.full_like(z, -10.0))
    x, mask = torch.zeros(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)
    for beta in (0.0, 0.25):
        config = ObjectiveConfig(beta=beta, warmup=0.0)
        terms = evaluate(x, x + 0.1, latent, mask, config, quantised=made.quantised(z))
        assert float(terms.kl) == pytest.approx(2 * math.log(2))
        assert terms.active == 2
        torch.testing.assert_close(terms.elbo, -(terms.reconstruction + terms.kl))
        torch.testing.assert_close(
            terms.loss, terms.reconstruction + beta * torch.tensor(0.16 + 0.01)
        )


def test_cells_alike_in_everybody_are_not_active() -> None:
    index = np.array([[[0, 1], [2, 2]], [[0, 3], [2, 2]], [[0, 1], [2, 5]]])
    health = code_health(index, 8)
    assert health.active == 2
    assert health.total_kl_nats == pytest.approx(4 * math.log(8))
    assert health.aggregate_kl_nats is None


def test_codes_need_cells() -> None:
    with pytest.raises(ValueError, match="spatial latent"):
        VAEConfig(shape=(8, 8, 8), widths=(8,), codes=4)
    with pytest.raises(ValueError, match="two codes"):
        VAEConfig(shape=(8, 8, 8), widths=(8,), codes=1, latent="spatial")
