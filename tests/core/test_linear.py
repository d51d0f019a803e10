"""The linear levels: posteriors in closed form, mirror images, blending."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from napari_normative.core.config import VAEConfig
from napari_normative.core.linear import LocalLevel

CONFIG = VAEConfig(
    shape=(8, 12, 8), widths=(8,), stem=1, latent_size=4, linear_factor=1, linear_voxels=700,
    local_edge=4, local_size=3, local_blocks=6,
)  # fmt: skip
STARTS = [(0, 0, 0), (0, 2, 0), (2, 4, 2), (2, 6, 4), (0, 8, 4), (2, 2, 2)]


def level() -> LocalLevel:
    made = LocalLevel(CONFIG)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 3, 64, generator=generator)
    orthonormal = torch.linalg.qr(rows.transpose(1, 2)).Q.transpose(1, 2)
    made.start.copy_(torch.tensor(STARTS, dtype=torch.int32))
    made.step.fill_(1 / 127)
    made.basis.copy_((orthonormal * 127).round().to(torch.int8))
    made.scale.copy_(torch.tensor([3.0, 1.0, 0.1]).expand(6, 3))
    made.noise.fill_(0.25)
    return made


def test_the_latent_is_the_posterior_of_a_linear_gaussian_model() -> None:
    made, x = level(), torch.randn(2, 1, 8, 12, 8)
    mean, log_variance = made.encode(x)
    block = x[1, 0, 2:6, 4:8, 2:6].flatten()
    basis = made.basis[2].float() / 127
    scaled = basis * torch.tensor([3.0, 1.0, 0.1])[:, None]
    exact = torch.linalg.solve(scaled @ scaled.T + 0.25 * torch.eye(3), scaled @ block)
    torch.testing.assert_close(mean[1, 2], exact, atol=0.03, rtol=0.03)
    # A strong direction is known well, a weak one hardly better than before.
    torch.testing.assert_close(
        log_variance[1, 2].exp(), torch.tensor([0.25 / 9.25, 0.25 / 1.25, 0.25 / 0.26])
    )


def test_the_latent_of_a_whole_scan_is_that_of_an_observed_one() -> None:
    made, x = level(), torch.randn(2, 1, 8, 12, 8)
    whole = made.encode_observed(x, torch.ones_like(x))
    torch.testing.assert_close(whole, made.encode(x)[0], atol=0.05, rtol=0.05)


def test_what_is_missing_has_no_say_in_a_latent() -> None:
    made, x = level(), torch.randn(1, 1, 8, 12, 8)
    seen = torch.ones_like(x)
    seen[..., 4:6, :] = 0
    spoilt = torch.where(seen > 0, x, 1e3)
    found = made.encode_observed(spoilt, seen)
    torch.testing.assert_close(found, made.encode_observed(x, seen))
    nothing = made.encode_observed(x, torch.zeros_like(x))
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))
    # A block of which half is seen: the exact posterior given that half.
    block, have = x[0, 0, 2:6, 4:8, 2:6].flatten(), seen[0, 0, 2:6, 4:8, 2:6].flatten()
    scaled = made.basis[2].float() / 127 * torch.tensor([3.0, 1.0, 0.1])[:, None] * have
    exact = torch.linalg.solve(scaled @ scaled.T + 0.25 * torch.eye(3), scaled @ block)
    torch.testing.assert_close(found[0, 2], exact, atol=1e-4, rtol=1e-4)


def test_a_mirrored_scan_gets_the_mirrored_reconstruction() -> None:
    made, x = level(), torch.randn(1, 1, 8, 12, 8)
    out = made.decode(made.encode(x)[0])
    mirrored = made.decode(made.encode(x.flip(2))[0])
    torch.testing.assert_close(mirrored, out.flip(2))


def test_overlapping_blocks_are_averaged_not_added() -> None:
    made = level()
    made.basis.fill_(127)  # every block says 1 everywhere
    made.scale.fill_(1.0)
    z = torch.zeros(1, *made.size())
    z[..., 0] = 1.0
    out = made.decode(z)
    covered = out != 0
    torch.testing.assert_close(out[covered], torch.ones_like(out[covered]))
    assert 0.3 < covered.float().mean() < 1


def test_what_lies_in_no_block_is_left_alone() -> None:
    made = level()
    x = torch.zeros(1, 1, 8, 12, 8)
    x[..., 7] = 5.0  # the last plane holds blocks from k = 4 on: rows 6 to 9 and 8 to 11
    out = made.decode(made.encode(x)[0])
    assert torch.equal(out[..., :6, :], torch.zeros_like(out[..., :6, :]))


def test_blocks_must_tile_the_grid() -> None:
    with pytest.raises(ValidationError, match="do not tile"):
        VAEConfig.model_validate({**CONFIG.model_dump(), "local_edge": 5})
    with pytest.raises(ValidationError, match="number of blocks"):
        VAEConfig.model_validate({**CONFIG.model_dump(), "local_blocks": 0})
