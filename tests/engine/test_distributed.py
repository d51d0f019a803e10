"""Several real processes on one machine: they take the steps of one, and end together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_normative.core.card import CurvePoint
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.optimise import How, Optimised, optimise
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.errors import CancelledError, TrainingError
from napari_normative.io.checkpoint import newest_checkpoint

STEPS = 40

PROGRAM = """
import os
from pathlib import Path
import torch
honest = torch.nn.utils.clip_grad_norm_
def noted(parameters, most):
    norm = honest(parameters, most)
    with Path(os.environ["NORMS"]).open("a") as file:
        print(float(norm), file=file)
    return norm
torch.nn.utils.clip_grad_norm_ = noted
from napari_normative.cli import main
main()
"""
"""The command, noting the gradient's size before it is clipped: Adam and clipping hide it."""

JOIN = """
import os, signal, sys
from napari_normative.engine import ranks
from napari_normative.errors import OutputError
try:
    with ranks.joined() as joined:
        assert joined.gather(joined.rank) == [0, 1]
        assert joined.most(joined.rank, 5.0) == (1.0, 5.0)
        if not joined.first:
            if sys.argv[1] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OutputError("OUT-002", "the disk is full", "Free space.")
        joined.gather(None)
except Exception as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def small(tiny_preset: Preset) -> Preset:
    """Five volumes a step, so that two processes have three and two."""
    return tiny_preset.changed({"steps": STEPS, "batch": 5})


@pytest.fixture(scope="module")
def prepared(
    tiny_model_path: Path, phantom_cohort: Path, phantom_template: Path, small: Preset
) -> PreparedCohort:
    """The cohort, aligned once."""
    return prepare_cohort(
        read_cohort(phantom_cohort),
        small,
        work(tiny_model_path) / "prepared",
        template=phantom_template,
        report=lambda *_: None,
    )


def work(out: Path) -> Path:
    return out.with_name(out.name + ".work")


def trained(
    prepared: PreparedCohort,
    preset: Preset,
    folder: Path,
    *,
    cancel: Callable[[list[CurvePoint]], bool] = lambda points: False,
) -> Optimised:
    """Train in this process, going on from what the folder holds."""
    points: list[CurvePoint] = []
    how = How("cpu", "fp32", None, True, False, folder, Ranks())
    folder.mkdir(parents=True, exist_ok=True)
    return optimise(
        prepared, preset, how, 0,
        report=lambda point, *_: points.append(point),
        cancel=lambda: cancel(points),
    )  # fmt: skip


@pytest.fixture(scope="module")
def straight(
    prepared: PreparedCohort, small: Preset, tmp_path_factory: pytest.TempPathFactory
) -> Optimised:
    """What one process makes of it without a stop."""
    return trained(prepared, small, tmp_path_factory.mktemp("straight"))


@pytest.fixture
def command(
    tmp_path: Path,
    tiny_model_path: Path,
    phantom_cohort: Path,
    phantom_template: Path,
    small: Preset,
) -> list[str]:
    """The command line that trains ``small`` to ``m.safetensors``; scans are aligned already."""
    shutil.copytree(work(tiny_model_path) / "prepared", tmp_path / "m.safetensors.work/prepared")
    changed = {
        "title": small.title, "steps": STEPS, "batch": 5, "latent_size": 8, "widths": "8,16,16",
        "preprocess.origin_mm": "-76,-92,-76",
    }  # fmt: skip
    words = [word for name, value in changed.items() for word in ("--set", f"{name}={value}")]
    return [
        sys.executable, "-m", "napari_normative", "train", str(phantom_cohort), "--resume",
        "--out", str(tmp_path / "m.safetensors"), "--preset", "brain-8mm", *words,
        "--template", str(phantom_template), "--device", "cpu", "--precision", "fp32",
    ]  # fmt: skip


def interrupted(
    command: Sequence[str], curves: Path, what: Callable[[int], None], rows: int
) -> tuple[int, str]:
    """Run a training, do something to it after some points, return exit status and stderr."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 150
        while process.poll() is None and time.monotonic() < deadline:
            if curves.exists() and len(curves.read_text().splitlines()) > rows:
                what(process.pid)
                break
            time.sleep(0.01)
        said = process.communicate(timeout=100)[1]
    return process.returncode, said


def assert_alike(one: Optimised, other: Optimised) -> None:
    """The same steps up to rounding: curves, and what the network makes of a volume."""
    import torch

    assert [p.step for p in other.curves] == [p.step for p in one.curves]
    for name, tolerance in (("elbo_nats", 1e-3), ("kl_nats", 1e-2), ("held_out_mae", 1e-3)):
        first, second = ([getattr(p, name) for p in x.curves] for x in (one, other))
        known = [n for n, value in enumerate(first) if value is not None]
        assert [second[n] for n in known] == pytest.approx(
            [first[n] for n in known], rel=tolerance
        ), name
    with torch.no_grad():
        x = one.network.mean_image[None] * 1.1
        torch.testing.assert_close(
            other.network.reconstruct(x), one.network.reconstruct(x), rtol=0, atol=2e-4
        )


@pytest.mark.slow
@pytest.mark.timeout(900)  # three programs one after the other: a busy machine takes its time
def test_one_then_two_then_one_process_take_the_steps_of_one(
    tmp_path: Path,
    command: list[str],
    prepared: PreparedCohort,
    small: Preset,
    straight: Optimised,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One process stops, two go on until the scheduler wants their place, one ends it."""
    import torch

    folder = tmp_path / "m.safetensors.work"
    with pytest.raises(CancelledError):
        trained(prepared, small, folder, cancel=lambda points: len(points) >= 4)
    monkeypatch.setenv("NORMS", str(tmp_path / "norms"))
    status, said = interrupted(
        [sys.executable, "-c", PROGRAM, *command[3:], "--devices", "2"],
        folder / "curves.csv",
        lambda pid: os.kill(pid, signal.SIGUSR1),
        rows=6,
    )
    assert status == 75, said
    lines = said.strip().splitlines()
    assert lines[-1].startswith("Stopped by SIGUSR1 at a checkpoint. Exit status 75"), said
    assert "Traceback" not in said
    assert "Warning" not in said
    found = newest_checkpoint(folder / "checkpoints")
    assert found is not None
    step = found[1]["step"]
    assert isinstance(step, int)
    assert 5 < step < STEPS
    norms: list[float] = []
    honest = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_",
        lambda *given: norms.append(float(norm := honest(*given))) or norm,
    )  # fmt: skip
    with pytest.raises(CancelledError):
        trained(prepared, small, tmp_path / "one", cancel=lambda points: len(points) >= step)
    monkeypatch.undo()
    of_two = [float(line) for line in (tmp_path / "norms").read_text().splitlines()]
    assert of_two == pytest.approx(norms[4:], rel=1e-3)
    alone = newest_checkpoint(tmp_path / "one" / "checkpoints")
    assert alone is not None
    for kind, tolerance in (("network.", 1e-3), ("adam.exp_avg.", 1e-2), ("average.", 1e-3)):
        names = sorted(name for name in alone[0] if name.startswith(kind))
        one, two = (np.concatenate([c[0][n].ravel() for n in names]) for c in (alone, found))
        assert np.linalg.norm(two - one) < tolerance * np.linalg.norm(one), kind
    assert_alike(straight, trained(prepared, small, folder))
    rows = (folder / "curves.csv").read_text().splitlines()
    assert rows[0].startswith("step,minutes,elbo_nats")
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("end", ["killed", "failed"])
def test_when_a_process_ends_the_first_says_why_and_ends(end: str) -> None:
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, end], stderr=subprocess.PIPE, text=True,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (1, 0)
    ]  # fmt: skip
    said = [process.communicate(timeout=100)[1].strip() for process in processes]
    assert processes[0].returncode == (-signal.SIGKILL if end == "killed" else 1)
    assert processes[1].returncode == 1
    reason = "without a word" if end == "killed" else "(process 2 of 2: [OUT-002] the disk is full"
    assert said[1].startswith("[TRN-021] another process of this training ended")
    assert reason in said[1]
    assert len(said[1].splitlines()) == 1


def free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_shares_of_a_batch_and_of_the_scans_are_whole_and_fair() -> None:
    for size in (1, 2, 3, 5):
        everyone = [Ranks(rank, size) for rank in range(size)]
        assert [p for r in everyone for p in r.slice(8)] == list(range(8))
        assert {len(r.slice(8)) for r in everyone} <= {8 // size, 8 // size + 1}
        assert sorted(n for r in everyone for n in r.share(range(14))) == list(range(14))


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, Ranks()),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
             "GROUP_RANK": "1"},
            Ranks(5, 8, 1, 4, 1),
        ),
        # A batch script that asks for four tasks is one process; srun starts the four.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Ranks()),
        (
            {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4",
             "SLURM_STEP_NUM_NODES": "2", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"},
            Ranks(3, 4, 1, 2, 1),
        ),
    ],
)  # fmt: skip
def test_the_environment_says_which_process_this_is(
    variables: dict[str, str], wanted: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_normative.engine.ranks import from_environment

    for name in [n for n in os.environ if n.startswith("SLURM") or n in ("RANK", "WORLD_SIZE")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert from_environment() == wanted


def test_more_processes_than_volumes_are_refused(small: Preset, tmp_path: Path) -> None:
    from napari_normative.engine.train import _check, _device

    how = How("cpu", "auto", None, True, False, tmp_path, Ranks(0, 6))
    with pytest.raises(TrainingError, match=r"TRN-026.*at most 5 processes.*--set batch=6"):
        _check(small, how)
    with pytest.raises(TrainingError, match=r"TRN-023.*--device auto"):
        _device("cuda:1", Ranks(0, 2))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with one GPU, or under SLURM where each task sees its own alone."""
    import torch

    from napari_normative.engine import train
    from napari_normative.engine.device import DeviceChoice

    monkeypatch.setattr(train, "choose_device", lambda name: DeviceChoice("cuda:0", "imitated"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match=r"TRN-027.*2 processes.*see 1 GPU\..*per-node"):
        train._device("auto", Ranks(1, 2, 1, 2))


def test_an_unknown_precision_names_the_known(tmp_path: Path, small: Preset) -> None:
    from napari_normative.engine.train import _check

    how = How("cpu", "fp8", None, True, False, tmp_path, Ranks())
    with pytest.raises(TrainingError, match=r"TRN-025.*auto, fp32, bf16"):
        _check(small, how)


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "gaussian-map"])
def test_parts_of_a_batch_sum_to_the_whole(likelihood: str) -> None:
    """The objective and its gradient, for uneven parts with masks of different size."""
    import torch

    from napari_normative.core.config import ObjectiveConfig
    from napari_normative.core.objective import Terms, Whole, alone, evaluate
    from napari_normative.core.vae import Latent

    random = torch.Generator().manual_seed(3)
    x, y = torch.rand(2, 5, 1, 6, 6, 6, generator=random, dtype=torch.float64)
    density = torch.linspace(0.2, 0.9, 5).view(5, 1, 1, 1, 1)
    mask = (torch.rand(5, 1, 6, 6, 6, generator=random) < density).double()
    mean = torch.randn(5, 4, generator=random, dtype=torch.float64)
    mean[:, 3] *= 0.3  # free in the whole batch, but a part's sum is above the limit
    config = ObjectiveConfig.model_validate(
        {"likelihood": likelihood, "ssim": 0.5, "free_nats": 0.1}
    )
    log_sigma = torch.full((1, 6, 6, 6), -1.0, dtype=torch.float64)

    def run(part: slice, whole: Whole) -> tuple[Terms, list[torch.Tensor]]:
        out, q = y[part].clone().requires_grad_(), mean[part].clone().requires_grad_()
        latent = Latent(q, torch.zeros_like(q))
        terms = evaluate(x[part], out, latent, mask[part], config, 1.0, log_sigma, whole)
        terms.loss.backward()
        assert out.grad is not None
        assert q.grad is not None
        return terms, [out.grad, q.grad]

    said: dict[int, torch.Tensor] = {}
    both = threading.Barrier(2)

    def part(rank: int) -> tuple[Terms, list[torch.Tensor]]:
        def whole(statistic: torch.Tensor) -> torch.Tensor:
            said[rank] = statistic
            both.wait(30)
            total = said[0] + said[1]
            both.wait(30)
            return total

        return run((slice(0, 3), slice(3, 5))[rank], whole)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(part, range(2)))
    terms, gradients = run(slice(0, 5), alone)
    for n, gradient in enumerate(gradients):
        torch.testing.assert_close(torch.cat([g[n] for _, g in found]), gradient)
    torch.testing.assert_close(found[0][0].loss + found[1][0].loss, terms.loss)
    for own, _ in found:
        torch.testing.assert_close(tuple(own)[1:], tuple(terms)[1:])


def test_tensorboard_holds_the_curves_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from napari_normative.engine.curves import CurveLog

    def point(step: int) -> CurvePoint:
        return CurvePoint(
            step=step, minutes=0.1, elbo_nats=-10.0 * step, reconstruction_nats=9.0, kl_nats=1.0,
            active_units=3, held_out_mae=0.5 if step == 2 else None,
        )  # fmt: skip

    log = CurveLog(tmp_path, 0, tensorboard=True)
    for step in (1, 2, 3):
        log.add(point(step), 1e-3)
    log.close()
    CurveLog(tmp_path, 2).add(point(3), 5e-4)  # resumed from step 2: the third is taken again
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3"]
    assert rows[2].endswith(",0.5,0.001")
    assert rows[3].endswith(",,0.0005")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("elbo_nats")] == [-10.0, -20.0, -30.0]
    assert [e.step for e in events.Scalars("held_out_mae")] == [2]


def test_without_tensorboard_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from napari_normative.engine.curves import require_tensorboard

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"TRN-024.*\[cluster\].*curves\.csv"):
        require_tensorboard()


@pytest.mark.slow
def test_one_process_resumes_after_a_signal_bit_by_bit(
    tmp_path: Path,
    command: list[str],
    prepared: PreparedCohort,
    small: Preset,
    straight: Optimised,
) -> None:
    folder = tmp_path / "m.safetensors.work"
    status, said = interrupted(
        command, folder / "curves.csv", lambda pid: os.kill(pid, signal.SIGTERM), rows=3
    )
    assert status == 75, said
    assert "SIGTERM at a checkpoint" in said
    again = trained(prepared, small, folder)
    for name, value in straight.network.state_dict().items():
        np.testing.assert_array_equal(again.network.state_dict()[name], value, err_msg=name)


@pytest.mark.slow
def test_a_killed_process_of_a_training_ends_the_other_with_one_sentence(
    tmp_path: Path, command: list[str]
) -> None:
    import psutil

    def kill(pid: int) -> None:
        psutil.Process(pid).children()[-1].kill()

    status, said = interrupted(
        [*command, "--devices", "2"], tmp_path / "m.safetensors.work" / "curves.csv", kill, rows=3
    )
    assert status == 1
    assert said.count("[TRN-") == 1
    assert "Traceback" not in said


@pytest.mark.slow
def test_two_processes_share_the_alignment_and_write_one_model(
    tmp_path: Path, command: list[str]
) -> None:
    shutil.rmtree(tmp_path / "m.safetensors.work" / "prepared")
    done = subprocess.run(
        [*command, "--devices", "2"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Research use only") == 1
    from napari_normative.engine.model import load_model

    card = load_model(tmp_path / "m.safetensors").card
    assert card.training.device == "cpu and 1 more"
    assert card.training.people["train"] == {"site-a": 8}
