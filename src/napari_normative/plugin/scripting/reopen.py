"""A saved session in a viewer again: first everything is checked, then it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_normative.errors import SessionError
from napari_normative.io.session_file import (
    CameraRecord,
    DetectionRecord,
    DrawRecord,
    FillRecord,
    ResultRecord,
    SessionRecord,
    ViewRecord,
)
from napari_normative.layers.spec import (
    ABS_Z,
    ANOMALY_Z,
    CANDIDATES,
    LOCAL_VOLUME,
    MASK,
    RECONSTRUCTION,
    RESIDUAL,
    facts_of,
)
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.scripting.checking import Material, Read
from napari_normative.plugin.scripting.results import (
    difference,
    results_of_detection,
    results_of_draws,
    results_of_inpainted,
)

if TYPE_CHECKING:
    from napari_normative.plugin.scripting.session import ScriptedSession

FLAGS = {
    RECONSTRUCTION: "reconstruction",
    RESIDUAL: "residual",
    ANOMALY_Z: "anomaly_z",
    ABS_Z: "abs_z",
    CANDIDATES: "candidates",
    LOCAL_VOLUME: "local_volume",
    MASK: "scored_mask",
}
"""Which field of the dock's state makes the layer of a role."""


@dataclass(frozen=True)
class Again:
    """How one run compares with the saved one.

    Attributes
    ----------
    what : str
        Such as ``detection of sub-07_T1w``.
    equal : bool
        Every value is the same.
    difference : str
        What differs beyond the stated tolerance; empty when nothing does.
    """

    what: str
    equal: bool
    difference: str

    def __str__(self) -> str:
        if self.equal:
            return f"{self.what}: equal in every value"
        if not self.difference:
            return f"{self.what}: the same within rounding (another device or version)"
        return f"{self.what}: {self.difference}"


@dataclass(frozen=True)
class Reopened:
    """What became of the runs of a saved session.

    Attributes
    ----------
    runs : tuple of Again
    notes : tuple of str
        What could not be brought back as it was.
    """

    runs: tuple[Again, ...]
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every run brought the same values."""
        return all(run.equal for run in self.runs)

    @property
    def differs(self) -> bool:
        """Whether a run brought something else, beyond rounding."""
        return any(run.difference for run in self.runs)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.runs), *self.notes])


def reopen(session: ScriptedSession, read: Read, material: Material | None = None) -> Reopened:
    """Show a saved session in a viewer without layers, and do its runs again.

    If anything fails, the viewer is empty again.

    Parameters
    ----------
    session : ScriptedSession
    read : Read
    material : Material, optional
        What it brought, if it was done before.

    Raises
    ------
    SessionError
        ``SES-034`` if the viewer has layers; what is missing or changed.
    """
    if len(session.viewer.layers):
        raise SessionError(
            "SES-034",
            "the window has layers already",
            "Close them, or open the session in a new window.",
            subject=read.path.name,
            consequence="The session was not opened.",
        )
    found = session.work("Open the session", read) if material is None else material
    try:
        return _Opening(session, read.record, found).run()
    except BaseException:
        session.clear()
        raise


class _Opening:
    """Shows what was read, step by step; on the main thread."""

    def __init__(self, session: ScriptedSession, record: SessionRecord, material: Material) -> None:
        self._session, self._record, self._material = session, record, material
        self._scans: dict[str, Any] = {}
        self._places: dict[tuple[str, str], Any] = {}
        """Layers by scan id and role."""
        self._notes: list[str] = []

    def run(self) -> Reopened:
        from napari.layers import Layer

        session, record = self._session, self._record
        session.convention(record.view.convention)
        for name, (data, attributes, kind) in self._material.layers.items():
            layer = session.viewer.add_layer(Layer.create(data, attributes, kind))
            self._scans[name] = layer
            self._places[name, _role(layer)] = layer
        runs = [self._detect(run) for run in record.detections]
        if record.draw is not None:
            runs.append(self._draw(record.draw))
        runs += [self._fill(run) for run in record.fills]
        if record.model is not None:
            session.context.models.take(self._material.models[record.model.sha256])
        if record.view.scan is not None:
            session.choose(self._scans[record.view.scan])
            session.window()  # once the scan was measured, nothing sets its window again
        self._restore_looks()
        self._restore_view(record.view)
        if self._material.review is not None:
            session.review(self._material.review)
        return Reopened(tuple(runs), tuple(self._notes))

    # ---- runs

    def _detect(self, run: DetectionRecord) -> Again:
        session, scan = self._session, self._scans[run.scan]
        state = session.controller(AnomalyController).state
        for role, flag in FLAGS.items():
            setattr(state, flag, role in run.shown)
        found = session.detect(
            scan,
            model=self._material.models[run.model.sha256],
            mask=None if run.mask is None else self._scans[run.mask],
            given=run.given,
            volume=run.volume,
            device=_device(run.device),
            samples=run.samples,
            seed=run.seed,
            force=run.force,
            local_volume=run.local_volume,
        )
        if run.threshold_z is not None:
            session.threshold(run.threshold_z)
        for role, layer in session.layers.items():
            self._places[run.scan, role] = layer
        return self._compare(
            f"detection of {scan.name}", run, results_of_detection(found),
            found.provenance["device"],
        )  # fmt: skip

    def _draw(self, run: DrawRecord) -> Again:
        session = self._session
        scans = [self._scans[name] for name in run.scans]
        made = session.sample(
            run.count,
            about=scans[0] if scans else None,
            to=scans[1] if len(scans) > 1 else None,
            given=run.given,
            seed=run.seed,
            temperature=run.temperature,
            model=self._material.models[run.model.sha256],
            device=_device(run.device),
        )
        for layer in session.controller(SamplesController).layers:
            self._places[run.scans[0] if run.scans else "", _role(layer)] = layer
        return self._compare("samples", run, results_of_draws(made), made.record["device"])

    def _fill(self, run: FillRecord) -> Again:
        session, scan = self._session, self._scans[run.scan]
        made = session.fill(
            scan,
            missing=None if run.mask is None else self._scans[run.mask],
            slices=run.slices,
            model=self._material.models[run.model.sha256],
            device=_device(run.device),
        )
        for kept in session.controller(RestoreController).kept:
            if kept.result is made:
                for layer in kept.present(session.viewer):
                    self._places[run.scan, _role(layer)] = layer
        now = results_of_inpainted(made)
        return self._compare(f"{scan.name}, filled", run, now, made.record["device"])

    def _compare(
        self,
        what: str,
        run: DetectionRecord | DrawRecord | FillRecord,
        now: ResultRecord,
        device: str,
    ) -> Again:
        if device != run.device:
            self._notes.append(f"{what}: made on {device}, before on {run.device}.")
        before = run.results
        return Again(what, before.sha256 == now.sha256, difference(before, now))

    # ---- the view

    def _restore_looks(self) -> None:
        from napari.utils.colormaps import AVAILABLE_COLORMAPS

        layers = self._session.viewer.layers
        for look in self._record.looks:
            layer = self._places.get((look.scan, look.role))
            if layer is None:
                self._notes.append(f"The layer {look.role!r} was not made again.")
                continue
            layers.move(layers.index(layer), len(layers))  # one after another they are in order
            layer.visible, layer.opacity = look.visible, look.opacity
            if look.contour is not None:
                layer.contour = look.contour
            if look.contrast_limits is not None:
                layer.contrast_limits = look.contrast_limits
            if look.gamma is not None:
                layer.gamma = look.gamma
            if look.colormap is not None and look.colormap != str(layer.colormap.name):
                if look.colormap in AVAILABLE_COLORMAPS:
                    layer.colormap = look.colormap
                else:
                    self._notes.append(f"{layer.name}: there is no colormap {look.colormap!r}.")

    def _restore_view(self, view: ViewRecord) -> None:
        session, viewer = self._session, self._session.viewer
        if view.layout:
            session.layout(view.layout)
        session.mark(letters=view.letters, crosshair=view.crosshair)
        if view.overlay_hidden:
            session.overlay(visible=False)
        if view.compare:
            session.compare(view.compare, position=view.swipe)
        if viewer.dims.ndim == 4:
            viewer.dims.set_current_step(0, view.volume)
        if view.position_mm is not None:
            session.go_to(view.position_mm)
        if view.in_3d:
            viewer.dims.ndisplay = 3
        session.settle()
        _look_from(viewer, view.camera)
        panes = session.controller(LayoutController).board.models
        solid = next((model for model in panes if model.dims.ndisplay == 3), None)
        if solid is not None and view.camera_3d is not None:
            _look_from(solid, view.camera_3d)


def _role(layer: Any) -> str:
    facts = facts_of(layer)
    return "" if facts is None else facts.role


def _device(before: str) -> str:
    """Return where to run again: on the CPU if it ran there, else wherever is best here."""
    return before if before == "cpu" else "auto"


def _look_from(viewer: Any, record: CameraRecord) -> None:
    camera = viewer.scene.camera
    camera.center, camera.zoom, camera.angles = record.center, record.zoom, record.angles
