"""Finding, reading and checking everything that a saved session names; in a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import SessionError
from napari_normative.io.names import file_digest
from napari_normative.io.session_file import (
    DetectionRecord,
    DrawRecord,
    FillRecord,
    ModelRecord,
    ScanRecord,
    SessionRecord,
    located,
)
from napari_normative.plugin.files import open_file

if TYPE_CHECKING:
    from napari_normative.layers.spec import LayerTuple
    from napari_normative.plugin.jobs import Cancelled, Progress


@dataclass(frozen=True, eq=False)
class Material:
    """What a session needs, read and checked.

    Attributes
    ----------
    layers : dict of LayerTuple
        By the id of the scan.
    models : dict of str
        Key (path) by digest in the session.
    review : Path or None
    """

    layers: dict[str, LayerTuple]
    models: dict[str, str]
    review: Path | None


@dataclass(frozen=True, eq=False)
class Read:
    """Find, read and check all files of a session; in a job."""

    path: Path
    record: SessionRecord
    search: tuple[Path, ...]
    any_model: bool

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Material:
        """Do it."""
        record = self.record
        layers = {scan.id: self._scan(scan) for scan in record.scans}
        runs: list[DetectionRecord | DrawRecord | FillRecord] = [*record.detections, *record.fills]
        runs += [] if record.draw is None else [record.draw]
        wanted = [run.model for run in runs] + ([] if record.model is None else [record.model])
        models = {model.sha256: self._model(model) for model in wanted}
        return Material(layers, models, self._review())

    def _scan(self, scan: ScanRecord) -> LayerTuple:
        place = self._find(scan.path, lambda found: file_digest(found) == scan.sha256)
        if file_digest(place) != scan.sha256:
            raise SessionError(
                "SES-031",
                "the file is not the one that the session was saved with",
                "Put the former file back, or name a folder that has it with search=.",
                subject=place.name,
                consequence="The session was not opened.",
            )
        answers: dict[str, Any] = {} if scan.trust is None else {"trust": scan.trust}
        answers |= {"any_size": True} if scan.any_size else {}
        (layer,) = open_file(str(place), labels=scan.kind == "labels", **answers)
        return layer

    def _model(self, model: ModelRecord) -> str:
        from napari_normative.engine.model import available_models
        from napari_normative.io.checkpoint import load_model_file

        packaged = {entry.name: entry.path for entry in available_models()}
        if model.path is not None:
            place = self._find(model.path, lambda found: load_model_file(found)[2] == model.sha256)
        elif model.name in packaged:
            place = packaged[model.name]
        else:
            raise self._missing(f"the model {model.name}", "Install the version that had it.")
        if load_model_file(place)[2] != model.sha256 and not self.any_model:
            raise SessionError(
                "SES-032",
                f"the model {model.name} is not the one that the session was saved with",
                "Put the former file back, or open it with any_model=True: results will differ.",
                subject=self.path.name,
                consequence="The session was not opened.",
            )
        return str(place)

    def _review(self) -> Path | None:
        from napari_normative.review.store import Store

        wanted = self.record.review
        if wanted is None:
            return None

        def fits(path: Path) -> bool:
            with Store.open(path, read_only=True) as store:
                return store.project.id == wanted.project

        place = self._find(wanted.path, fits)
        if not fits(place):
            raise SessionError(
                "SES-033",
                "the review is of another project than when the session was saved",
                "Put the former file back.",
                subject=place.name,
                consequence="The session was not opened.",
            )
        return place

    def _find(self, stored: str, fits: Callable[[Path], bool]) -> Path:
        """Return where a file is: at its place, else the one in the other folders that fits."""
        place = located(stored, self.path)
        if place.is_file():
            return place
        elsewhere = [folder / place.name for folder in self.search]
        found = next((path for path in elsewhere if path.is_file() and fits(path)), None)
        if found is None:
            remedy = "Put it back, or name the folder that it is in now with search=."
            raise self._missing(place.name, remedy)
        return found

    def _missing(self, what: str, remedy: str) -> SessionError:
        return SessionError(
            "SES-030",
            f"{what} is not there",
            remedy,
            subject=self.path.name,
            consequence="The session was not opened.",
        )
