"""What a model makes of a scan before it decodes it again: a Gaussian over latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_normative.io.folders import whole_folder
from napari_normative.io.tables import json_bytes
from napari_normative.volume import FloatArray

MARKER = "encoding.json"


@dataclass(frozen=True, eq=False)
class Encoding:
    """A scan's Gaussian over latents.

    Attributes
    ----------
    mean, variance : float32 array, shape (Z,) or (Z, i, j, k)
        Of the global level.
    local : tuple of (mean, variance), float32 arrays
        Of the levels below it; empty where the model has none.
    record : dict
        What made it, JSON-ready.
    """

    mean: FloatArray
    variance: FloatArray
    local: tuple[tuple[FloatArray, FloatArray], ...] = ()
    record: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``latent.tsv`` (number, mean, variance) and ``encoding.json`` into a folder.

        The folder appears whole or not at all; a latent grid is written in C order, and the
        levels below the global one are left out.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        lines = ["number\tmean\tvariance"]
        for number, pair in enumerate(zip(self.mean.flat, self.variance.flat, strict=True)):
            # Nine digits give back the very float32.
            lines.append("\t".join([str(number), *(f"{float(value):.9g}" for value in pair)]))
        record = {**self.record, "shape": list(np.shape(self.mean))}
        with whole_folder(target, MARKER) as fresh:
            (fresh / "latent.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
            (fresh / MARKER).write_bytes(json_bytes(record))
        return [target / "latent.tsv", target / MARKER]
