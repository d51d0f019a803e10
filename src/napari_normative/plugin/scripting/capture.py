"""What a viewer shows, as a session that can be saved: everything by reference."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import GeometryMismatchError, SessionError
from napari_normative.io.session_file import (
    CameraRecord,
    LookRecord,
    ReviewRecord,
    ScanRecord,
    SessionRecord,
    ViewRecord,
    reference,
)
from napari_normative.layers.sources import mask_on, snapshot
from napari_normative.layers.spec import LABELS, SCAN, facts_of, is_edited, origin_of
from napari_normative.plugin.compare import COMPARISON
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.detections import belongs
from napari_normative.plugin.scripting.saving import Gathered, GatheredFill, Save

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_normative.engine.detection import Detection
    from napari_normative.engine.draws import Draws
    from napari_normative.plugin.scripting.session import ScriptedSession
    from napari_normative.volume import Volume


def gather(session: ScriptedSession, path: Path, leave_out: Collection[str]) -> Save:
    """Look at everything a viewer shows; on the main thread.

    Raises
    ------
    SessionError
        ``SES-020`` if a layer would be lost, ``SES-021`` if a scan is not as in a file.
    """
    return _Gatherer(session, path, leave_out).work()


def lost_layers(session: ScriptedSession, path: Path) -> tuple[str, ...]:
    """Return the names of the layers that a saved session could not bring back."""
    gatherer = _Gatherer(session, path, ())
    gatherer.look()
    return tuple(gatherer.lost())


class _Gatherer:
    def __init__(self, session: ScriptedSession, path: Path, leave_out: Collection[str]) -> None:
        self._session, self._path = session, path
        self._context = session.context
        self._layers = [layer for layer in session.viewer.layers if layer.name not in leave_out]
        self._scans: dict[Layer, ScanRecord] = {}
        self._covered: dict[Layer, str] = {}
        """Scan id of each layer that the session brings back."""
        self._review_of: ReviewRecord | None = None
        self._detections: tuple[Gathered, ...] = ()
        self._fills: tuple[GatheredFill, ...] = ()
        self._draw: tuple[Draws | None, tuple[str, ...]] = (None, ())

    def look(self) -> None:
        """Find what every layer comes from."""
        self._review_of = self._review()
        self._find_scans()
        self._detections = tuple(
            found
            for detection in self._context.detections.values()
            if (found := self._detection(detection)) is not None
        )
        self._draw = self._draws()
        self._fills = tuple(self._filled())

    def lost(self) -> list[str]:
        """Return the names of the layers that come from nothing that can be named."""
        return [
            layer.name
            for layer in self._layers
            if layer not in self._covered
            and ((facts := facts_of(layer)) is None or facts.role != COMPARISON)
        ]

    def work(self) -> Save:
        """Return what is to be digested and written."""
        from napari_normative.engine.infer import versions

        self.look()
        self._refuse_what_would_be_lost()
        record = SessionRecord(
            created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions=versions(),
            scans=tuple(self._scans.values()),
            looks=tuple(
                self._look(layer, self._covered[layer])
                for layer in self._layers
                if layer in self._covered
            ),
            view=self._view(),
            review=self._review_of,
        )
        volumes = tuple(facts_of(layer).volumes for layer in self._scans)  # type: ignore[union-attr]
        runs = (self._detections, *self._draw, self._fills)
        return Save(self._path, record, volumes, *runs, self._models())

    # ---- layers

    def _review(self) -> ReviewRecord | None:
        made = self._context.controllers.get(ReviewController)
        if made is None or made.book is None:
            return None
        own = set(made.desk.layers)
        self._layers = [layer for layer in self._layers if layer not in own]
        store = made.book.store
        return ReviewRecord(path=reference(store.path, self._path), project=store.project.id)

    def _find_scans(self) -> None:
        for layer in self._layers:
            facts = facts_of(layer)
            if facts is None or facts.role not in {SCAN, LABELS}:
                continue
            source = facts.volumes[0].source
            if source.path is None or is_edited(layer) or snapshot(layer).moved:
                raise SessionError(
                    "SES-021",
                    "the layer is not as it is in a file: it was changed, or never saved",
                    "Save it to a file, open that file, remove this layer, and save again.",
                    subject=layer.name,
                    consequence="The session was not saved: it would be lost.",
                )
            told = facts.provenance.get("read", {})
            name = f"scan-{len(self._scans) + 1}"
            self._covered[layer] = name
            self._scans[layer] = ScanRecord(
                id=name,
                path=reference(source.path, self._path),
                sha256=source.digest,
                kind="scan" if facts.role == SCAN else "labels",
                trust=told.get("trust"),
                any_size=bool(told.get("any_size", False)),
            )

    def _detection(self, found: Detection) -> Gathered | None:
        origin, context = origin_of(found.scan), self._context
        scan = next((s for s in self._scans if belongs(origin, facts_of(s).origin)), None)  # type: ignore[union-attr]
        if scan is None:
            return None
        shown: dict[str, Layer] = {}
        for layer in self._layers:
            facts = facts_of(layer)
            if facts is None or facts.origin != origin or layer in self._scans:
                continue
            if facts.role == COMPARISON:
                continue
            if facts.provenance.get("created_utc") == found.provenance["created_utc"]:
                shown[facts.role] = layer
        edited = [layer for layer in shown.values() if is_edited(layer)]
        self._covered |= {s: self._scans[scan].id for s in shown.values() if s not in edited}
        threshold = context.detections.shown(found).threshold_z
        own = abs(threshold - found.threshold_z) < 1e-6
        return Gathered(
            found,
            self._scans[scan].id,
            self._mask_of(found.provenance["mask_sha256"], found.scan),
            tuple(shown),
            None if own else round(float(threshold), 3),
        )

    def _mask_of(self, digest: str | None, scan: Volume) -> str | None:
        if digest is None:
            return None
        for layer, record in self._scans.items():
            if record.kind == "labels" and digest in _mask_digests(layer, scan):
                return record.id
        raise SessionError(
            "SES-024",
            "a mask that was used is not among the layers that were opened from files",
            "Save the mask to a file, open it, and use it once more in its place.",
            subject=scan.source.name,
            consequence="The session was not saved.",
        )

    def _draws(self) -> tuple[Draws | None, tuple[str, ...]]:
        made = self._context.controllers.get(SamplesController)
        draws = None if made is None else made.made
        if made is None or draws is None:
            return None, ()
        names = []
        for told in draws.record.get("scans", []):
            scan = next((r for r in self._scans.values() if r.sha256 == told["sha256"]), None)
            if scan is None:
                return None, ()  # its layers are then said to be lost
            names.append(scan.id)
        drawn = [layer for layer in made.layers if layer in self._layers]
        self._covered |= dict.fromkeys(drawn, names[0] if names else "")
        return draws, tuple(names)

    def _filled(self) -> Iterator[GatheredFill]:
        from napari_normative.engine.inpaint import Inpainted

        made = self._context.controllers.get(RestoreController)
        for kept in () if made is None else made.kept:
            if not isinstance(kept.result, Inpainted):
                continue  # its layers are then said to be lost
            told = kept.result.record
            digest, like = told["scan"]["sha256"], kept.result.filled.like
            scan = next((r for r in self._scans.values() if r.sha256 == digest), None)
            shown = [layer for layer in kept.present(self._session.viewer) if layer in self._layers]
            if scan is None or like is None or not shown:
                continue  # its layers are then said to be lost
            self._covered |= {layer: scan.id for layer in shown if not is_edited(layer)}
            mask = self._mask_of(told["mask_sha256"], like)
            yield GatheredFill(kept.result, scan.id, mask)

    def _refuse_what_would_be_lost(self) -> None:
        lost = self.lost()
        if lost:
            raise SessionError(
                "SES-020",
                f"a session cannot bring back {', '.join(lost)}",
                "Save these layers to files and remove them, or leave them out (leave_out=).",
                consequence="The session was not saved: they would be lost.",
            )

    # ---- the rest

    def _view(self) -> ViewRecord:
        session, viewer = self._session, self._session.viewer
        controller = session.controller(LayoutController)
        layout = controller.state
        reading = self._context.controllers.get(ReadingController)
        chosen = self._scans.get(session.scan) if session.scan is not None else None
        solid = next((m for m in controller.board.models if m.dims.ndisplay == 3), None)
        return ViewRecord(
            layout=layout.layout,
            convention=session.convention(),
            letters=layout.letters,
            crosshair=layout.crosshair,
            in_3d=viewer.dims.ndisplay == 3,
            position_mm=session.position_mm,
            camera=_camera(viewer),
            camera_3d=None if solid is None else _camera(solid),
            scan=None if chosen is None else chosen.id,
            overlay_hidden=reading is not None and reading.state.hidden,
            compare="" if reading is None else reading.state.compare,
            volume=int(viewer.dims.current_step[0]) if viewer.dims.ndim == 4 else 0,
            swipe=0.5 if reading is None else reading.state.swipe,
        )

    def _look(self, layer: Any, scan: str) -> LookRecord:
        facts = facts_of(layer)
        assert facts is not None
        image = hasattr(layer, "contrast_limits")
        low, high = layer.contrast_limits if image else (0.0, 0.0)
        return LookRecord(
            scan=scan,
            role=facts.role,
            visible=self._visible(layer),
            opacity=float(layer.opacity),
            contrast_limits=(float(low), float(high)) if image else None,
            gamma=float(layer.gamma) if image else None,
            colormap=str(layer.colormap.name) if image else None,
            contour=None if image else int(layer.contour),
        )

    def _visible(self, layer: Any) -> bool:
        """Whether a layer is seen, whatever layout and keys show instead for a while."""
        reading = self._context.controllers.get(ReadingController)
        if reading is not None and reading.overlay.is_hidden(layer):
            return True
        return self._session.controller(LayoutController).visible_in_planes(layer)

    def _models(self) -> tuple[tuple[str, str, bool], ...]:
        from napari_normative.engine.model import available_models

        packaged = {str(entry.path) for entry in available_models()}
        state = self._context.models.state
        listed = sorted(state.models, key=lambda choice: choice.key != state.model)
        return tuple((each.key, each.label, each.key in packaged) for each in listed)


def _mask_digests(layer: Layer, scan: Volume) -> set[str]:
    """Return the digests that labels would have had as the mask of a scan."""
    facts = facts_of(layer)
    assert facts is not None
    try:
        drawn = mask_on(snapshot(layer), scan).source.digest
    except GeometryMismatchError:
        drawn = ""
    return {drawn, facts.volumes[0].source.digest}


def _camera(viewer: Any) -> CameraRecord:
    camera = viewer.scene.camera
    center = tuple(float(mm) for mm in camera.center)
    angles = tuple(float(degrees) for degrees in camera.angles)
    return CameraRecord(center=center, zoom=float(camera.zoom), angles=angles)
