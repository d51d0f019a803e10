"""What the latent directions of a model do to a volume, and what they go with in people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.association import PERMUTATIONS
from napari_normative.core.effects import CHANGED, T1_NAMES, EffectFacts, Zones, effect_facts
from napari_normative.core.latent import Basis, Direction
from napari_normative.engine.covariates import Row, correlate
from napari_normative.engine.embed import require_places
from napari_normative.engine.explore import EFFECT_SD, directions, effect_between, ends
from napari_normative.engine.made import MadeVolume, record_of
from napari_normative.errors import CancelledError
from napari_normative.io.folders import require_own, whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.io.tables import json_bytes, tsv_bytes

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

MARKER = "directions.json"
FORMAT = "napari-normative directions 1"
BASES: tuple[Basis, ...] = ("latent", "principal")

_ENCODING = 0.7
"""Part of the progress bar for encoding people."""


@dataclass(frozen=True, eq=False)
class DescribedDirection:
    """A direction and what it does between -2 and +2 SD of the cohort.

    Attributes
    ----------
    direction : Direction
    effect : MadeVolume
        Decoded +2 SD less -2 SD about the cohort's mean, model units, on the model's grid.
    facts : EffectFacts
    """

    direction: Direction
    effect: MadeVolume
    facts: EffectFacts

    @property
    def file(self) -> str:
        """Name of the file of the effect."""
        return f"effect_{self.direction.basis}-{self.direction.index + 1:03d}.nii.gz"

    def describe(self) -> str:
        """Return what it does, in a line."""
        f = self.facts
        return (
            f"{self.direction.name}: changes {f.changed_ml:.0f} ml, dark voxels by "
            f"{f.dark_ml:+.0f} ml; most at {f.place}, {f.side()}; acts on: {f.acts_on()}"
        )


@dataclass(frozen=True, eq=False)
class DirectionsReport:
    """The directions of a model: effects, and correlations with columns of a table.

    Attributes
    ----------
    model : NormativeModel
    described : tuple of DescribedDirection
        Entries of the latent, then principal axes; most used first, and whichever a column
        goes with.
    rows : tuple of Row
        All correlations of all directions; empty without a table.
    record : dict
        What made it, JSON-ready.
    """

    model: NormativeModel
    described: tuple[DescribedDirection, ...]
    rows: tuple[Row, ...]
    record: dict[str, Any]

    def directions(self) -> pd.DataFrame:
        """Return a row a described direction: how much it is used, what it does and where."""
        import pandas as pd  # late: it takes a third of a second

        lines = []
        for one in self.described:
            d, f = one.direction, one.facts
            line: dict[str, Any] = {"basis": d.basis, "direction": d.index + 1}
            line |= {"kl_nats": d.kl_nats, "variance_share": d.variance_share, "rms": f.rms}
            line |= {"largest": f.largest, "x_mm": f.at_mm[0], "y_mm": f.at_mm[1]}
            line |= {"z_mm": f.at_mm[2], "place": f.place, "changed_ml": f.changed_ml}
            line |= {"dark_ml": f.dark_ml, "symmetry": f.symmetry, "acts_on": f.acts_on()}
            lines.append(line | {"effect": one.file})
        return pd.DataFrame(lines)

    def correlations(self) -> pd.DataFrame:
        """Return a row a direction, column and group of people; best corrected p first."""
        import pandas as pd

        lines: list[dict[str, Any]] = [
            {
                "basis": r.basis, "direction": r.index + 1, "column": r.covariate, "kind": r.kind,
                "people": r.group, "n": r.found.n, "measure": r.measure, "value": r.found.value,
                "low": r.found.low, "high": r.found.high, "spearman": r.found.spearman,
                "p": r.found.p, "p_corrected": r.found.p_corrected, "partial": r.found.partial,
                "partial_p_corrected": r.found.partial_p_corrected, "evidence": r.is_evidence,
            }
            for r in sorted(
                self.rows,
                key=lambda r: (not r.is_evidence, r.found.p_corrected, -abs(r.found.value)),
            )
        ]  # fmt: skip
        return pd.DataFrame(lines)

    def findings(self) -> list[str]:
        """Return a sentence for each correlation that unseen people show."""
        known = {(d.direction.basis, d.direction.index): d for d in self.described}
        found = sorted(
            (row for row in self.rows if row.is_evidence), key=lambda r: -abs(r.found.value)
        )
        texts = []
        for row in found:
            one = known[row.basis, row.index]
            texts.append(f"{one.direction.name}: {row.describe()}; acts on: {one.facts.acts_on()}.")
        return texts

    def verdict(self) -> list[str]:
        """Return what the correlations say, a sentence each; nothing without a table."""
        if not self.rows:
            return []
        return self.findings() or [
            "No direction goes with any of the columns in people whom the network never saw."
        ]

    def save(self, folder: str | Path) -> list[Path]:
        """Write tables, effect maps, ``directions.html`` and ``directions.json`` into a folder.

        The folder appears whole or not at all.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        from napari_normative.engine.traversal_page import directions_page

        target = Path(folder)
        with whole_folder(target, MARKER) as fresh:
            for one in self.described:
                write_volume(fresh / one.file, one.effect)
            (fresh / "directions.tsv").write_bytes(tsv_bytes(self.directions()))
            if self.rows:
                (fresh / "correlations.tsv").write_bytes(tsv_bytes(self.correlations()))
            (fresh / "directions.html").write_text(directions_page(self), encoding="utf-8")
            (fresh / MARKER).write_bytes(json_bytes({**self.record, "verdict": self.verdict()}))
        return sorted(target.iterdir())


def describe_directions(
    model: NormativeModel,
    n: int = 10,
    *,
    table: str | Path | None = None,
    columns: Sequence[str] = (),
    out: str | Path | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    device: str = "auto",
    explain: Callable[[str, str], None] = lambda line, name: None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> DirectionsReport:
    """Say what latent directions do, and what they go with.

    Parameters
    ----------
    model : NormativeModel
        With dense latents.
    n : int
        Directions of either kind whose effect is decoded: entries of the latent by KL, and
        principal axes of what the cohort's latents decode to, by variance. Those that go with a
        column are added.
    table : path, optional
        People with scans, as for ``fit_probe``.
    columns : sequence of str
        Of the table, to be correlated with all directions.
    out : path, optional
        Folder for what :meth:`DirectionsReport.save` writes.
    permutations, seed : int
    device : str
    explain : callable of (sentence, file name)
        Told of each scan of the table that cannot be used.
    progress, cancel : callable, optional

    Raises
    ------
    ModelFileError
        ``MOD-007`` when the model has no one latent vector for a scan.
    CohortError
        ``COH-001``, ``COH-002`` a bad table.
    ExplanationError
        ``WHY-002`` no such column, ``WHY-003`` too few people with values.
    OutputError
        ``OUT-010`` when ``out`` holds other files.
    CancelledError

    Examples
    --------
    >>> report = describe_directions(model, 3)  # doctest: +SKIP
    >>> report.directions()[["direction", "dark_ml", "acts_on"]]  # doctest: +SKIP
    """
    tell, stop = progress or (lambda step, fraction: None), cancel or (lambda: False)
    if out is not None:
        require_own(Path(out), MARKER)
    require_places(model)
    rows: list[Row] = []
    warnings: list[str] = []
    if table is not None:
        rows, warnings = correlate(
            model, table, columns, permutations=permutations, seed=seed, device=device,
            explain=explain, cancel=cancel,
            progress=lambda step, share: tell(step, _ENCODING * share),
        )  # fmt: skip
    names = T1_NAMES if "T1" in model.card.modality else None
    zones = Zones.of(model.template, model.card.preprocess.spacing_mm, names)
    telling = {(row.basis, row.index) for row in rows if row.is_evidence}
    chosen = [
        direction
        for basis in BASES
        for rank, direction in enumerate(directions(model, basis=basis, device=device))
        if rank < n or (basis, direction.index) in telling
    ]
    described = []
    for done, direction in enumerate(chosen):
        if stop():
            raise CancelledError
        tell(direction.name, _ENCODING + (1 - _ENCODING) * done / len(chosen))
        above, below, note = ends(model, direction, device=device)
        facts = effect_facts(above, below, model.template, zones, model.card.preprocess.grid.affine)
        made = effect_between(model, direction, above, below, note)
        described.append(DescribedDirection(direction, made, facts))
    record = record_of(
        model, "directions", note, format=FORMAT, effect_sd=EFFECT_SD, changed=CHANGED,
        columns=list(columns), permutations=permutations if rows else None, seed=seed,
        warnings=warnings,
    )  # fmt: skip
    report = DirectionsReport(model, tuple(described), tuple(rows), record)
    if out is not None:
        tell("writing", 1.0)
        report.save(out)
    return report
