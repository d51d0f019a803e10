"""The network: shapes, the fast path, the linear start."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from napari_normative.core.blocks import Conv3d, fold, unfold
from napari_normative.core.config import VAEConfig
from napari_normative.core.linear import upsample
from napari_normative.core.vae import VAE, Latent

SMALL = {"widths": (8, 16), "latent_size": 5, "bottleneck": 4}


def made(**choices: object) -> VAE:
    torch.manual_seed(0)
    network = VAE(VAEConfig(**{"shape": (8, 12, 8), **SMALL, **choices})).eval()
    for parameter in network.parameters():  # the zero-initialised layers must matter here
        nn.init.normal_(parameter, std=0.1)
    return network


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("latent", ["dense", "spatial"])
def test_reconstruction_has_the_shape_of_the_input(latent: str, channels: int) -> None:
    network = made(latent=latent, channels=channels)
    x = torch.randn(2, channels, 8, 12, 8)
    out, q = network(x)
    assert out.shape == x.shape
    assert q.mean.shape == ((2, 5) if latent == "dense" else (2, 5, 2, 3, 2))


@pytest.mark.parametrize("size", [(4, 4, 4), (8, 12, 20), (36, 4, 16)])
def test_the_spatial_form_takes_any_size_divisible_by_its_stride(size) -> None:
    network = made(latent="spatial")
    x = torch.randn(1, 1, *size)
    assert network.reconstruct(x).shape == x.shape


def test_sizes_that_do_not_fit_the_stride_are_refused() -> None:
    with pytest.raises(ValidationError, match="not divisible by the stride 4"):
        VAEConfig(shape=(8, 10, 8), **SMALL)


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="extra"):
        VAEConfig(shape=(8, 8, 8), width=3)


@pytest.mark.parametrize("stride", [1, 2])
def test_fast_convolutions_equal_torchs_own_in_values_and_gradients(stride: int) -> None:
    torch.manual_seed(0)
    fast = Conv3d(4, 6, 3, stride=stride, padding=1)
    plain = nn.Conv3d(4, 6, 3, stride=stride, padding=1)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(1, 4, 8, 9, 10)
    inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
    outs = fast(inputs[0]), plain(inputs[1])
    torch.testing.assert_close(outs[0], outs[1])
    for out in outs:
        (out**2).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)


def test_a_small_convolution_on_a_cpu_leaves_the_slow_kernel() -> None:
    layer, x = Conv3d(16, 16, 3, padding=1), torch.randn(1, 16, 24, 24, 24)
    with (
        torch.inference_mode(),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record,
    ):
        layer(x)
    names = {event.key for event in record.key_averages()}
    assert "aten::mkldnn_convolution" in names
    assert not any("slow_conv3d" in name for name in names)


def test_the_backward_pass_of_a_small_convolution_leaves_the_slow_kernel_too() -> None:
    layer, x = Conv3d(16, 16, 3, padding=1), torch.randn(1, 16, 24, 24, 24)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as record:
        layer(x).sum().backward()
    (shape,) = (
        event.input_shapes[1]
        for event in record.key_averages(group_by_input_shape=True)
        if event.key == "aten::convolution_backward"
    )
    choice = torch._C._select_conv_backend(
        torch.randn(shape), layer.weight, layer.bias, [1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1
    )
    assert choice == torch._C._ConvBackend.Mkldnn


def test_unfold_undoes_fold() -> None:
    x = torch.randn(2, 3, 4, 6, 8)
    assert fold(x, 2).shape == (2, 24, 2, 3, 4)
    torch.testing.assert_close(unfold(fold(x, 2), 2), x)


def test_draws_have_the_mean_and_spread_of_the_latent() -> None:
    q = Latent(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -2.0]]))
    many = Latent(q.mean.expand(20000, 2), q.log_variance.expand(20000, 2))
    z = many.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), q.mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.std(0), torch.exp(0.5 * q.log_variance[0]), atol=0.03, rtol=0)
    again = many.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(z, again)


def test_gradients_reach_encoder_and_decoder() -> None:
    network = made().train()
    out, q = network(torch.randn(2, 1, 8, 12, 8))
    (out.square().sum() + q.log_variance.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_linear_branch_alone_reconstructs_what_its_components_span() -> None:
    torch.manual_seed(0)
    config = VAEConfig(
        shape=(8, 8, 8), widths=(8, 8), latent_size=3, bottleneck=2,
        linear_factor=1, linear_voxels=512,
    )  # fmt: skip
    network = VAE(config).eval()  # as built: the convolutions add nothing yet
    basis = torch.linalg.qr(torch.randn(512, 3))[0].T
    network.linear.basis.copy_(basis)
    network.linear.scale.copy_(torch.tensor([3.0, 2.0, 1.0]))
    network.linear.voxels.copy_(torch.arange(512))
    z = torch.tensor([[1.0, -1.0, 0.5]])
    x = ((z * network.linear.scale) @ basis).reshape(1, 1, 8, 8, 8)
    torch.testing.assert_close(network.encode(x).mean, z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.reconstruct(x), x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsampling_keeps_flat_flat_and_smooths_steps(factor: int) -> None:
    x = torch.zeros(1, 1, 4, 3, 3)
    x[:, :, 2:] = 6.0
    y = upsample(x, factor)
    assert y.shape == (1, 1, 4 * factor, 3 * factor, 3 * factor)
    line = y[0, 0, :, 0, 0]
    assert line[0] == pytest.approx(0.0)
    assert line[-1] == pytest.approx(6.0)
    assert (line.diff() >= -1e-6).all()
    if factor > 1:
        assert line.diff().max() < 6.0  # the step is spread over several voxels
    torch.testing.assert_close(upsample(torch.ones_like(x), factor), torch.ones_like(y))


def test_beyond_the_foreground_nothing_deviates_from_the_mean() -> None:
    """A scan that is cut, and the same scan completed with the mean, have the same latent."""
    network = made(linear_factor=1, linear_voxels=200)
    network.mean_image.normal_(1.0, 0.1)
    assert network.linear is not None
    network.linear.basis.normal_()
    network.linear.voxels.copy_(torch.randperm(768)[:200])
    whole = network.mean_image[None] + 0.3 * torch.randn(1, 1, 8, 12, 8)
    cut, completed = whole.clone(), whole.clone()
    cut[..., :3] = 0
    completed[..., :3] = network.mean_image[..., :3]
    torch.testing.assert_close(network.encode(cut).mean, network.encode(completed).mean)
    assert not torch.allclose(network.encode(cut).mean, network.encode(whole).mean)
