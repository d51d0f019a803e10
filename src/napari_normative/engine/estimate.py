"""How long a training will take on this machine, and how much memory: a few real steps, timed.

Run as ``python -m napari_normative.engine.estimate`` it reads a :class:`Question` from standard
input and prints an :class:`Estimate`, so that a window neither waits nor grows.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict

from napari_normative.core.comparison import BASELINE_NAMES
from napari_normative.engine.background import gentle_environment, step_back
from napari_normative.engine.presets import Preset
from napari_normative.errors import CancelledError, TrainingError
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.core.card import CurvePoint
    from napari_normative.core.config import VAEConfig
    from napari_normative.core.preprocess import Template
    from napari_normative.engine.prepared import PreparedCohort

TIMED_STEPS = 4
"""The first warms up and is not counted."""
LOADING_S = 10.0
"""Of the libraries, once."""


class Question(BaseModel):
    """What is to be estimated.

    Attributes
    ----------
    preset : Preset
        Changes included.
    people : int
        Usable people.
    scan : str
        One of their scans: its alignment is timed.
    template : str or None
        As for training.
    device : str
    max_minutes : float or None
        As for training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset
    people: int
    scan: str
    template: str | None = None
    device: str = "auto"
    max_minutes: float | None = None


class Estimate(BaseModel):
    """What a training will need, roughly.

    Attributes
    ----------
    align_s, train_s, after_s : float
        Of the stages; ``after_s`` is calibration and comparison with the baselines.
    step_s : float
        Of one optimiser step.
    memory_bytes : int
        Largest resident memory of the process; on a GPU the network's share is there.
    device : str
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    align_s: float
    train_s: float
    after_s: float
    step_s: float
    memory_bytes: int
    device: str

    @property
    def total_s(self) -> float:
        """Seconds from start to model."""
        return LOADING_S + self.align_s + self.train_s + self.after_s

    def describe(self) -> str:
        """Return time and memory in a line, and how they were obtained."""
        return (
            f"about {in_words(self.total_s)} (align {in_words(self.align_s)}, train "
            f"{in_words(self.train_s)}, calibrate and compare {in_words(self.after_s)}) and "
            f"{self.memory_bytes / 2**30:.1f} GiB on {self.device}. From {TIMED_STEPS - 1} real "
            f"steps of {self.step_s:.2g} s, one alignment and one scoring, timed just now; other "
            "work on this machine changes it."
        )


def in_words(seconds: float) -> str:
    """Return a duration in the unit a person would use."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(asked: Question) -> Estimate:
    """Time one alignment, a few steps and one scoring; return what a training will need.

    Raises
    ------
    NormativeError
        Whatever training would refuse too.
    """
    from napari_normative.core.preprocess import prepare
    from napari_normative.engine.cohort import SHARES
    from napari_normative.engine.compare import LESIONS, MOST_PEOPLE, SIZES_ML
    from napari_normative.engine.device import choose_device
    from napari_normative.engine.prepared import starting_template
    from napari_normative.io.nifti import read_volume

    device = choose_device(asked.device).device
    preset, people = asked.preset, asked.people
    start = starting_template(preset, None if asked.template is None else Path(asked.template))
    scan = read_volume(asked.scan)
    made = prepare(scan, preset.preprocess, start)
    align_s = _seconds(lambda: prepare(scan, preset.preprocess, start), 1)
    step_s, look_s = _timed_steps(preset, people, made.image, start, device)
    held = max(2, round(people * SHARES[1]))
    train_s = preset.steps * step_s + 20 * held * look_s
    if preset.anatomy is not None:
        upper = preset.above(), people, *_in_blocks(preset, made.image, start)
        train_s += preset.anatomy.steps * _timed_steps(*upper, device)[0]
    if asked.max_minutes:
        train_s = min(train_s, 60 * asked.max_minutes)
    score_s = _timed_scoring(preset, made.image, made.mask)
    lesions = len(LESIONS) * len(SIZES_ML)
    models = 1 + len(BASELINE_NAMES)
    scored = models * (2 * 2 * held + lesions * min(max(1, held), MOST_PEOPLE))
    return Estimate(
        align_s=2 * people * align_s,
        train_s=train_s,
        after_s=scored * score_s + 4 * people * look_s,
        step_s=step_s,
        memory_bytes=psutil.Process().memory_info().rss
        + _arrays(preset, people, int(start.mask.sum())),
        device=device,
    )


def estimate_apart(asked: Question, cancel: Callable[[], bool]) -> Estimate:
    """Estimate in a process of its own.

    Raises
    ------
    CancelledError
    TrainingError
        ``TRN-013`` when it cannot be estimated.
    """
    program = [sys.executable, "-m", "napari_normative.engine.estimate"]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=gentle_environment(),
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        with process.stdin as pipe:
            pipe.write(asked.model_dump_json().encode())
        while process.poll() is None:
            if cancel():
                process.kill()
                raise CancelledError
            time.sleep(0.05)
        if process.returncode == 0:
            return Estimate.model_validate_json(process.stdout.read())
        errors.seek(0)
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    raise TrainingError(
        "TRN-013",
        f"time and memory cannot be estimated ({lines[-1] if lines else 'no reason given'})",
        "Training may be started all the same.",
        consequence="Nothing is known of them.",
    )


def _timed_steps(
    preset: Preset, people: int, image: FloatArray, template: Template, device: str
) -> tuple[float, float]:
    """Return the seconds of an optimiser step and of one reconstruction."""
    import torch

    from napari_normative.core.two_levels import TwoLevelVAE, vae
    from napari_normative.engine.device import bf16_is_fast
    from napari_normative.engine.optimise import quiet
    from napari_normative.engine.start import architecture

    with quiet():
        from napari_normative.engine import loop

    short = preset.model_copy(update={"steps": TIMED_STEPS, "balance_by": (), "condition_on": ()})
    stand_in = _stand_in(short, people, image, template)
    anatomy: VAEConfig | None = None
    if preset.anatomy is not None:
        blocks, upper = _in_blocks(preset, image, template)
        coarse = _stand_in(preset.above(), people, blocks, upper)
        anatomy = architecture(preset.above(), coarse)
        stand_in = dataclasses.replace(stand_in, anatomies=coarse.images)
    network = vae(architecture(short, stand_in, anatomy))
    if isinstance(network, TwoLevelVAE):
        network.take_mean(torch.from_numpy(template.image))
    times: list[float] = []

    def report(point: CurvePoint, fraction: float, left: float | None) -> None:
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, quiet():
        trainee = loop.Trainee(
            network,
            stand_in,
            short,
            seed=0,
            max_minutes=None,
            checkpoints=Path(folder),
            report=report,
            cancel=lambda: False,
        )
        loop.run(trainee, device=device, bf16=bf16_is_fast(device))
    x = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    there = trainee.average.to(device)
    with torch.inference_mode():
        look_s = _seconds(lambda: there.reconstruct(x.to(device)).float().cpu(), 2)
    # Each step of so short a run also looks at the one person who is held out.
    step_s = float(np.median(np.diff(times))) - look_s
    return max(step_s, 1e-3), look_s


def _in_blocks(
    preset: Preset, image: FloatArray, template: Template
) -> tuple[FloatArray, Template]:
    """Return image and template as the anatomy level of a preset sees them."""
    from napari_normative.core.preprocess import Template
    from napari_normative.engine.anatomy import blocks_of

    assert preset.anatomy is not None
    average = blocks_of(template.image * template.mask, preset.anatomy.factor)
    return blocks_of(image, preset.anatomy.factor), Template(average, average != 0)


def _stand_in(preset: Preset, people: int, image: FloatArray, template: Template) -> PreparedCohort:
    """Return a cohort of one person many times over, who lies in memory once."""
    from napari_normative.engine.cohort import SHARES, Person
    from napari_normative.engine.prepared import PreparedCohort

    everybody = [
        Person(Path(f"{n}"), f"{n}", "", "calibration-a" if n == 0 else "train")
        for n in range(max(2, round(people * SHARES[0])) + 1)
    ]
    shape = (len(everybody), *image.shape)
    return PreparedCohort(
        people=everybody,
        images=np.broadcast_to(image.astype(np.float16), shape),
        masks=np.broadcast_to(template.mask, shape),
        config=preset.preprocess,
        template=template,
        digest="",
        refused=[],
    )


def _timed_scoring(preset: Preset, image: FloatArray, mask: Mask) -> float:
    from napari_normative.core.calibration import Calibration
    from napari_normative.core.score import judge

    flat = np.zeros((preset.score.maps, *mask.shape), np.float32)
    none = np.zeros(0)
    plain = Calibration(flat, flat + mask, none, none, none, 0, 0, 0, 0, 0)
    blurred: FloatArray = np.where(mask, 0.9 * image + 0.05, 0).astype(np.float32)
    spacing = preset.preprocess.spacing_mm
    return _seconds(lambda: judge(image, blurred, mask, plain, preset.score, spacing), 2)


def _seconds(work: Callable[[], object], times: int) -> float:
    """Return the shortest of some runs: what the machine can do when it is left alone."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _arrays(preset: Preset, people: int, foreground: int) -> int:
    """Return the bytes of the cohort, and of the larger of components and calibration."""
    from napari_normative.engine.cohort import SHARES

    voxels = int(np.prod(preset.preprocess.shape))
    views = round(people * SHARES[0]) * (2 if preset.augment.flip else 1)
    components = 3 * 4 * views * foreground
    held = max(4, round(people * (SHARES[1] + SHARES[2])))
    maps = 2 * held * (2 if preset.augment.flip else 1) * preset.score.maps * voxels
    return 3 * people * voxels + max(components, maps)


if __name__ == "__main__":
    step_back()  # as training itself will
    question = Question.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(estimate(question).model_dump_json())
