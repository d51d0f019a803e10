"""The processes that share a training: found in the environment, joined, ended together.

``torchrun``, ``srun`` and :func:`napari_normative.engine.launch.together` start them alike. One
process is a group of one, and nothing here costs it anything.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import NormativeError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = datetime.timedelta(hours=12)
"""How long a process waits for another that is alive: alignment is shared unevenly."""
LAST_WORDS_S = 3.0
"""How long is waited for the reason why another process ended."""
_LOST = ("gloo", "nccl", "connection", "peer", "socket", "broken pipe", "store")


@dataclass(frozen=True)
class Ranks:
    """One process among those that share a training.

    Attributes
    ----------
    rank, size : int
        This one, and how many.
    local_rank, local_size : int
        The same on this machine.
    node : int
        Which machine this is.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and calibrates."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this process's part of a list: every ``size``-th item."""
        return list(items[self.rank :: self.size])

    def slice(self, count: int) -> range:
        """Return this process's positions in a batch: sizes differ by one at most."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def gather(self, mine: T) -> list[T]:
        """Return what every process has, by rank; all wait here for each other."""
        if self.alone:
            return [mine]
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found

    def from_first(self, value: T) -> T:
        """Return the first process's value."""
        if self.alone:
            return value
        import torch.distributed as dist

        held: list[Any] = [value]
        dist.broadcast_object_list(held, src=0)
        answer: T = held[0]
        return answer

    def take_on(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the first process's values, in place."""
        if self.alone:
            return
        import torch.distributed as dist

        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; it carries no gradient."""
        if self.alone:
            return values
        import torch.distributed as dist

        summed = values.detach().clone()
        dist.all_reduce(summed)
        return summed

    def total_array(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of an array over all processes."""
        import torch

        summed: NDArray[np.float64] = self.total(torch.from_numpy(values)).numpy()
        return summed

    def most(self, *values: float) -> tuple[float, ...]:
        """Return the largest of every value among all processes."""
        if self.alone:
            return values
        import torch
        import torch.distributed as dist

        largest = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return tuple(largest.tolist())


def from_environment() -> Ranks:
    """Return which process this is, as ``torchrun`` or ``srun`` says; else alone."""
    known = os.environ
    if "RANK" in known and "WORLD_SIZE" in known:
        size = int(known["WORLD_SIZE"])
        return Ranks(
            int(known["RANK"]), size, int(known.get("LOCAL_RANK", 0)),
            int(known.get("LOCAL_WORLD_SIZE", size)), int(known.get("GROUP_RANK", 0)),
        )  # fmt: skip
    # Set by srun alone; a batch script that asks for many tasks is still one process itself.
    size = int(known.get("SLURM_STEP_NUM_TASKS", 1))
    if size > 1:
        return Ranks(
            int(known["SLURM_PROCID"]), size, int(known["SLURM_LOCALID"]),
            size // int(known.get("SLURM_STEP_NUM_NODES", 1)), int(known["SLURM_NODEID"]),
        )  # fmt: skip
    return Ranks()


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes of this training; when one fails, all end and one says why.

    Inside, the first process raises its own error, or ``TRN-021`` with the words of the process
    that failed; the others raise what they met, for nobody to print.

    Raises
    ------
    TrainingError
        ``TRN-020`` the processes do not find each other, ``TRN-021`` another one failed.
    """
    ranks = from_environment()
    if ranks.alone:
        yield ranks
        return
    import torch.distributed as dist

    store = _connect(ranks)
    try:
        yield ranks
    except BaseException as error:
        if _is_lost(error):
            raise _why_lost(ranks, store) from error
        with contextlib.suppress(RuntimeError):
            if isinstance(error, NormativeError):
                store.set("failed", f"process {ranks.rank + 1} of {ranks.size}: {error}")
            elif isinstance(error, Exception):
                kind = type(error).__name__
                store.set("failed", f"process {ranks.rank + 1} of {ranks.size}: {kind}: {error}")
            if ranks.first:
                store.set("told", "1")
        raise
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _connect(ranks: Ranks) -> Any:
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    os.environ.update(
        RANK=str(ranks.rank), WORLD_SIZE=str(ranks.size), LOCAL_RANK=str(ranks.local_rank),
        LOCAL_WORLD_SIZE=str(ranks.local_size), GROUP_RANK=str(ranks.node),
    )  # fmt: skip
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if "MASTER_ADDR" not in os.environ:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        nodes = os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")
        os.environ["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(nodes)
        os.environ["MASTER_PORT"] = str(SLURMEnvironment().main_port)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=datetime.timedelta(minutes=5))))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        if len(set(ranks.gather(ranks.rank))) != ranks.size:
            raise RuntimeError("two processes have one rank")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            "TRN-020",
            f"the {ranks.size} processes of this training did not find each other "
            f"({str(error).splitlines()[0][:200]})",
            "Start all of them by one torchrun or srun (docs/how-to/train-cluster.md), on machines "
            "that reach the first one's port; set MASTER_ADDR and MASTER_PORT if they do not.",
        ) from error
    return store


def _is_lost(error: BaseException) -> bool:
    """Whether an error is the echo of another process's end."""
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in words for word in _LOST)


def _why_lost(ranks: Ranks, store: Any) -> TrainingError:
    said = f" ({store.get('failed').decode()})" if _appears(store, "failed") else ""
    error = TrainingError(
        "TRN-021",
        "another process of this training ended"
        + (said or " without a word; the system may have killed it, for memory say"),
        "Mend what it names and run it again with --resume: it goes on from the last checkpoint.",
    )
    if ranks.first:
        with contextlib.suppress(RuntimeError):
            store.set("told", "1")
        return error
    if ranks.rank == 1 and not _appears(
        store, "told"
    ):  # the first process is gone: somebody must say so
        print(error, file=sys.__stderr__, flush=True)
    return error


def _appears(store: Any, key: str) -> bool:
    """Whether a word is left behind, now or in a moment."""
    deadline = time.monotonic() + LAST_WORDS_S
    with contextlib.suppress(RuntimeError):
        while not store.check([key]):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
    return False
