"""The patch form of the VAE: windows, places, and nothing that depends on the window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_normative.core.config import VAEConfig
from napari_normative.core.vae import VAE, Place

SMALL = {
    "shape": (32, 16, 16),
    "latent": "spatial",
    "latent_size": 3,
    "stem": 2,
    "widths": (8,),
    "window": (16, 16, 16),
    "overlap": 8,
}
REACH = 14
"""Voxels that the small network sees to each side: seven 3³ convolutions on blocks of 2³ voxels."""


def made(**changes: object) -> VAE:
    """Return a network whose layers all do something."""
    torch.manual_seed(0)
    network = VAE(VAEConfig(**{**SMALL, **changes})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_files_of_earlier_versions_have_no_window_and_other_keys_stay_errors() -> None:
    old = VAEConfig(shape=(16, 16, 16), latent="spatial", widths=(8, 16)).model_dump()
    del old["window"], old["overlap"]
    config = VAEConfig.model_validate(old)
    assert config.window is None
    assert "encoder.place" not in str(list(VAE(config).state_dict()))
    assert VAE(config).encoder.layers[0].weight.shape[1] == 8
    with pytest.raises(ValidationError, match="Extra inputs"):
        VAEConfig.model_validate({**old, "windows": (8, 8, 8)})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"latent": "dense"}, "spatial latent"),
        ({"window": (16, 16, 24)}, "within"),
        ({"window": (16, 16, 15)}, "multiple of the stride"),
        ({"overlap": 16}, "below the window"),
        ({"overlap": 3}, "multiple of the stride"),
        ({"window": None}, "an overlap needs windows"),
    ],
)
def test_windows_that_do_not_tile_are_refused(changes, why) -> None:
    with pytest.raises(ValidationError, match=why):
        VAEConfig(**{**SMALL, **changes})


def test_places_run_from_minus_one_to_one_across_the_space_and_shift_with_the_origin() -> None:
    place = Place((32, 16, 16), 2)
    whole = place(torch.zeros(1, 1, 16, 8, 8), None)[0, 1:]
    assert whole.shape == (3, 16, 8, 8)
    assert whole[0, 0, 0, 0] == pytest.approx(-1 + 1 / 16)
    assert whole[0, -1, 0, 0] == pytest.approx(1 - 1 / 16)
    assert whole[2, 0, 0, -1] == pytest.approx(1 - 1 / 8)
    part = place(torch.zeros(2, 1, 8, 8, 8), torch.tensor([[0.0, 0, 0], [16.0, 0, 0]]))
    torch.testing.assert_close(part[1, 1:], whole[:, 8:])
    torch.testing.assert_close(part[0, 1:], whole[:, :8])


def test_the_same_content_elsewhere_is_reconstructed_otherwise() -> None:
    network, x = made(), torch.rand(1, 1, 16, 16, 16)
    here, there = (
        network.reconstruct_windows(x, torch.tensor([[first, 0.0, 0.0]])) for first in (0.0, 16.0)
    )
    assert (here - there).abs().max() > 1e-3


def test_a_voxel_does_not_depend_on_what_else_its_window_holds() -> None:
    network, x = made(), torch.rand(1, 1, 32, 16, 16)
    whole = network.decode(network.encode(x).mean)
    part = network.reconstruct_windows(x[:, :, :24], torch.zeros(1, 3))
    torch.testing.assert_close(part[:, :, : 24 - REACH], whole[:, :, : 24 - REACH])
    assert (
        part[:, :, -1] - whole[:, :, 23]
    ).abs().max() > 1e-4  # the reach is not larger than said


def test_a_volume_is_the_blend_of_its_windows_and_empty_windows_cost_nothing() -> None:
    network, x = made(), torch.rand(1, 1, 32, 16, 16)
    with torch.no_grad():
        first, middle, last = (
            network.reconstruct_windows(x[:, :, s : s + 16], torch.tensor([[float(s), 0, 0]]))
            for s in (0, 8, 16)
        )
        out = network.reconstruct(x)
        torch.testing.assert_close(out[:, :, :8], first[:, :, :8])
        share = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
        weight = torch.tensor(share[8:] / (share[8:] + share[:8])).float().view(8, 1, 1)
        blend = weight * first[:, :, 8:] + (1 - weight) * middle[:, :, :8]
        torch.testing.assert_close(out[:, :, 8:16], blend)
        torch.testing.assert_close(out[:, :, -8:], last[:, :, 8:])
        x[:, :, :16] = 0
        assert not network.reconstruct(x)[:, :, :8].any()
