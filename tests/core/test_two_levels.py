"""The hierarchical form: the anatomy of the whole guides the windows below it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_normative.core.config import VAEConfig
from napari_normative.core.linear import upsample
from napari_normative.core.two_levels import TwoLevelVAE, block_means, vae
from napari_normative.core.vae import VAE

ABOVE = {"shape": (16, 8, 8), "latent_size": 5, "stem": 1, "widths": (8, 8), "bottleneck": 2}
SMALL = {
    "shape": (32, 16, 16),
    "latent": "spatial",
    "latent_size": 3,
    "stem": 2,
    "widths": (8, 8),
    "window": (16, 16, 16),
    "overlap": 8,
    "anatomy": ABOVE,
}


def mean_image() -> torch.Tensor:
    """A mean image with fine detail, foreground throughout."""
    return 1 + torch.rand(32, 16, 16, generator=torch.Generator().manual_seed(3))


def made(*, lively: bool = True) -> TwoLevelVAE:
    """Return a network at its start, or one whose layers all do something."""
    torch.manual_seed(0)
    network = TwoLevelVAE(VAEConfig.model_validate(SMALL)).eval()
    network.take_mean(mean_image())
    network.anatomy.mean_image.copy_(block_means(mean_image()[None, None], 2)[0])
    if lively:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_block_means_leave_out_what_is_no_foreground() -> None:
    x = torch.zeros(1, 1, 4, 2, 2)
    x[0, 0, 0], x[0, 0, 1, 0, 0] = 3.0, 1.0  # five of eight voxels of the first block
    x[0, 0, 2] = 7.0  # four of eight of the second: half is not enough
    means = block_means(x, 2)
    assert means.shape == (1, 1, 2, 1, 1)
    assert means[0, 0, 0, 0, 0] == pytest.approx((4 * 3 + 1) / 5)
    assert means[0, 0, 1, 0, 0] == 0


def test_files_of_earlier_versions_have_no_anatomy_level() -> None:
    old = VAEConfig(shape=(16, 16, 16), latent="spatial", widths=(8, 16)).model_dump()
    del old["anatomy"]
    config = VAEConfig.model_validate(old)
    assert (config.anatomy, config.anatomy_factor) == (None, 0)
    assert type(vae(config)) is VAE
    again = VAEConfig.model_validate_json(VAEConfig.model_validate(SMALL).model_dump_json())
    assert again.anatomy == VAEConfig.model_validate(ABOVE)
    assert again.anatomy_factor == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"window": None, "overlap": 0}, "needs windows"),
        ({"anatomy": {**ABOVE, "latent": "spatial"}}, "is dense"),
        ({"anatomy": {**ABOVE, "shape": (16, 8, 16)}}, "blocks of no size"),
        ({"anatomy": {**ABOVE, "shape": (32, 16, 16)}}, "blocks of no size"),
        ({"widths": (8,), "anatomy": {**ABOVE, "shape": (8, 4, 4)}}, "no multiple of the blocks"),
    ],
)
def test_levels_that_do_not_fit_are_refused(changes, why) -> None:
    with pytest.raises(ValidationError, match=why):
        VAEConfig.model_validate({**SMALL, **changes})


def test_at_its_start_it_reconstructs_the_mean_image_with_all_its_detail() -> None:
    x = mean_image()[None, None] + 0.3
    with torch.no_grad():
        out = made(lively=False).reconstruct(x)
    torch.testing.assert_close(out[0, 0], mean_image(), atol=1e-5, rtol=0)


def test_what_the_anatomy_adds_is_interpolated_without_seams_between_windows() -> None:
    network = made()
    above = network.anatomy.mean_image[None] + torch.rand(1, 1, 16, 8, 8)
    whole = mean_image() + upsample(above - network.mean_blocks, 2)[0, 0]
    for first in (0, 8, 16):
        guide = network.guide(above, torch.tensor([[first, 0.0, 0.0]]))
        torch.testing.assert_close(guide[0, 0], whole[first : first + 16], atol=1e-5, rtol=0)


def test_the_latent_is_the_anatomys_and_fine_detail_goes_to_the_windows() -> None:
    network, x = made(), 1.2 * mean_image()[None, None]
    checkers = torch.from_numpy((-1.0) ** np.indices((32, 16, 16)).sum(0)).float()
    with torch.no_grad():
        plain, fine = network.levels(x), network.levels(x + 0.2 * checkers)
    assert [tuple(level.mean.shape) for level in plain] == [(1, 5), (1, 3, 3, 4, 4, 4)]
    torch.testing.assert_close(plain[0].mean, fine[0].mean, atol=1e-4, rtol=0)
    assert (plain[1].mean - fine[1].mean).abs().max() > 1e-2
    torch.testing.assert_close(network.encode(x).mean, plain[0].mean)


def test_the_means_of_all_levels_decode_to_the_reconstruction() -> None:
    network, x = made(), mean_image()[None, None] * 1.1
    x[:, :, :4] = 0
    with torch.no_grad():
        made_of = network.decode(*(level.mean for level in network.levels(x)))
        torch.testing.assert_close(made_of, network.reconstruct(x))
        alone = network.decode(network.encode(x).mean)
    assert (alone - made_of).abs().max() > 1e-2  # windows at 0 are not their means


def test_windows_are_not_decoded_without_what_the_anatomy_says_of_them() -> None:
    with pytest.raises(ValueError, match="need the overview"):
        made().reconstruct_windows(torch.rand(1, 1, 16, 16, 16), torch.zeros(1, 3))


def test_a_trained_anatomy_learns_no_more() -> None:
    network, anatomy = made(), VAE(VAEConfig.model_validate(ABOVE))
    network.take_anatomy(anatomy)
    assert not any(p.requires_grad for p in network.anatomy.parameters())
    assert all(p.requires_grad for n, p in network.named_parameters() if "anatomy" not in n)
    for name, value in anatomy.state_dict().items():
        torch.testing.assert_close(network.state_dict()[f"anatomy.{name}"], value)
    assert not [name for name in network.state_dict() if name.startswith("mean")]
