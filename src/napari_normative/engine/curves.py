"""The curves of a training as a table in its work folder, and in TensorBoard if asked."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from napari_normative.core.card import CurvePoint
from napari_normative.errors import TrainingError
from napari_normative.io.atomic import replace_files

CURVES = "curves.csv"
HEADER = (
    "step,minutes,elbo_nats,reconstruction_nats,kl_nats,active_units,held_out_mae,learning_rate"
)


class CurveLog:
    """Writes every point of the curves at once; what lies beyond a resumed step is forgotten.

    Parameters
    ----------
    folder : Path
        The work folder.
    step : int
        Where training begins.
    tensorboard : bool
        Write event files to ``folder/tensorboard`` as well.

    Raises
    ------
    TrainingError
        ``TRN-024`` when tensorboard is not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self.path = folder / CURVES
        self.rows: list[str] = []
        if step:
            with contextlib.suppress(OSError, ValueError):
                old = self.path.read_text(encoding="utf-8").splitlines()[1:]
                self.rows = [row for row in old if int(row.split(",")[0]) <= step]
        self._board: Any = None
        if tensorboard:
            require_tensorboard()
            from torch.utils.tensorboard import SummaryWriter

            board: Any = SummaryWriter  # its annotations are incomplete
            self._board = board(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, point: CurvePoint, rate: float) -> None:
        """Write a point, with the learning rate of its step."""
        held_out = "" if point.held_out_mae is None else f"{point.held_out_mae:.6g}"
        self.rows.append(
            f"{point.step},{point.minutes},{point.elbo_nats},{point.reconstruction_nats},"
            f"{point.kl_nats},{point.active_units},{held_out},{rate:.6g}"
        )
        replace_files({self.path: "\n".join([HEADER, *self.rows, ""]).encode()})
        if self._board is not None:
            figures = {
                "elbo_nats": point.elbo_nats,
                "reconstruction_nats": point.reconstruction_nats,
                "kl_nats": point.kl_nats,
                "active_units": point.active_units,
                "held_out_mae": point.held_out_mae,
                "learning_rate": rate,
            }
            for name, value in figures.items():
                if value is not None:
                    self._board.add_scalar(name, value, point.step)
            self._board.flush()

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def require_tensorboard() -> None:
    """Raise ``TRN-024`` unless tensorboard is installed."""
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise TrainingError(
            "TRN-024",
            "TensorBoard is not installed",
            'Run pip install "napari-normative[cluster]", or leave --tensorboard away: '
            f"{CURVES} in the work folder holds the same curves.",
        )
