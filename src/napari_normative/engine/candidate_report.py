"""Why one place of a scan is a candidate: everything that can be said, and its files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.attribution import Explanation
from napari_normative.core.candidates import Candidate
from napari_normative.core.limits import signed_limit
from napari_normative.core.preprocess import restore, scored_mask
from napari_normative.engine.attribute import Attribution, attribute
from napari_normative.engine.case_pictures import (
    MARKED,
    Picture,
    Shown,
    beside,
    framed,
    marked,
    outline,
    overlaid,
    stack,
)
from napari_normative.engine.detection import Detection
from napari_normative.engine.explore import directions as directions_of_model
from napari_normative.engine.explore import effect
from napari_normative.engine.infer import recount
from napari_normative.engine.pictures import png_bytes
from napari_normative.engine.planes import VIEWS, sample
from napari_normative.engine.why import explain, require_together
from napari_normative.errors import ExplanationError
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.io.tables import json_bytes
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

MARKER = "explain.json"
FORMAT = "napari-normative explanation 1"
TILE_PX = 260


@dataclass(frozen=True, eq=False)
class CandidateReport:
    """Why one place of a scan is a candidate.

    Attributes
    ----------
    detection : Detection
    candidate : Candidate
    explanation : Explanation
        What was expected there, profiles, similar healthy people.
    attribution : Attribution
        Which voxels and which latent directions the score comes from.
    effects : dict of int to Volume
        By direction, from 0: what it does between -2 and +2 SD, model units, on the scan's grid.
    """

    detection: Detection
    candidate: Candidate
    explanation: Explanation
    attribution: Attribution
    effects: dict[int, Volume]

    def sentences(self) -> list[str]:
        """Return the essence, for people."""
        return [self.explanation.sentence(), self.attribution.sentence()]

    def record(self) -> dict[str, Any]:
        """Return all figures, JSON-ready."""
        made = self.attribution.record()
        files = {self._file(d): f"direction {d + 1}, model units" for d in self.effects}
        return {
            "format": FORMAT,
            **{key: made.pop(key) for key in list(self.attribution.made)},
            "place": self.detection.place_of(self.candidate),
            "sentences": self.sentences(),
            "explanation": self.explanation.record(),
            "attribution": made,
            "effects": files,
        }

    def picture(self) -> Picture:
        """Return three planes: scan, pseudo-healthy, attribution, its part through the expectation.

        The candidate is outlined.
        """
        shown = Shown.of(self.detection, TILE_PX)
        shown = replace(shown, frame=shown.frame.square())
        place = np.array(self.candidate.centroid_mm)
        maps = [self.attribution.on_scan, self.attribution.through_on_scan]
        limits = [signed_limit(m.data) for m in maps]
        rows = []
        for view in VIEWS:
            points = shown.frame.plane(view, float(place[view.normal]))
            scan, healthy, _ = shown.row(view, place, self.candidate.label)
            labels = np.rint(sample(shown.labels, points, order=0)).astype(int)
            edge = outline(labels == self.candidate.label)
            panels = [scan.copy(), healthy]
            panels[0][edge] = MARKED
            for volume, limit in zip(maps, limits, strict=True):
                over = overlaid(scan, sample(volume, points), limit)
                over[edge] = MARKED
                panels.append(over)
            rows.append(beside([marked(p, shown.frame, view, place, ticks=True) for p in panels]))
        titles = (
            "scan", "pseudo-healthy", f"attribution, ±{limits[0]:.2g} SD/ml",
            f"through expectation, ±{limits[1]:.2g}",
        )  # fmt: skip
        width = rows[0].shape[1] / len(titles)
        return framed(stack(rows), [((n + 0.5) * width, t) for n, t in enumerate(titles)])

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``explain.json``, ``explain.png`` and the maps (``.nii.gz``) into a folder.

        ``attribution`` and ``attribution_through_expectation`` in SD of healthy per ml,
        ``effect_latent-NNN`` of the directions that are named, all on the scan's grid. The
        folder appears whole or not at all.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        volumes = {
            "attribution.nii.gz": self.attribution.on_scan,
            "attribution_through_expectation.nii.gz": self.attribution.through_on_scan,
            **{self._file(d): volume for d, volume in self.effects.items()},
        }
        with whole_folder(target, MARKER) as fresh:
            for name, volume in volumes.items():
                write_volume(fresh / name, volume, like=self.detection.scan)
            (fresh / "explain.png").write_bytes(png_bytes(self.picture()))
            (fresh / MARKER).write_bytes(json_bytes(self.record()))
        return sorted(target.iterdir())

    @staticmethod
    def _file(direction: int) -> str:
        return f"effect_latent-{direction + 1:03d}.nii.gz"


def report_candidate(
    model: NormativeModel,
    detection: Detection,
    rank: int = 1,
    *,
    directions: int = 5,
    neighbours: int = 5,
    threshold_z: float | None = None,
    device: str = "auto",
) -> CandidateReport:
    """Say all that can be said about why a place is a candidate.

    Parameters
    ----------
    model : NormativeModel
        The one that made the detection.
    detection : Detection
        Fresh from the model.
    rank : int
        Of the candidate; 1 is the strongest.
    directions, neighbours : int
        At most so many.
    threshold_z : float, optional
        Form candidates at this instead of the model's own.
    device : str

    Raises
    ------
    ExplanationError
        ``WHY-001`` when there is no candidate of that rank.
    ValueError
        When detection and model do not belong together.
    """
    space = require_together(model, detection)
    if threshold_z is not None:
        labels, found = recount(model, detection, threshold_z)
        detection = replace(
            detection, candidate_labels=labels, candidates=found, threshold_z=threshold_z
        )
    chosen = [c for c in detection.candidates if c.rank == rank]
    if not chosen:
        raise ExplanationError(
            "WHY-001",
            f"there is no candidate {rank}: the scan has {len(detection.candidates)} at "
            f"|z| above {detection.threshold_z:g}",
            "Choose another, or a lower threshold with --threshold.",
            subject=detection.scan.source.name,
        )
    attribution = attribute(model, detection, chosen[0], directions=directions, device=device)
    used = attribution.made["device"]
    explanation = explain(
        model, detection, chosen[0], directions=directions, neighbours=neighbours, device=used
    )
    effects: dict[int, Volume] = {}
    if attribution.account is not None and attribution.account.directions:
        named = {c.index for c in attribution.account.directions}
        inside = scored_mask(space.prepared, model.card.preprocess, detection.scan)
        for direction in directions_of_model(model, device=used):
            if direction.index in named:
                change = effect(model, direction, device=used).data
                laid = restore(
                    change, space.prepared, model.card.preprocess, detection.scan, units="model"
                )
                effects[direction.index] = detection.scan.with_data(
                    np.where(inside, laid, 0), is_label=False
                )
    return CandidateReport(detection, chosen[0], explanation, attribution, effects)
