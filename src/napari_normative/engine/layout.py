"""UMAP in a process of its own: it neither stops a window nor outlives a cancelled job."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import CancelledError, DeviceError

if TYPE_CHECKING:
    from napari_normative.engine.stored_model import Cancel

NEIGHBOURS = 15
POLL_S = 0.2


def umap_layout(
    places: NDArray[np.floating], *, seed: int = 0, cancel: Cancel | None = None
) -> NDArray[np.float64]:
    """Return two coordinates a row by UMAP, shape (n, 2); equal seeds give equal maps.

    Parameters
    ----------
    places : float array, shape (n, Z)
        From :meth:`PrincipalAxes.place`, so that neighbours are those who decode alike.
    seed : int
    cancel : callable, optional

    Raises
    ------
    CancelledError
    DeviceError
        ``DEV-004`` when UMAP fails.

    References
    ----------
    .. [1] McInnes, Healy & Melville, arXiv:1802.03426, 2018.
    """
    given = io.BytesIO()
    np.save(given, np.asarray(places, dtype=np.float32))
    command = [sys.executable, "-m", "napari_normative.engine.layout", str(seed)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        data: bytes | None = given.getvalue()
        while True:
            try:
                out, error = process.communicate(data, timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                data = None
                if cancel is not None and cancel():
                    process.kill()
                    raise CancelledError from None
    if process.returncode:
        last = error.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise DeviceError(
            "DEV-004",
            f"UMAP ended with an error ({last[0]})",
            "Use the principal axes, or install umap-learn anew.",
        )
    made: NDArray[np.float64] = np.load(io.BytesIO(out), allow_pickle=False).astype(np.float64)
    return made


def _main() -> None:
    """Read places from standard input, write their layout to standard output."""
    from umap import UMAP

    places = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    reducer = UMAP(
        n_neighbors=min(NEIGHBOURS, len(places) - 1),
        init="pca",  # the spectral start fails on few points, and depends on the solver
        random_state=int(sys.argv[1]),
        n_jobs=1,
    )
    made = io.BytesIO()
    np.save(made, np.asarray(reducer.fit_transform(places), dtype=np.float32))
    sys.stdout.buffer.write(made.getvalue())


if __name__ == "__main__":
    _main()
