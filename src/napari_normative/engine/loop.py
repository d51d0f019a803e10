"""The training loop: Lightning, seeded step by step, safe against kills and NaN.

One process or many with the same whole batch take the same steps, up to rounding.
"""

from __future__ import annotations

import copy
import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from napari_normative.core.augment import augment
from napari_normative.core.card import CurvePoint
from napari_normative.core.objective import Terms, evaluate
from napari_normative.core.vae import VAE, Latent
from napari_normative.engine.conditions import codes_of, covariates_in
from napari_normative.engine.feed import Batch, Feed, Steps
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.thumbnails import montage
from napari_normative.errors import CancelledError, TrainingError
from napari_normative.io.checkpoint import Tensors, newest_checkpoint, save_checkpoint

CHECKPOINT_SECONDS = 60.0
POINTS = 200
"""Points on the training curves."""
HELD_OUT_CHECKS = 20
"""How often in a training the error on calibration-a people is measured."""
MOST_CHECKED = 64
"""Of them, drawn at random where there are more."""
PICTURED = 3
"""People who took no part in training, shown while it goes on."""
LARGEST_SKIP = 3
"""Bad steps in a row before the weights are rolled back."""


class Trainee(pl.LightningModule):
    """The network in training: one optimiser, a moving average of the weights, the curves."""

    def __init__(
        self,
        network: VAE,
        cohort: PreparedCohort,
        preset: Preset,
        *,
        seed: int,
        max_minutes: float | None,
        checkpoints: Path,
        report: Callable[[CurvePoint, float, float | None], None],
        cancel: Callable[[], bool],
        ranks: Ranks | None = None,
        show: Callable[[NDArray[np.uint8]], None] | None = None,
        show_every_s: float = 15.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.cohort, self.preset, self.seed = cohort, preset, seed
        self.codes = torch.from_numpy(codes_of(cohort.people, covariates_in(network.config)))
        self.people = len(cohort.select("train"))
        self.max_minutes, self.checkpoints = max_minutes, checkpoints
        self.report, self.cancel, self.ranks = report, cancel, ranks or Ranks()
        self.show, self.show_every_s = show, show_every_s
        self.step, self.minutes_before, self.bad_steps, self.rate_factor = 0, 0.0, 0, 1.0
        self.rate, self._agreed_minutes = 0.0, 0.0
        self.curves: list[CurvePoint] = []
        self.checks = 0
        self._held_out: float | None = None
        self._recent: list[Terms] = []
        self._started = self._saved = time.monotonic()
        self._shown = -math.inf
        self._on_term = signal.getsignal(signal.SIGTERM)
        self._adam = torch.optim.AdamW(
            network.parameters(), lr=preset.rate, weight_decay=1e-4, betas=(0.9, 0.99)
        )

    # -- what Lightning calls ---------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; the rate is set before every step."""
        return self._adam

    def on_train_start(self) -> None:
        """Take back SIGTERM: Lightning's handler would speak to the other processes unasked."""
        if threading.current_thread() is threading.main_thread() and self._on_term is not None:
            signal.signal(signal.SIGTERM, self._on_term)

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one optimiser step on this process's part of the people drawn for it."""
        self._agree()
        progress = self.progress()
        images, masks = batch.images[:, None].float(), batch.masks[:, None].float()
        spacing = self.preset.preprocess.spacing_mm
        seen, target, mask = augment(images, masks, self.preset.augment, spacing, batch.chance)
        self.rate = self.preset.rate * self.rate_factor * schedule(progress)
        for group in self._adam.param_groups:
            group["lr"] = self.rate
        network = self.network.given(batch.codes)
        guide = network.guide_of(batch.anatomies, batch.origins)
        latent = network.encode_windows(seen, batch.origins, guide)
        latent = Latent(latent.mean.float(), latent.log_variance.float())
        z = latent.mean + batch.chance.latent * torch.exp(0.5 * latent.log_variance)
        out = network.decode_windows(z, batch.origins, guide).float()
        codebook = network.quantiser
        terms = evaluate(
            target, out, latent, mask, self.preset.objective, progress, self.network.log_sigma,
            self.ranks.total, z, self.people, None if codebook is None else codebook.quantised(z),
        )  # fmt: skip
        optimizer = self.optimizers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        # Nats per voxel keep the gradient's size alike for all grids; the optimum is the same.
        # Gradients are averaged over the processes, and the parts of the loss sum to the whole.
        self.manual_backward(terms.loss * (self.ranks.size / terms.voxels))
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        # Both are the whole batch's: every process skips a step, or none does.
        if torch.isfinite(terms.elbo) and torch.isfinite(norm):
            optimizer.step()  # type: ignore[union-attr]
            if codebook is not None:
                codebook.follow(z)
            self.bad_steps = 0
            self._follow()
            self._recent.append(Terms(*(t.detach() for t in terms)))
        else:
            self._recover(batch.people)
        self.step += 1
        self._book_keep()

    # -- state ------------------------------------------------------------------------

    def progress(self) -> float:
        """Return the share of training done, by steps or by the clock, whichever is ahead.

        The clock is the one the processes agreed on before the step.
        """
        done = self.step / self.preset.steps
        if self.max_minutes:
            done = max(done, self._agreed_minutes / self.max_minutes)
        return min(1.0, done)

    def minutes(self) -> float:
        """Return the minutes trained so far, earlier sessions included."""
        return self.minutes_before + (time.monotonic() - self._started) / 60

    def save(self) -> Path:
        """Write a checkpoint from which training goes on exactly."""
        tensors: Tensors = {}
        for prefix, module in self._copies():
            for name, parameter in module.named_parameters():
                tensors[prefix + name] = parameter.detach().cpu().numpy()
        for name, parameter in self.network.named_parameters():
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value.detach().cpu().numpy()
        facts: dict[str, object] = {
            "step": self.step,
            "minutes": self.minutes(),
            "rate_factor": self.rate_factor,
            "checks": self.checks,
            **self._identity(),
            "curves": [point.model_dump() for point in self.curves],
        }
        self._saved = time.monotonic()
        return save_checkpoint(self.checkpoints, self.step, tensors, facts)

    def resume(self) -> bool:
        """Take on the newest undamaged checkpoint; false when there is none.

        Raises
        ------
        TrainingError
            ``TRN-003`` when it belongs to another cohort, preset or seed.
        """
        found = self._newest()
        if found is None:
            return False
        tensors, facts = found
        here = self._identity()
        if {key: facts.get(key) for key in here} != here:
            raise TrainingError(
                "TRN-003",
                "the checkpoint belongs to another cohort, preset or seed",
                "Resume with the same arguments, or choose another --workdir.",
            )
        self._take(tensors)
        self.step, self.rate_factor = int(facts["step"]), float(facts["rate_factor"])  # type: ignore[call-overload,arg-type]
        self.minutes_before = self._agreed_minutes = float(facts["minutes"])  # type: ignore[arg-type]
        self.checks = int(facts["checks"])  # type: ignore[call-overload]
        self.curves = [CurvePoint(**point) for point in facts["curves"]]  # type: ignore[attr-defined]
        return True

    def _newest(self) -> tuple[Tensors, dict[str, object]] | None:
        """Return the newest checkpoint as the first process sees it: disks may show others late."""
        return self.ranks.from_first(
            newest_checkpoint(self.checkpoints) if self.ranks.first else None
        )

    def _agree(self) -> None:
        """Agree on the clock and on whether to stop; stop after a checkpoint, all together."""
        stop, self._agreed_minutes = self.ranks.most(float(self.cancel()), self.minutes())
        if stop:
            if self.ranks.first:
                self.save()
            self.ranks.gather(None)  # nobody leaves before it is written: they would end the first
            raise CancelledError

    def _identity(self) -> dict[str, object]:
        """Return all that decides what a step does; how often whom, too."""
        weight = Steps(self.cohort, self.preset, self.seed, 0).weight
        found: dict[str, object] = {
            "cohort": self.cohort.digest,
            "draws": hashlib.sha256(weight.tobytes()).hexdigest(),
            "preset": self._trained_by(),
            "seed": self.seed,
        }
        if self.preset.condition_on:
            found["told"] = hashlib.sha256(self.codes.numpy().tobytes()).hexdigest()
        return found

    def _trained_by(self) -> dict[str, object]:
        """Return the preset without the choices that come after training, and without windows,
        conditions, levels, codes and a weight of total correlation where there are none, as in
        checkpoints of earlier versions.
        """
        made = self.preset.model_dump(mode="json", exclude={"score", "local_edge", "local_size"})
        unused = {"window", "overlap"} if self.preset.window is None else set()
        unused |= {name for name in ("condition_on", "anatomy", "codes") if not made[name]}
        if self.preset.objective.total_correlation == 1:
            del made["objective"]["total_correlation"]
        return {name: value for name, value in made.items() if name not in unused}

    def _copies(self) -> tuple[tuple[str, VAE], ...]:
        return ("network.", self.network), ("average.", self.average)

    def _take(self, tensors: Tensors) -> None:
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(tensors[name]))

        with torch.no_grad():
            for prefix, module in self._copies():
                for name, parameter in module.named_parameters():
                    parameter.copy_(tensor(prefix + name))
        self._adam.state.clear()
        for name, parameter in self.network.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq")
            stored = {k: tensor(f"adam.{k}.{name}") for k in keys if f"adam.{k}.{name}" in tensors}
            if stored:
                moved = {k: v if k == "step" else v.to(parameter.device) for k, v in stored.items()}
                self._adam.state[parameter] = moved

    def _batch(self, people: list[int]) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.cohort.images[people].astype(np.float32))[:, None]
        masks = torch.from_numpy(self.cohort.masks[people].astype(np.float32))[:, None]
        return images.to(self.device), masks.to(self.device)

    def _look(self, people: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return images, masks and what the averaged network makes of them.

        Of the patch form one window in the middle stands for all: this is done often.
        """
        images, masks = self._batch(people)
        config = self.average.config
        start = [(n - w) // 2 // config.stride * config.stride
                 for n, w in zip(config.shape, config.seen, strict=True)]  # fmt: skip
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            above = [self.average.overview(image[None]) for image in images]
        for axis, (first, size) in enumerate(zip(start, config.seen, strict=True), start=2):
            images, masks = images.narrow(axis, first, size), masks.narrow(axis, first, size)
        origin = images.new_tensor([start])
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            made = [
                self.average.reconstruct_windows(image[None], origin, known)
                if config.window
                else self.average.given(self.codes[n]).reconstruct(image[None])
                for n, image, known in zip(people, images, above, strict=True)
            ]  # fmt: skip
        return images, masks, torch.cat(made)

    def _follow(self) -> None:
        """Move the average; early on it follows faster, so that the start is forgotten."""
        decay = min(self.preset.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
            for mean, new in pairs:
                mean.lerp_(new, 1 - decay)

    def _check_held_out(self) -> None:
        """Measure the averaged network on calibration-a people, for the curves."""
        errors = []
        people = self.cohort.some(MOST_CHECKED, "calibration-a")
        for n in self.ranks.share(people):
            image, mask, made = self._look([n])
            errors.append(float(((image - made).abs() * mask).sum() / mask.sum()))
        by_rank = self.ranks.gather(errors)
        in_order = [by_rank[i % self.ranks.size][i // self.ranks.size] for i in range(len(people))]
        self._held_out = float(np.mean(in_order))

    def _show_held_out(self, show: Callable[[NDArray[np.uint8]], None]) -> None:
        """Show what the averaged network makes of a few calibration-a people; draws nothing."""
        people = self.cohort.select("calibration-a")[:PICTURED]
        images, masks, made = (t[:, 0].cpu().numpy() for t in self._look(people))
        show(montage(list(images), list(made), list(masks > 0)))
        self._shown = time.monotonic()

    def _recover(self, people: list[int]) -> None:
        """Skip a step that is not finite; roll back once; then stop and name the cases."""
        self.bad_steps += 1
        if self.bad_steps <= LARGEST_SKIP:
            return
        found = self._newest()
        if self.rate_factor < 1.0 or found is None:
            names = ", ".join(sorted({self.cohort.people[i].path.name for i in people}))
            raise TrainingError(
                "TRN-004",
                f"the loss is not finite at step {self.step}, also after going back to an "
                f"earlier state at half the rate; the batch was {names}",
                "Look at these scans; leave out what is not healthy or not of this contrast.",
            )
        self._take(found[0])
        self.rate_factor, self.bad_steps = 0.5, 0

    def _book_keep(self) -> None:
        every = max(1, self.preset.steps // POINTS)
        finished = self.step >= self.preset.steps or self.progress() >= 1.0
        due = int(self.progress() * HELD_OUT_CHECKS)
        if due > self.checks or finished:
            self.checks = due
            self._check_held_out()
        waited = time.monotonic() - self._shown
        if self.show is not None and (finished or waited > self.show_every_s):
            self._show_held_out(self.show)
        if (self.step % every == 0 or finished) and self._recent:
            terms = [torch.stack([t[i].float() for t in self._recent]).mean() for i in range(1, 5)]
            elbo, reconstruction, kl, active = (float(t) for t in terms)
            point = CurvePoint(
                step=self.step, minutes=round(self.minutes(), 2), elbo_nats=round(elbo, 1),
                reconstruction_nats=round(reconstruction, 1), kl_nats=round(kl, 2),
                active_units=round(active), held_out_mae=self._held_out,
            )  # fmt: skip
            self._held_out = None
            self.curves.append(point)
            self._recent.clear()
            done = max(self.progress(), 1e-6)
            self.report(point, done, self.minutes() * 60 * (1 - done) / done)
        if self.ranks.first and (finished or time.monotonic() - self._saved > CHECKPOINT_SECONDS):
            self.save()
        if finished:
            self.trainer.should_stop = True


def schedule(progress: float) -> float:
    """Return the share of the largest rate: 2 % linear rise, then a cosine to 1 %."""
    if progress < 0.02:
        return 0.05 + 0.95 * progress / 0.02
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98))


def run(trainee: Trainee, *, device: str, bf16: bool) -> None:
    """Train until the steps or the minutes are used up."""
    if trainee.progress() >= 1.0:
        return
    ranks, root = trainee.ranks, torch.device(device)
    together: dict[str, Any] = {"devices": [root.index] if root.index is not None else 1}
    if not ranks.alone:
        together = {
            "devices": ranks.local_size,
            "num_nodes": ranks.size // ranks.local_size,
            "plugins": [TorchElasticEnvironment()],
            # Buffers are fixed in training; nothing is gained by sending them at every step.
            "strategy": DDPStrategy(
                parallel_devices=[root] * ranks.local_size, broadcast_buffers=False
            ),
        }
    trainer = pl.Trainer(
        accelerator="gpu" if root.type == "cuda" else root.type,
        precision="bf16-mixed" if bf16 else "32-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **together,
    )
    feed = Feed(
        trainee.cohort, trainee.preset, trainee.network.config, seed=trainee.seed,
        first=trainee.step, ranks=ranks, gpu=root.type == "cuda",
    )  # fmt: skip
    trainee.train()
    trainer.fit(trainee, DataLoader(feed, batch_size=None, num_workers=0))
