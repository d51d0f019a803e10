"""From figures of scans to figures of a model: strata, intervals over people, differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_normative.core import metrics
from napari_normative.core.counts import Direction, VoxelCounts
from napari_normative.engine.measure import LEVELS, Measured

ALL = "all"
SIZES = (("<1 ml", 0.0, 1.0), ("1-10 ml", 1.0, 10.0), (">10 ml", 10.0, float("inf")))
DRAWS = 2000
LEAST_PEOPLE = 2
"""Healthy, and with lesions, of a site for a scan AUROC."""

COSTLY_DRAWS = 200
"""Bootstrap draws of figures that are not a mean over people."""


@dataclass(frozen=True)
class Figure:
    """A column of the case table that is averaged over people.

    Attributes
    ----------
    label : str
    better : int
        +1 more is better, -1 less is better, 0 nearness to ``nominal`` is better.
    groups : tuple of str
    """

    label: str
    better: int
    groups: tuple[str, ...]


ILL, WELL = ("real", "simulated"), ("healthy",)
FIGURES = {
    "ap": Figure("voxel AP, |z|", 1, ILL),
    "ap_darker": Figure("voxel AP, darker", 1, ILL),
    "ap_brighter": Figure("voxel AP, brighter", 1, ILL),
    "prevalence": Figure("prevalence (AP without skill)", 0, ILL),
    "best_dice": Figure("best Dice (oracle threshold)", 1, ILL),
    "dice": Figure("Dice at the model's threshold", 1, ILL),
    "dice_at_1pct": Figure("Dice at nominal 1 % false-positive voxels", 1, ILL),
    "sensitivity_at_1pct": Figure("voxel sensitivity at 1 % false-positive voxels", 1, ILL),
    "mae": Figure("reconstruction MAE, model units", -1, WELL),
    "psnr": Figure("reconstruction PSNR, dB", 1, WELL),
    "ssim": Figure("reconstruction SSIM", 1, WELL),
    "elbo_nats": Figure("ELBO at the latent mean, nats", 1, WELL),
    "fpr_at_1pct": Figure("false-positive voxels at nominal 1 %", 0, WELL),
    "candidates": Figure("candidates per healthy scan", 0, WELL),
}
RECONSTRUCTION = ("mae", "psnr", "ssim", "elbo_nats")
POOLED: dict[str, tuple[str, Direction]] = {
    "pooled_ap": ("pooled voxel AP, |z|", "both"),
    "pooled_ap_darker": ("pooled voxel AP, darker", "darker"),
    "pooled_ap_brighter": ("pooled voxel AP, brighter", "brighter"),
}
RATES = (1, 4)
LABELS = (
    {name: figure.label for name, figure in FIGURES.items()}
    | {name: label for name, (label, _) in POOLED.items()}
    | {f"froc_at_{rate}": f"lesions found at {rate} false per scan" for rate in RATES}
    | {"auroc": "scan AUROC within the site"}
)
KEY = ("model", "against", "group", "kind", "site", "size", "figure")
COLUMNS = (*KEY, "value", "low", "high", "seed_sd", "people", "scans")


def size_of(lesion_ml: float) -> str:
    """Return the size class of a lesion load."""
    return next((name for name, low, high in SIZES if low <= lesion_ml < high), SIZES[-1][0])


@dataclass(frozen=True)
class Stratum:
    """Scans that are summarised together; ``all`` where nothing is selected."""

    group: str
    kind: str = ALL
    site: str = ALL
    size: str = ALL

    def picks(self, people: int) -> NDArray[np.int64]:
        """Return who is in each bootstrap draw of a costly figure, shape (draws, people).

        No draws for one person, and none where strata are crossed.
        """
        crossed = [self.kind, self.site, self.size].count(ALL) < 2
        return _resampled(people)[: 0 if crossed or people < 2 else COSTLY_DRAWS]

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the case table that belong to it."""
        kept = table["group"] == self.group
        for column in ("kind", "site", "size"):
            if (wanted := getattr(self, column)) != ALL:
                kept &= table[column] == wanted
        return table[kept]


def strata(table: pd.DataFrame) -> list[Stratum]:
    """Return every group, and it by kind, site and size, one or two at a time."""
    found: list[Stratum] = []
    for group in ("real", "simulated", "healthy"):
        rows = table[table["group"] == group]
        if not len(rows):
            continue
        kinds, sites = (sorted(rows[column].unique()) for column in ("kind", "site"))
        sizes = [name for name, _, _ in SIZES if (rows["size"] == name).any()]
        found.append(Stratum(group))
        found += [Stratum(group, site=site) for site in sites]
        if group == "healthy":
            continue
        found += [Stratum(group, size=size) for size in sizes]
        for kind in kinds:
            found.append(Stratum(group, kind))
            found += [Stratum(group, kind, site=site) for site in sites]
            found += [Stratum(group, kind, size=size) for size in sizes]
    return [stratum for stratum in found if len(stratum.of(table))]


def summarise(measured: Sequence[Measured], spaces: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each figure, model and stratum.

    Parameters
    ----------
    measured : sequence of Measured
    spaces : mapping of str to str
        ``Judged.space`` of each model; errors of reconstruction are compared only between
        models that see a scan alike.
    """
    table = pd.DataFrame([m.row for m in measured])
    table["size"] = [size_of(ml) if ml > 0 else "" for ml in table["lesion_ml"]]
    rows: list[dict[str, object]] = []
    models = list(dict.fromkeys(table["model"]))
    for stratum in strata(table):
        part = stratum.of(table)
        rows += _figures(stratum, part, models, spaces)
        if stratum.group != "healthy":
            rows += _pooled(stratum, part, models, measured)
            rows += _froc(stratum, part, models, measured)
    rows += _auroc(table, models)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    stratum: Stratum,
    model: str,
    figure: str,
    interval: metrics.Interval,
    part: pd.DataFrame,
    *,
    against: str = "",
    seed_sd: float = float("nan"),
) -> dict[str, object]:
    return {
        "model": model,
        "against": against,
        "group": stratum.group,
        "kind": stratum.kind,
        "site": stratum.site,
        "size": stratum.size,
        "figure": figure,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "seed_sd": seed_sd,
        "people": part["person"].nunique(),
        "scans": len(part),
    }


def _figures(
    stratum: Stratum, part: pd.DataFrame, models: list[str], spaces: Mapping[str, str]
) -> Iterator[dict[str, object]]:
    """Yield means over people, then the first model's less every other's."""
    for name, figure in FIGURES.items():
        if stratum.group not in figure.groups:
            continue
        values = {
            model: part[part["model"] == model].groupby("person")[name].apply(list)
            for model in models
        }
        for model in models:
            own = part[part["model"] == model]
            interval = metrics.bootstrap(values[model].tolist(), draws=DRAWS)
            yield _row(stratum, model, name, interval, own, seed_sd=_seed_sd(own, name))
        if name == "prevalence":
            continue
        for other in models[1:]:
            if name in RECONSTRUCTION and spaces[models[0]] != spaces[other]:
                continue
            first, second = values[models[0]], values[other]
            interval = metrics.paired_difference(first.tolist(), second.tolist(), draws=DRAWS)
            own = part[part["model"] == other]
            yield _row(stratum, models[0], name, interval, own, against=other)


def _seed_sd(rows: pd.DataFrame, name: str) -> float:
    """Return the SD over seeds of the mean over people; how much the draw matters."""
    by_seed = rows.dropna(subset=["seed"]).groupby("seed")[name].mean()
    return float(by_seed.std()) if len(by_seed) > 1 else float("nan")


def _by_person(part: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the positions of each person's rows among everything measured."""
    return {
        str(person): rows.index.to_numpy(dtype=np.int64) for person, rows in part.groupby("person")
    }


def _resampled(people: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(people, size=(COSTLY_DRAWS, people))


def _interval(value: float, draws: Sequence[float]) -> metrics.Interval:
    finite = np.array([d for d in draws if np.isfinite(d)])
    if len(finite) < COSTLY_DRAWS / 2:  # one person, or too few with a lesion
        return metrics.Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, (0.025, 0.975))
    return metrics.Interval(value, float(low), float(high))


def _pooled(
    stratum: Stratum, part: pd.DataFrame, models: list[str], measured: Sequence[Measured]
) -> Iterator[dict[str, object]]:
    """Yield the average precision over all voxels of all scans."""
    values: dict[str, dict[str, float]] = {}
    draws: dict[str, dict[str, list[float]]] = {}
    for model in models:
        people = [
            VoxelCounts.total(measured[n].counts for n in rows)
            for rows in _by_person(part[part["model"] == model]).values()
        ]
        picks = stratum.picks(len(people))
        # How often each person is in each draw, times what each person has.
        times = np.array([np.bincount(pick, minlength=len(people)) for pick in picks], dtype=float)
        drawn: list[VoxelCounts] = []
        if len(picks):
            healthy = (times @ np.stack([p.healthy for p in people])).astype(np.int64)
            lesion = (times @ np.stack([p.lesion for p in people])).astype(np.int64)
            drawn = [VoxelCounts(h, s) for h, s in zip(healthy, lesion, strict=True)]
        everyone = VoxelCounts.total(people)
        for name, (_, direction) in POOLED.items():
            values.setdefault(name, {})[model] = everyone.average_precision(direction)
            draws.setdefault(name, {})[model] = [d.average_precision(direction) for d in drawn]
    for name in POOLED:
        yield from _with_differences(stratum, part, name, values[name], draws[name])


def _froc(
    stratum: Stratum, part: pd.DataFrame, models: list[str], measured: Sequence[Measured]
) -> Iterator[dict[str, object]]:
    """Yield the share of lesions that are found at each rate of false candidates."""
    values: dict[float, dict[str, float]] = {rate: {} for rate in RATES}
    draws: dict[float, dict[str, list[float]]] = {rate: {} for rate in RATES}
    for model in models:
        people = froc_people(part[part["model"] == model], measured)
        found = metrics.froc(people, RATES).at
        drawn = [
            metrics.froc([people[n] for n in pick], RATES).at for pick in stratum.picks(len(people))
        ]
        for rate in RATES:
            values[rate][model] = found[rate]
            draws[rate][model] = [d[rate] for d in drawn]
    for rate in RATES:
        yield from _with_differences(stratum, part, f"froc_at_{rate}", values[rate], draws[rate])


def _with_differences(
    stratum: Stratum,
    part: pd.DataFrame,
    name: str,
    values: Mapping[str, float],
    draws: Mapping[str, Sequence[float]],
) -> Iterator[dict[str, object]]:
    """Yield a figure of all models, then the first's less every other's, draw by draw."""
    first = next(iter(values))
    for model, value in values.items():
        own = part[part["model"] == model]
        yield _row(stratum, model, name, _interval(value, draws[model]), own)
    for model in [m for m in values if m != first]:
        # The same people are in the same draw of every model.
        apart = [a - b for a, b in zip(draws[first], draws[model], strict=True)]
        interval = _interval(values[first] - values[model], apart)
        yield _row(stratum, first, name, interval, part[part["model"] == model], against=model)


def froc_people(rows: pd.DataFrame, measured: Sequence[Measured]) -> list[metrics.FrocScan]:
    """Return one scan for each person: all lesions, and the mean number of false candidates."""
    people = []
    for own in _by_person(rows).values():
        scans = [scan for n in own if (scan := measured[n].froc) is not None]
        people.append(
            metrics.FrocScan(
                thresholds=scans[0].thresholds,
                false=np.mean([scan.false for scan in scans], axis=0),
                hit=np.concatenate([scan.hit for scan in scans], axis=1),
                lesion_ml=np.concatenate([scan.lesion_ml for scan in scans]),
            )
        )
    return people


def _auroc(table: pd.DataFrame, models: list[str]) -> Iterator[dict[str, object]]:
    """Yield, per site that has both, how well scan scores tell patients from healthy people."""
    for site in sorted(table["site"].unique()):
        here = table[table["site"] == site]
        for group in ILL:
            ill = here[here["group"] == group]
            kinds = [ALL, *sorted(ill["kind"].unique())] if group == "simulated" else [ALL]
            for kind in kinds if len(ill) else []:
                stratum = Stratum(group, kind, site)
                for model in models:
                    part = stratum.of(here)
                    part = part[part["model"] == model]
                    healthy = here[(here["group"] == "healthy") & (here["model"] == model)]
                    people = min(healthy["person"].nunique(), part["person"].nunique())
                    if people >= LEAST_PEOPLE:
                        interval = _auroc_interval(healthy, part)
                        yield _row(stratum, model, "auroc", interval, part)


def _auroc_interval(healthy: pd.DataFrame, ill: pd.DataFrame) -> metrics.Interval:
    """Draw healthy people and patients again, each group by itself."""
    low = [rows.to_numpy() for _, rows in healthy.groupby("person")["scan_score"]]
    high = [rows.to_numpy() for _, rows in ill.groupby("person")["scan_score"]]
    value = metrics.auroc(np.concatenate(low), np.concatenate(high))
    draws = [
        metrics.auroc(
            np.concatenate([low[n] for n in first]), np.concatenate([high[n] for n in second])
        )
        for first, second in zip(_resampled(len(low)), _resampled(len(high), 1), strict=True)
    ]
    return _interval(value, draws)


def realised_by_site(
    table: pd.DataFrame, measured: Sequence[Measured], model: str
) -> dict[str, NDArray[np.float64]]:
    """Return the realised rate at each of ``LEVELS``, a mean over healthy people, by site."""
    rows = table[(table["group"] == "healthy") & (table["model"] == model)]
    found = {}
    for site, part in rows.groupby("site"):
        people = [
            np.mean([measured[n].realised for n in own], axis=0)
            for own in _by_person(part).values()
        ]
        found[str(site)] = np.nanmean(people, axis=0)
    assert all(len(rates) == len(LEVELS) for rates in found.values())
    return found
