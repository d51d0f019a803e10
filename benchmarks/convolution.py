"""Time the network beside MONAI's of the same cost, on a CPU, in one run.

The ways take turns, so that load on the machine falls on all of them alike; tables give
the median and, in brackets, the least and the most. Three questions:

1. One convolution of a single volume, where torch falls into its slow kernel: ours
   against ``monai.networks.blocks.Convolution``, values and gradients compared.
2. One residual block of equal channels and FLOPs; against ``AEKLResBlock``, which is the
   same function, values and gradients are compared as well.
3. Whole networks with FLOPs per voxel as near to ours as their widths allow: the network
   of the preset ``brain-2mm`` against ``VarAutoEncoder`` and ``AutoencoderKL``.

FLOPs are counted by torch's own counter, backward passes included; the ceiling is the
fastest of a few large convolutions in the same run.

Run: ``OMP_NUM_THREADS=1 python benchmarks/convolution.py [--threads 1] [--rounds 5]
[--out benchmarks/results/convolution.md]``
"""

from __future__ import annotations

import argparse
import copy
import datetime
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import monai
import torch
from monai.networks.blocks import Convolution, ResidualUnit
from monai.networks.nets import AutoencoderKL, VarAutoEncoder
from monai.networks.nets.autoencoderkl import AEKLResBlock
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from napari_normative.core.blocks import Conv3d, ResidualBlock
from napari_normative.core.config import VAEConfig
from napari_normative.core.objective import kl_divergence
from napari_normative.core.vae import VAE, Latent
from napari_normative.engine.presets import PRESETS

Ways = dict[str, Callable[[], object]]
Size = tuple[int, int, int]

LAYERS: list[tuple[int, int, Size]] = [
    (1, 16, (64, 64, 64)),
    (8, 16, (40, 48, 40)),
    (16, 16, (24, 24, 24)),
    (32, 32, (20, 24, 20)),
    (64, 64, (10, 12, 10)),
    (64, 64, (5, 6, 5)),
]
BLOCKS: list[tuple[int, Size]] = [(16, (40, 48, 40)), (32, (20, 24, 20)), (64, (10, 12, 10))]
CEILING: list[tuple[int, int, int]] = [(1, 32, 48), (1, 64, 32), (4, 64, 32), (1, 128, 24)]
"""Batch, channels, edge."""

OURS = "napari-normative VAE"


def turns(ways: Ways, rounds: int) -> dict[str, list[float]]:
    """Return milliseconds per way; the ways take turns.

    An untimed call goes before every timed one: otherwise a way pays for the caches and
    the memory that the way before it left behind.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            call()
            start = time.perf_counter()
            call()
            taken[name].append(1e3 * (time.perf_counter() - start))
    return taken


def shown(ms: list[float]) -> str:
    digits = 2 if statistics.median(ms) < 10 else 0
    low, middle, high = min(ms), statistics.median(ms), max(ms)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def ratio(theirs: list[float], ours: list[float]) -> str:
    return f"{statistics.median(theirs) / statistics.median(ours):.2f}"


def gflop(network: nn.Module, call: Callable[[nn.Module], object]) -> float:
    """Return the GFLOP of a call, backward pass included; nothing is computed.

    The call gets a copy: gradients and moments that a count leaves behind are no numbers.
    """
    network = copy.deepcopy(network)
    # Without oneDNN every convolution is one that the counter knows.
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.backends.mkldnn.flags(enabled=False),
        FlopCounterMode(display=False) as counter,
    ):
        call(network)
    return counter.get_total_flops() / 1e9


def both(module: nn.Module, x: Tensor) -> Ways:
    """Return a forward and a forward-and-backward call."""
    leaf = x.clone().requires_grad_()

    def forward() -> Tensor:
        with torch.inference_mode():
            return module(x)

    def backward() -> Tensor:
        leaf.grad = None
        module.zero_grad()
        module(leaf).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    return {"forward": forward, "backward": backward}


def compare(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Fail unless two modules with equal weights give equal values and gradients."""
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        nn.init.normal_(parameter, std=0.1)
        other.data.copy_(parameter.data)
    a, b = both(ours, x), both(theirs, x)
    torch.testing.assert_close(a["forward"](), b["forward"](), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a["backward"](), b["backward"](), rtol=1e-3, atol=1e-3)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        top = float(other.grad.abs().max())  # type: ignore[union-attr]
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4 * top)


def ceilings(rounds: int) -> dict[str, float]:
    """Return the highest GFLOP/s of large convolutions per precision."""
    best = {"fp32": 0.0, "bf16": 0.0}
    for batch, width, edge in CEILING:
        layer, x = nn.Conv3d(width, width, 3, padding=1), torch.randn(batch, width, *[edge] * 3)
        work = 2 * 27 * width**2 * batch * edge**3 / 1e9
        for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            module, given = layer.to(kind), x.to(kind)
            ms = turns({name: both(module, given)["forward"]}, rounds)[name]
            best[name] = max(best[name], 1e3 * work / min(ms))
    return best


def layers(rounds: int) -> Iterator[str]:
    yield "\n## One 3³ convolution, one volume, fp32\n"
    yield ("Milliseconds. MONAI's `Convolution` holds `torch.nn.Conv3d`. Values and gradients "
           "were compared before timing.\n")  # fmt: skip
    yield "| channels | voxels | pass | ours | MONAI | MONAI / ours |\n|---|---|---|---|---|---|"
    for width, wider, size in LAYERS:
        x = torch.randn(1, width, *size)
        ours = Conv3d(width, wider, 3, padding=1)
        theirs = Convolution(3, width, wider, kernel_size=3, conv_only=True)
        compare(ours, theirs, x)
        for kind in ("forward", "backward"):
            ms = turns({"a": both(ours, x)[kind], "b": both(theirs, x)[kind]}, rounds)
            named = kind if kind == "forward" else "forward + backward"
            yield (f"| {width}→{wider} | {'×'.join(map(str, size))} | {named} | {shown(ms['a'])} "
                   f"| {shown(ms['b'])} | {ratio(ms['b'], ms['a'])} |")  # fmt: skip


def blocks(rounds: int) -> Iterator[str]:
    yield "\n## One residual block, one volume, fp32\n"
    yield ("Milliseconds. `AEKLResBlock` with 8 groups is the same function as ours (compared "
           "before timing); `ResidualUnit` has the same convolutions with its own norm and "
           "activation.\n")  # fmt: skip
    yield ("| channels | voxels | GFLOP | pass | ours | AEKLResBlock | ResidualUnit "
           "| AEKL / ours | Unit / ours |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for width, size in BLOCKS:
        x = torch.randn(1, width, *size)
        ours = ResidualBlock(width)
        same = AEKLResBlock(3, width, 8, 1e-5, width)
        unit = ResidualUnit(3, width, width)
        compare(ours, same, x)
        for kind in ("forward", "backward"):
            calls = {n: both(m, x)[kind] for n, m in (("a", ours), ("b", same), ("c", unit))}
            ms = turns(calls, rounds)
            named = kind if kind == "forward" else "forward + backward"
            passes = 1 if kind == "forward" else 3  # gradients of input and of weights
            work = passes * 2 * 2 * 27 * width**2 * size[0] * size[1] * size[2] / 1e9
            yield (f"| {width} | {'×'.join(map(str, size))} | {work:.2f} | {named} "
                   f"| {shown(ms['a'])} | {shown(ms['b'])} | {shown(ms['c'])} "
                   f"| {ratio(ms['b'], ms['a'])} | {ratio(ms['c'], ms['a'])} |")  # fmt: skip


def networks() -> dict[str, nn.Module]:
    """Return the shipped architecture and MONAI's of about the same FLOPs."""
    preset = PRESETS["brain-2mm"]
    size = preset.preprocess.shape
    coarse = (size[0] * size[1] * size[2]) // preset.linear_factor**3
    config = VAEConfig(
        shape=size, stem=preset.stem, widths=preset.widths, latent_size=preset.latent_size,
        bottleneck=preset.bottleneck, linear_factor=preset.linear_factor,
        linear_voxels=coarse * 3 // 10,  # about what a brain fills of the field of view
    )  # fmt: skip
    torch.manual_seed(0)
    return {
        OURS: VAE(config),
        "MONAI VarAutoEncoder (21, 42, 84, 84), 2 residual units": VarAutoEncoder(
            3, (1, *size), 1, preset.latent_size, (21, 42, 84, 84), (2, 2, 2, 2), num_res_units=2
        ),
        "MONAI AutoencoderKL (4, 8, 16, 32)": AutoencoderKL(
            3, 1, 1, 1, (4, 8, 16, 32), (False,) * 4, 8, norm_num_groups=4,
            with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
        ),
    }  # fmt: skip


def adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=1e-5, foreach=False)


def trained(network: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take one step on squared error and KL, the same for every network."""
    optimizer.zero_grad()
    out = network(x)
    if isinstance(network, VAE):
        image, latent = out
    elif isinstance(network, AutoencoderKL):
        image, latent = out[0], Latent(out[1], 2 * torch.log(out[2]))
    else:
        image, latent = out[0], Latent(out[1], out[2])
    loss = ((image - x) ** 2).sum() + kl_divergence(latent).sum()
    loss.backward()
    optimizer.step()


def whole(rounds: int, ceiling: dict[str, float]) -> Iterator[str]:
    made = networks()
    size = PRESETS["brain-2mm"].preprocess.shape
    voxels = size[0] * size[1] * size[2]
    yield f"\n## Whole networks, {'×'.join(map(str, size))}\n"
    yield ("Milliseconds. A training step is forward, squared error and KL, backward and "
           "AdamW. Share: of the ceiling of that precision.\n")  # fmt: skip
    yield ("| work | network | parameters | FLOP/voxel | GFLOP | ms | GFLOP/s | share "
           "| this / ours |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip

    def rows(
        work: str,
        calls: Ways,
        counted: Callable[[nn.Module], object],
        kind: str,
        batch: int,
        rounds: int,
    ) -> Iterator[str]:
        flops = {name: gflop(network, counted) for name, network in made.items()}
        ms = turns(calls, rounds)
        for name, times in ms.items():
            speed = 1e3 * flops[name] / statistics.median(times)
            count = sum(p.numel() for p in made[name].parameters()) / 1e6
            yield (f"| {work} | {name} | {count:.1f} M | {1e9 * flops[name] / voxels / batch:.0f} "
                   f"| {flops[name]:.1f} | {shown(times)} | {speed:.0f} "
                   f"| {speed / ceiling[kind]:.0%} | {ratio(times, ms[OURS])} |")  # fmt: skip

    x = torch.randn(1, 1, *size)

    def forward(network: nn.Module, half: bool = False) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network.reconstruct(x) if hasattr(network, "reconstruct") else network(x)

    for network in made.values():
        network.eval()
    for kind in ("fp32", "bf16"):
        calls: Ways = {
            name: partial(forward, network, kind == "bf16") for name, network in made.items()
        }
        yield from rows(f"forward, batch 1, {kind}", calls, forward, kind, 1, rounds)
    for batch, turns_each in ((1, rounds), (4, max(3, rounds // 2))):
        several = torch.randn(batch, 1, *size)
        for network in made.values():
            network.train()
        calls = {
            name: partial(trained, network, several, adam(network))
            for name, network in made.items()
        }
        yield from rows(
            f"training step, batch {batch}, fp32",
            calls,
            lambda network, given=several: trained(network, given, adam(network)),
            "fp32",
            batch,
            turns_each,
        )


def machine(threads: int) -> str:
    """Return what ran this, in one paragraph."""
    model, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines()
                 if line.startswith("model name")]  # fmt: skip
        model = names[0] if names else model
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    best = torch.backends.cpu.get_cpu_capability()
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {model}, {os.cpu_count()} cores, {best}; "
        f"{threads} thread{'s' * (threads != 1)}; torch {torch.__version__}, "
        f"MONAI {monai.__version__}; load average at the start {load}."
    )


def report(threads: int, rounds: int) -> Iterator[str]:
    """Yield the report line by line as it is measured."""
    yield "# Convolutions, blocks and networks beside MONAI's\n"
    yield machine(threads)
    yield (
        "\nOther work ran on the machine at the same time: the ways took turns, so the ratios "
        "count, single times do not. Brackets hold the least and the most.\n"
    )
    ceiling = ceilings(rounds)
    yield (f"Ceiling (fastest large convolution of this run): {ceiling['fp32']:.0f} GFLOP/s in "
           f"fp32, {ceiling['bf16']:.0f} in bf16.")  # fmt: skip
    yield from layers(2 * rounds)
    yield from blocks(2 * rounds)
    yield from whole(rounds, ceiling)


def main() -> None:
    """Print the report; keep it in a file when asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the report there as well")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    lines = []
    for line in report(options.threads, options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
