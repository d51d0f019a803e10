"""What the steps of a training work on: people drawn, read and made ready ahead of time."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from napari_normative.core.augment import MIRRORED, Chance, draw_chance
from napari_normative.core.config import VAEConfig
from napari_normative.engine.cohort import groups
from napari_normative.engine.conditions import UNTOLD, codes_of, covariates_in
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.volume import FloatArray

GPU_READERS = 6
"""Threads that read, unpack and draw random numbers while a GPU computes."""
WINDOWS = 1
"""Sets the draws of windows apart from all others of a step and position."""
CONDITIONS = 2
"""Sets the draws of what the network is not told apart."""
AHEAD = 2
"""Steps that wait, made ready, beside those that the threads are at."""


class Steps:
    """Which people a step sees: a function of seed and step alone, so that runs resume exactly.

    Groups of n people are drawn with weight ``n ** (1 - balance)``.
    """

    def __init__(self, cohort: PreparedCohort, preset: Preset, seed: int, first: int) -> None:
        self.train = cohort.select("train")
        self.batch, self.seed, self.first = preset.batch, seed, first
        self.last = preset.steps
        found = groups([cohort.people[i] for i in self.train], preset.balance_by)
        sizes = Counter(found)
        weight = np.array([sizes[group] ** -preset.balance for group in found])
        self.weight = weight / weight.sum()

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> list[int]:
        if index >= len(self):
            raise IndexError(index)
        random = np.random.default_rng((self.seed, self.first + index))
        size, replace = self.batch, self.batch > len(self.train)
        return [int(i) for i in random.choice(self.train, size, replace=replace, p=self.weight)]


class Batch(NamedTuple):
    """One process's part of a step.

    Attributes
    ----------
    people : list of int
        Of the whole batch.
    images : float16 Tensor, shape (n, I, J, K)
        Whole volumes, or a window of each.
    masks : bool Tensor, shape (n, I, J, K)
    origins : float32 Tensor, shape (n, 3)
        First voxels in the model's space, once :func:`augment` has mirrored what it will mirror.
    chance : Chance
    codes : float32 Tensor, shape (n, D)
        What the network is told of each person; D is 0 where it is told nothing.
    anatomies : float16 Tensor, shape (n, i, j, k), or None
        Of the hierarchical form: what the anatomy level says of the windows, mirrored as they
        will be, in its blocks and with a margin of one around them.
    """

    people: list[int]
    images: Tensor
    masks: Tensor
    origins: Tensor
    chance: Chance
    codes: Tensor
    anatomies: Tensor | None = None


class Feed(IterableDataset[Batch]):
    """The batches of a training from a step on, in order, read by threads ahead of time.

    Nothing depends on how many threads there are: a batch is a function of seed, step and the
    positions that are this process's.
    """

    def __init__(
        self,
        cohort: PreparedCohort,
        preset: Preset,
        network: VAEConfig,
        *,
        seed: int,
        first: int,
        ranks: Ranks,
        gpu: bool = False,
    ) -> None:
        self.cohort, self.seed, self.first, self.gpu = cohort, seed, first, gpu
        self.steps = Steps(cohort, preset, seed, first)
        self.positions = ranks.slice(preset.batch)
        self.network, self.flip = network, preset.augment.flip
        self.volume = (network.channels, *network.seen)
        self.latent = network.model_copy(update={"shape": network.seen}).latent_shape
        self.inside = np.argwhere(cohort.template.mask) if network.window else np.zeros((0, 3))
        covariates = covariates_in(network)
        self.codes, self.columns = codes_of(cohort.people, covariates), covariates.columns
        self.readers = max(1, min(GPU_READERS, (os.cpu_count() or 1) - 1)) if gpu else 1

    def __iter__(self) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.readers, "feed")
        try:
            for index in range(len(self.steps)):
                waiting.append(pool.submit(self.batch, index))
                if len(waiting) >= self.readers + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def batch(self, index: int) -> Batch:
        """Return the batch of a step, counted from the first."""
        people = self.steps[index]
        own = [people[p] for p in self.positions]
        step = self.first + index
        chance = draw_chance(self.seed, step, self.positions, self.volume, self.latent)
        starts = np.array([self._start(step, position) for position in self.positions])
        boxes = [
            tuple(slice(s, s + n) for s, n in zip(start, self.network.seen, strict=True))
            for start in starts.reshape(-1, 3).tolist()
        ]
        images = [self.cohort.images[n][box] for n, box in zip(own, boxes, strict=True)]
        masks = [self.cohort.masks[n][box] for n, box in zip(own, boxes, strict=True)]
        origins = torch.from_numpy(starts.reshape(-1, 3)).float()
        anatomies = self._anatomies(own, starts.reshape(-1, 3))
        if self.flip:
            if anatomies is not None:
                flipped = (chance.uniform[:, 0] < MIRRORED).view(-1, 1, 1, 1)
                anatomies = torch.where(flipped, anatomies.flip(1), anatomies)
            mirrored = self.network.shape[0] - self.network.seen[0] - origins[:, 0]
            origins[:, 0] = torch.where(chance.uniform[:, 0] < MIRRORED, mirrored, origins[:, 0])
        codes = [self._told(step, p, n) for p, n in zip(self.positions, own, strict=True)]
        made = Batch(
            people,
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(masks)),
            origins,
            chance,
            torch.from_numpy(np.stack(codes)),
            anatomies,
        )
        if not self.gpu:
            return made
        chance = Chance(*(part.pin_memory() for part in made.chance))
        return Batch(
            people,
            made.images.pin_memory(),
            made.masks.pin_memory(),
            made.origins.pin_memory(),
            chance,
            made.codes.pin_memory(),
            None if anatomies is None else anatomies.pin_memory(),
        )

    def _told(self, step: int, position: int, person: int) -> FloatArray:
        """Return a person's code, now and then without some or all of its columns."""
        code: FloatArray = self.codes[person].copy()
        if self.columns:
            random = np.random.default_rng((self.seed, step, position, CONDITIONS))
            nothing = random.random() < UNTOLD
            for column in self.columns:
                if random.random() < UNTOLD or nothing:
                    code[column] = 0
        return code

    def _anatomies(self, people: list[int], starts: NDArray[np.int64]) -> Tensor | None:
        """Return the blocks of windows that begin at ``starts``, and a margin around them."""
        factor = self.network.anatomy_factor
        if not factor or self.cohort.anatomies is None:
            return None
        size = [n // factor + 2 for n in self.network.seen]
        parts = []
        for n, start in zip(people, starts // factor, strict=True):
            whole = np.pad(self.cohort.anatomies[n], 1, mode="edge")
            parts.append(whole[tuple(slice(s, s + e) for s, e in zip(start, size, strict=True))])
        return torch.from_numpy(np.stack(parts))

    def _start(self, step: int, position: int) -> tuple[int, int, int]:
        """Return the first voxel of what is seen: around a voxel of the foreground, by chance."""
        if not self.network.window:
            return 0, 0, 0
        random = np.random.default_rng((self.seed, step, position, WINDOWS))
        middle, stride = self.inside[random.integers(len(self.inside))], self.network.stride
        i, j, k = (
            min(max(0, int(m) - w // 2), n - w) // stride * stride
            for m, w, n in zip(middle, self.network.window, self.network.shape, strict=True)
        )
        return i, j, k
