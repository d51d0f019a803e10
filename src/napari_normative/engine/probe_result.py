"""What fitting a probe returns: figures, predictions out of fold, the probe; and its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.probe import OutOfFold, Target
from napari_normative.core.probe_figures import FIGURES, Figure
from napari_normative.io.folders import whole_folder
from napari_normative.io.tables import json_bytes, tsv_bytes

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.engine.probe_file import Probe

FORMAT = "napari-normative probe result 1"
LATENTS, VOXELS, VOLUME = "latents", "voxel components", "volume features"
SITE, GUESS = "site alone", "guess"
ALPHA = 0.05
MARKER, REPORT, PROBE = "probe.json", "probe.html", "probe.safetensors"
FIGURES_TABLE, PREDICTIONS_TABLE = "figures.tsv", "predictions.tsv"


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """A probe, and how well it and simpler things tell a column.

    Attributes
    ----------
    column : str
        What was to be told.
    target : Target
        The values that were used.
    rows : tuple of int
        Of the table, from 1, one for each value.
    made : mapping of str to OutOfFold
        Predictions by ``latents``, ``voxel components``, ``volume features``, ``site alone``
        (where there are several) and ``guess``, in the same folds.
    figures : sequence of Figure
    p : mapping of str to float
        Of the permutation test, by features.
    probe : Probe
        Fitted to everybody.
    record : dict
        What made it, JSON-ready.
    """

    column: str
    target: Target
    rows: tuple[int, ...]
    made: Mapping[str, OutOfFold]
    figures: Sequence[Figure]
    p: Mapping[str, float]
    probe: Probe
    record: dict[str, Any]

    def figure(self, features: str, figure: str, against: str = "") -> Figure:
        """Return one figure with its interval.

        Raises
        ------
        KeyError
        """
        for row in self.figures:
            if (row.features, row.figure, row.against) == (features, figure, against):
                return row
        raise KeyError((features, figure, against))

    def value(self, features: str, figure: str) -> float:
        """Return the value of one figure."""
        return self.figure(features, figure).value

    @property
    def main(self) -> str:
        """The figure that is tested and compared."""
        return FIGURES[self.target.kind][0]

    def table(self) -> pd.DataFrame:
        """Return every figure: features, figure, against, value, low, high, p."""
        import pandas as pd  # late: it takes a third of a second

        rows = []
        for f in self.figures:
            tested = f.figure == self.main and not f.against
            p = self.p.get(f.features, math.nan) if tested else math.nan
            rows.append([f.features, f.figure, f.against, f.value, f.low, f.high, p])
        heads = ["features", "figure", "against", "value", "low", "high", "permutation_p"]
        return pd.DataFrame(rows, columns=heads)

    def predictions(self) -> pd.DataFrame:
        """Return a row for each scan: its row of the table, fold, truth, and what was said."""
        import pandas as pd  # late: it takes a third of a second

        names, made = self.target.classes, self.made[LATENTS]
        frame: dict[str, Any] = {"row": list(self.rows), "fold": made.folds + 1}
        if self.target.kind == "number":
            frame["truth"] = self.target.values
            for name, out in self.made.items():
                frame[name.replace(" ", "_")] = out.outputs
            return pd.DataFrame(frame)
        frame["truth"] = [names[int(v)] for v in self.target.values]
        for name, out in self.made.items():
            frame[name.replace(" ", "_")] = [names[int(v)] for v in out.decided]
        for k, name in enumerate(names):
            frame[f"p_{name}"] = made.outputs[:, k]
        return pd.DataFrame(frame)

    def verdict(self) -> list[str]:
        """Return what the figures say, a sentence each."""
        main, own = self.main, self.figure(LATENTS, self.main)
        label = {"auroc": "AUROC", "r2": "R²"}[main]
        p = self.p.get(LATENTS, math.nan)
        text = f"{label} of the latents {with_interval(own)}"
        if math.isfinite(p):
            text += f", permutation p {p:.3g}"
        nothing = 0.5 if main == "auroc" else 0.0
        said = "tell" if own.low > nothing and not p > ALPHA else "do not clearly tell"
        found = [f"The latents {said} {self.column}: {text}."]
        telling = {name for name, p_of in self.p.items() if not p_of > ALPHA}
        for name in self.made:
            if name in (LATENTS, GUESS) or not {name, LATENTS} & telling:
                continue  # two that tell nothing have nothing to be compared by
            d = self.figure(LATENTS, main, name)
            than = "better than" if d.low > 0 else "worse than" if d.high < 0 else "no better than"
            found.append(f"They are {than} {name}: {label} {with_interval(d, sign='+')}.")
        return found


def with_interval(row: Figure, digits: int = 3, sign: str = "") -> str:
    """Return ``0.412 [0.371, 0.455]``; a dash where there is no value."""
    if not math.isfinite(row.value):
        return "–"
    text = f"{round(row.value, digits) + 0.0:{sign}.{digits}f}"
    if not math.isfinite(row.low):
        return text
    ends = (f"{round(v, digits) + 0.0:{sign}.{digits}f}" for v in (row.low, row.high))
    return f"{text} [{', '.join(ends)}]"


def save_result(result: ProbeResult, folder: Path) -> None:
    """Write report, tables, record and probe into a folder, whole or not at all.

    Raises
    ------
    OutputError
        ``OUT-010`` when the folder holds other files, ``OUT-011`` if it cannot be written.
    """
    from napari_normative.engine.probe_report import probe_report

    record = {
        "format": FORMAT,
        **result.record,
        "probe_sha256": result.probe.digest,
        "verdict": result.verdict(),
        "penalty": result.probe.card.penalty,
        "features": list(result.made),
        "folds_of_scans": np.asarray(result.made[LATENTS].folds + 1).tolist(),
    }
    with whole_folder(folder, MARKER) as fresh:
        (fresh / REPORT).write_text(probe_report(result), encoding="utf-8")
        (fresh / FIGURES_TABLE).write_bytes(tsv_bytes(result.table()))
        (fresh / PREDICTIONS_TABLE).write_bytes(tsv_bytes(result.predictions()))
        (fresh / PROBE).write_bytes(result.probe.packed())
        (fresh / MARKER).write_bytes(json_bytes(record))
