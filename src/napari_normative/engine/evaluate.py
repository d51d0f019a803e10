"""Does a model earn its place? Its figures on cases of the user's own, beside other models'."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.lesions import LESION_KINDS
from napari_normative.core.preprocess import Prepared, scored_mask
from napari_normative.engine.cases import Case, load_case, people_of, read_cases
from napari_normative.engine.device import choose_device
from napari_normative.engine.evaluation import CASES, FORMAT, RECORD, Evaluation, require_free
from napari_normative.engine.infer import versions
from napari_normative.engine.measure import Judged, Look, Measured, Preparer, measure
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.quality import sample_quality
from napari_normative.engine.simulated import find_shapes, shape_for, with_lesion
from napari_normative.engine.stored_model import Cancel, Progress
from napari_normative.engine.summary import summarise
from napari_normative.errors import CancelledError, EvaluationError, NormativeError
from napari_normative.io.atomic import replace_files
from napari_normative.io.tables import json_bytes, tsv_bytes

MOST_KEPT = 64
"""Healthy scans of which the prepared image is kept, for comparison with samples."""

Explain = Callable[[BaseException, str], str]
"""Turns what went wrong with a case (error, file name) into one line."""


def evaluate(
    cases: str | Path | Sequence[Case],
    models: Sequence[str | Path | NormativeModel],
    out: str | Path | None = None,
    *,
    shapes: str | Path | None = None,
    simulate: bool = True,
    seeds: int = 3,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    explain: Explain | None = None,
) -> Evaluation:
    """Judge a model on healthy people and patients, beside other models.

    Parameters
    ----------
    cases : path of a table, or sequence of Case
        See :func:`~napari_normative.engine.cases.read_cases`.
    models : sequence of names, paths or models
        The first is judged, the others are what it is compared with.
    out : path, optional
        Folder for the results; ``cases.tsv`` in it grows case by case.
    shapes : path, optional
        Folder of real lesion masks in the world of the models' template, for simulation.
    simulate : bool
        Put simulated lesions of every kind into the healthy people's scans.
    seeds : int
        Simulated lesions of each kind for each healthy person.
    device : str
        ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
    progress : callable, optional
        Called with what is done now and the fraction done.
    cancel : callable, optional
        Asked between scans; true ends the work with CancelledError.
    explain : callable, optional
        Makes the line of a case that cannot be used; gets unforeseen errors too, which are
        raised when it is None.

    Raises
    ------
    EvaluationError
        ``EVA-001`` a bad table, ``EVA-002`` no case can be used, ``EVA-003`` no shapes.
    OutputError
        ``OUT-014`` when ``out`` holds files that would be lost.

    Examples
    --------
    Without simulated lesions, and on one patient, who is too few to judge anything by:

    >>> made = evaluate("cases.tsv", ["brain-t1"], simulate=False)
    >>> made.models, len(made.cases), made.refused
    (['brain-t1'], 1, ())
    >>> bool(made.cases["ap"].item() > 0.5)  # a lesion that was made to be found
    True
    """
    listed = list(cases) if not isinstance(cases, str | Path) else read_cases(cases)
    target = None if out is None else Path(out)
    if target is not None:
        require_free(target, None if not isinstance(cases, str | Path) else Path(cases))
    run = _Run(
        models=_named(models),
        shapes=find_shapes(None if shapes is None else Path(shapes)),
        seeds=seeds if simulate else 0,
        device=device,
        progress=progress or (lambda step, fraction: None),
        cancel=cancel or (lambda: False),
        people=people_of(listed),
        cases=len(listed),
    )
    start = time.perf_counter()
    if target is not None:
        replace_files({target / RECORD: json_bytes({"format": FORMAT, "finished": False})})
    for number, case in enumerate(listed):
        try:
            run.add(number, case)
        except (CancelledError, KeyboardInterrupt):
            raise
        except (NormativeError, OSError) as error:
            run.refuse(case, error, explain or _line)
        except Exception as error:
            if explain is None:
                raise
            run.refuse(case, error, explain)
        if target is not None and run.measured:
            replace_files({target / CASES: tsv_bytes(run.table())})
    made = run.finish(time.perf_counter() - start)
    if target is not None:
        made.save(target)
    return made


@dataclass
class _Run:
    """What has been measured so far."""

    models: list[Judged]
    shapes: list[Path]
    seeds: int
    device: str
    progress: Progress
    cancel: Cancel
    people: dict[tuple[str, str], str]
    cases: int
    measured: list[Measured] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    healthy: dict[str, list[NDArray[np.float16]]] = field(default_factory=dict)

    def add(self, number: int, case: Case) -> None:
        """Judge all models on a case, and on it with every simulated lesion."""
        self._say(number, 0.0, f"{case.id} as found")
        loaded = load_case(case)
        look = Look(
            case=case,
            group="healthy" if loaded.healthy else "real",
            kind="" if loaded.healthy else case.kind,
            seed=None,
            scan=loaded.scan,
            truth=loaded.truth,
            mask=loaded.mask,
        )
        preparer = Preparer()
        prepared = self._judge(look, preparer)
        if look.group != "healthy":
            return
        for space, made in prepared.items():
            kept = self.healthy.setdefault(space, [])
            if len(kept) < MOST_KEPT:
                kept.append(made.image.astype(np.float16))
        first = prepared[self.models[0].space]
        inside = scored_mask(first, self.models[0].model.card.preprocess, look.scan)
        for seed in range(self.seeds):
            shape = shape_for(look, first, inside, self.shapes, seed)
            if shape is None:
                continue
            for n, kind in enumerate(LESION_KINDS):
                done = (1 + seed * len(LESION_KINDS) + n) / (1 + self.seeds * len(LESION_KINDS))
                self._say(number, done, f"{case.id} with simulated {kind}")
                self._judge(with_lesion(look, inside, shape, kind, seed), preparer)

    def _judge(self, look: Look, preparer: Preparer) -> dict[str, Prepared]:
        """Judge all models on a scan; it counts only when every model could score it."""
        prepared = preparer.prepare(look, self.models)
        found, region = [], None
        for judged in self.models:
            made, region = measure(look, judged, prepared[judged.space], region, self.device)
            made.row["person"] = self.people[look.case.site, look.case.subject]
            found.append(made)
        self.measured += found
        return prepared

    def _say(self, number: int, part: float, what: str) -> None:
        if self.cancel():
            raise CancelledError
        self.progress(what, (number + part) / self.cases)

    def refuse(self, case: Case, error: BaseException, explain: Explain) -> None:
        """Note a case that cannot be used; the file's name stays out of the results."""
        self.lines.append(explain(error, case.path.name))
        code = error.code if isinstance(error, NormativeError) else type(error).__name__
        what = error.what if isinstance(error, NormativeError) else "it cannot be read"
        self.refused.append({"case": case.id, "code": code, "what": what})

    def table(self) -> pd.DataFrame:
        return pd.DataFrame([m.row for m in self.measured])

    def finish(self, seconds: float) -> Evaluation:
        """Summarise what was measured."""
        if not self.measured:
            raise EvaluationError(
                "EVA-002",
                f"none of {self.cases} cases can be used; the first: {self.lines[0]}",
                "Mend the files that are named, or the paths in the table.",
            )
        self.progress("samples and intervals", 1.0)
        summary = summarise(self.measured, {j.name: j.space for j in self.models})
        record = {
            "format": FORMAT,
            "finished": True,
            "notice": RESEARCH_USE,
            "software": f"napari-normative {versions()['napari-normative']}",
            "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "device": choose_device(self.device).device,
            "seconds": round(seconds, 1),
            "parameters": {
                "seeds": self.seeds,
                "shapes": len(self.shapes) or "drawn",
                "kinds": list(LESION_KINDS) if self.seeds else [],
                "bootstrap_level": 0.95,
            },
            "models": [
                {
                    "name": judged.name,
                    "title": judged.model.card.title,
                    "sha256": judged.model.digest,
                    **judged.model.told(),
                    "card": judged.model.card.one_line(),
                    "active_latents": judged.model.card.calibration.latent_active,
                    "total_kl_nats": judged.model.card.calibration.latent_total_kl_nats,
                    "threshold_z": judged.model.calibration.threshold_z,
                    "false_per_scan": judged.model.calibration.false_per_scan,
                    "samples": sample_quality(
                        judged.model, self.healthy.get(judged.space, []), self.device
                    ),
                }
                for judged in self.models
            ],
            "cases": {
                "listed": self.cases,
                "used": len({m.row["case"] for m in self.measured}),
                "refused": self.refused,
            },
            "summary": summary.to_dict("records"),
        }
        return Evaluation(self.table(), summary, record, self.measured, tuple(self.lines))


def _named(models: Sequence[str | Path | NormativeModel]) -> list[Judged]:
    """Load models and give each a name of its own."""
    judged: list[Judged] = []
    for item in models:
        model = item if isinstance(item, NormativeModel) else load_model(item)
        base = model.card.name if isinstance(item, NormativeModel) else Path(item).stem
        number, name = 1, base
        while name in {j.name for j in judged}:
            number += 1
            name = f"{base}-{number}"
        judged.append(Judged.named(name, model))
    return judged


def _line(error: BaseException, name: str) -> str:
    return str(error) if isinstance(error, NormativeError) else f"{name}: it cannot be read."
