"""Scans that have been brought to a space, on disk, by key: aligned once, shared by processes.

While a cohort is aligned every scan is a file of its own, whole or not there, so that nothing is
lost by an interruption and processes need not speak. Then they are packed into shards
(:mod:`napari_normative.io.shards`), a damaged one of which costs its own scans alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_normative.engine.ranks import Ranks
from napari_normative.errors import NormativeError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import Tensors, pack, unpack
from napari_normative.io.shards import Facts, Shard, open_shard, scans_per_shard, write_shard
from napari_normative.volume import FloatArray, Mask


@dataclass(frozen=True)
class Aligned:
    """The scans of one folder.

    Attributes
    ----------
    folder : Path
    packed : mapping of key to (Shard, int)
        Those that lie in shards.
    """

    folder: Path
    packed: dict[str, tuple[Shard, int]] = field(default_factory=dict)

    def facts(self, key: str) -> Facts | None:
        """Return what is known of a scan, or None when it is not here undamaged."""
        if key in self.packed:
            shard, row = self.packed[key]
            return shard.facts[row]
        try:
            found: Facts = json.loads(unpack(self._path(key).read_bytes(), key)[1])
        except (OSError, NormativeError):
            return None
        return found

    def load(self, key: str) -> tuple[NDArray[np.float16], Mask]:
        """Return image and mask of a scan that is not packed."""
        tensors = unpack(self._path(key).read_bytes(), key)[0]
        return tensors["image"].astype(np.float16), tensors["mask"].astype(bool)

    def store(self, key: str, image: FloatArray, mask: Mask, facts: Facts) -> None:
        """Write a scan."""
        tensors: Tensors = {"image": image.astype(np.float16), "mask": mask.astype(np.uint8)}
        replace_files({self._path(key): pack(tensors, json.dumps(facts))})

    def open_shards(self, name: str, ranks: Ranks) -> list[str]:
        """Check the shards of a space, each by one process; return a sentence per damaged one.

        A damaged shard is deleted: its scans are not here any more.
        """
        found: list[Shard] = []
        damaged: list[Path] = []
        for path in ranks.share(sorted(self._shards(name).glob("*.safetensors"))):
            try:
                found.append(open_shard(path))
            except (OSError, NormativeError, KeyError, ValueError):
                damaged.append(path)
                path.unlink(missing_ok=True)
        self._take(ranks, found)
        return [
            f"{path.name}: prepared scans are damaged; they are aligned again"
            for part in ranks.gather(damaged)
            for path in part
        ]

    def pack(
        self, name: str, keys: Iterable[str], ranks: Ranks, report: Callable[[float], None]
    ) -> None:
        """Move scans from files of their own into shards, which the processes share out."""
        waiting = sorted(set(keys) - set(self.packed))
        made: list[Shard] = []
        if waiting:
            size = scans_per_shard(self.load(waiting[0])[0].shape)
            chunks = [waiting[n : n + size] for n in range(0, len(waiting), size)]
            ranks.gather(None)  # nobody moves away what another still looks at
            own = ranks.share(chunks)
            for done, chunk in enumerate(own):
                report(done / len(own))
                made.append(self._packed(name, chunk))
        self._take(ranks, made)

    def _packed(self, name: str, keys: Sequence[str]) -> Shard:
        images, masks = zip(*(self.load(key) for key in keys), strict=True)
        facts = [self.facts(key) or {} for key in keys]
        shard = write_shard(self._shards(name), keys, np.stack(images), np.stack(masks), facts)
        for key in keys:
            self._path(key).unlink(missing_ok=True)
        return shard

    def _take(self, ranks: Ranks, shards: list[Shard]) -> None:
        for part in ranks.gather(shards):
            for shard in part:
                self.packed.update({key: (shard, row) for row, key in enumerate(shard.keys)})

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _shards(self, name: str) -> Path:
        return self.folder / f"shards-{name}"
