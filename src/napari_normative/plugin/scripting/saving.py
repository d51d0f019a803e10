"""Digesting what was gathered from a viewer, and writing it as a session file; in a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.errors import NormativeError, SessionError
from napari_normative.io.nifti import read_series
from napari_normative.io.session_file import (
    DetectionRecord,
    DrawRecord,
    FillRecord,
    ModelRecord,
    SessionRecord,
    located,
    reference,
    write_session,
)
from napari_normative.plugin.scripting.results import (
    results_of_detection,
    results_of_draws,
    results_of_inpainted,
)

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.plugin.jobs import Cancelled, Progress
    from napari_normative.volume import Volume

_VOLUME = re.compile(r" \(volume (\d+)\)$")
"""How the name of one volume of a series ends."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """A detection and how it is shown.

    Attributes
    ----------
    detection : Detection
    scan : str
        Id in the session.
    mask : str or None
        Id of the labels that were its mask.
    shown : tuple of str
        Roles of its layers.
    threshold_z : float or None
        Of the candidates, where it is not the model's.
    """

    detection: Detection
    scan: str
    mask: str | None
    shown: tuple[str, ...]
    threshold_z: float | None


@dataclass(frozen=True, eq=False)
class GatheredFill:
    """A filled scan: what was made, and the ids of scan and mask in the session."""

    made: Inpainted
    scan: str
    mask: str | None


@dataclass(frozen=True, eq=False)
class Save:
    """Digest what was gathered, and write it; in a job.

    Attributes
    ----------
    path : Path
    record : SessionRecord
        Without runs.
    volumes : tuple of tuples of Volume
        What the layers of its scans show.
    detections : tuple of Gathered
    draws : Draws or None
    drawn_of : tuple of str
        Scan ids of the draw.
    fills : tuple of GatheredFill
    models : tuple of (key, name, packaged)
        Where models may be found; the chosen one first.
    """

    path: Path
    record: SessionRecord
    volumes: tuple[tuple[Volume, ...], ...]
    detections: tuple[Gathered, ...]
    draws: Draws | None
    drawn_of: tuple[str, ...]
    fills: tuple[GatheredFill, ...]
    models: tuple[tuple[str, str, bool], ...]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> SessionRecord:
        """Do it."""
        self._check_files()
        places = _ModelPlaces(self.models, self.path)
        record = self.record.model_copy(
            update={
                "model": places.chosen(),
                "detections": tuple(self._detection(places, each) for each in self.detections),
                "draw": self._draw(places),
                "fills": tuple(self._fill(places, each) for each in self.fills),
            }
        )
        # Once through the schema, so that nothing is written that could not be read.
        record = SessionRecord.model_validate(record.model_dump())
        write_session(self.path, record)
        return record

    def _check_files(self) -> None:
        """Refuse a layer whose values are not those of its file: they would be lost."""
        for scan, volumes in zip(self.record.scans, self.volumes, strict=True):
            place = located(scan.path, self.path)
            try:
                series = read_series(place, trust=scan.trust, any_size=scan.any_size)
            except NormativeError:
                same = False
            else:
                same = series.first.source.digest == scan.sha256 and all(
                    volume.same_grid(series.first)
                    and np.array_equal(volume.data, series.data[..., number])
                    for number, volume in enumerate(volumes)
                )
            if not same:
                raise SessionError(
                    "SES-023",
                    "the file is gone, or holds something else than the layer",
                    "Save the layer to a file, open that file and repeat the detection.",
                    subject=place.name,
                    consequence="The session was not saved.",
                )

    def _detection(self, places: _ModelPlaces, one: Gathered) -> DetectionRecord:
        told = one.detection.provenance
        part = _VOLUME.search(one.detection.scan.source.name)
        return DetectionRecord(
            scan=one.scan,
            given=told.get("given", {}),
            volume=int(part[1]) - 1 if part else None,
            mask=one.mask,
            model=places.of(told["model"]["sha256"], told["model"]["name"]),
            samples=told["parameters"]["samples"],
            seed=told["seed"],
            force=told["parameters"]["force"],
            local_volume=told["parameters"]["local_volume"],
            device=told["device"],
            shown=one.shown,
            threshold_z=one.threshold_z,
            results=results_of_detection(one.detection),
        )

    def _fill(self, places: _ModelPlaces, one: GatheredFill) -> FillRecord:
        told = one.made.record
        return FillRecord(
            scan=one.scan,
            mask=one.mask,
            slices=tuple(told["slices"]),
            model=places.of(told["model_sha256"], told["model"]),
            device=told["device"],
            results=results_of_inpainted(one.made),
        )

    def _draw(self, places: _ModelPlaces) -> DrawRecord | None:
        if self.draws is None:
            return None
        told = self.draws.record
        return DrawRecord(
            kind=told["kind"],
            scans=self.drawn_of,
            given=told.get("given", {}),
            model=places.of(told["model_sha256"], told["model"]),
            count=told["count"],
            seed=told.get("seed", 0),
            temperature=told.get("temperature", 1.0),
            device=told["device"],
            results=results_of_draws(self.draws),
        )


class _ModelPlaces:
    """Where the models of runs lie."""

    def __init__(self, models: Sequence[tuple[str, str, bool]], session: Path) -> None:
        self._models, self._session = models, session
        self._digests: dict[str, str] = {}

    def of(self, digest: str, name: str) -> ModelRecord:
        """Return the record of the model with a digest."""
        for key, label, packaged in self._models:
            if self._digest(key) == digest:
                place = None if packaged else reference(Path(key), self._session)
                return ModelRecord(name=label if packaged else name, sha256=digest, path=place)
        raise SessionError(
            "SES-022",
            f"the model {name}, which made what is shown, is in no file on the list of models",
            "Save the model to a file, choose that file and run it again.",
            consequence="The session was not saved.",
        )

    def chosen(self) -> ModelRecord | None:
        """Return the record of the chosen model."""
        if not self._models:
            return None
        key, label, _ = self._models[0]
        return self.of(self._digest(key), label)

    def _digest(self, key: str) -> str:
        from napari_normative.io.checkpoint import load_model_file

        if key not in self._digests:
            self._digests[key] = load_model_file(Path(key))[2]
        return self._digests[key]
