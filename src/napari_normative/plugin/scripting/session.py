"""A session that a script drives: what a person does by mouse, by method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeGuard

from napari_normative.engine.scans import as_volume
from napari_normative.errors import SessionError
from napari_normative.layers.spec import LABELS, SCAN, facts_of, spec_of
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import C, JobController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.detections import belongs
from napari_normative.plugin.files import open_file
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.scripting.waiting import run_work, wait_for
from napari_normative.plugin.session import session_for
from napari_normative.plugin.settings import PLUGIN
from napari_normative.plugin.state.layout import CONVENTION_CHOICES, PANE_CHOICES, PLANE_CHOICES
from napari_normative.plugin.state.reading import CHECKERBOARD, FLICKER, SWIPE
from napari_normative.plugin.state.samples import INTERPOLATION, POSTERIOR, PRIOR
from napari_normative.plugin.viewing import is_open, main_window

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.scans import ScanLike
    from napari_normative.plugin.scripting.review import ScriptedReview
    from napari_normative.plugin.state.candidates import Why

LAYOUTS = tuple(choice.key for choice in (*PLANE_CHOICES, *PANE_CHOICES))
CONVENTIONS = tuple(choice.key for choice in CONVENTION_CHOICES)
COMPARISONS = (FLICKER, CHECKERBOARD, SWIPE)
SIZE_PX = (1600, 1000)


class Roles(dict[str, "Layer"]):
    """Layers of a scan by role, such as ``scan``, ``reconstruction``, ``anomaly z``."""

    def __missing__(self, role: str) -> Layer:
        """Say which roles there are."""
        raise SessionError(
            "SES-002",
            f"the scan has no layer with the role {role!r}",
            f"Roles that there are: {', '.join(self) or 'none'}.",
        )


class ScriptedSession:
    """A viewer that a script drives; see :func:`open_session`.

    Every method does what the docks do when a person presses something, through the same
    controllers, and returns when it is done. Whatever a dock would say in words is raised as
    a NormativeError. Use it from the main thread.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    owned : bool
        Whether :meth:`close` closes the window.
    timeout_s : float
        Longest time that one step may take.

    Attributes
    ----------
    viewer : napari Viewer or ViewerModel
    """

    def __init__(
        self, viewer: ViewerModel, *, owned: bool = False, timeout_s: float = 600.0
    ) -> None:
        self.viewer = viewer
        self._owned, self._timeout_s = owned, timeout_s
        self._session = session_for(viewer)
        self._session.view.prepare()
        self._review: ScriptedReview | None = None
        context = self._session.context
        self._anomaly = context.get(AnomalyController)
        self._layout = context.get(LayoutController)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- scans and results

    def open(self, scan: ScanLike, **answers: Any) -> Layer:
        """Open a scan and choose it; what follows is about it.

        Parameters
        ----------
        scan : path, Volume, nibabel image, or (array, affine)
            A series of volumes gets a leading axis; :meth:`detect` then needs ``volume``.
        **answers
            To questions about doubtful headers: ``trust="sform"`` or ``"qform"``,
            ``any_size=True``.

        Returns
        -------
        napari Layer
            An image, or labels for a file of labels.
        """
        if isinstance(scan, str | Path):
            from napari.layers import Layer as AnyLayer

            title = f"Open {Path(scan).name}"
            ((data, attributes, kind),) = self._work(
                title, lambda progress, cancelled: open_file(str(scan), **answers)
            )
            layer: Layer = self.viewer.add_layer(AnyLayer.create(data, attributes, kind))
        else:
            volume = as_volume(scan)
            role, looks = (LABELS, {}) if volume.source.is_label else (SCAN, {"colormap": "gray"})
            layer = add_spec(self.viewer, spec_of([volume], volume.source.name, role, **looks))
        self.choose(layer)
        return layer

    def choose(self, layer: Layer) -> None:
        """Make an image layer the scan that everything is about."""
        if self._anomaly.choose(layer):
            self.controller(ReadingController).state.scan = self._anomaly.state.scan

    @property
    def scan(self) -> Layer | None:
        """The layer of the chosen scan; None before one is open."""
        scans = self._session.context.scans
        return scans.layer(self._anomaly.state.scan) if self._anomaly.state.scan else None

    @property
    def layers(self) -> Roles:
        """The layers of the chosen scan by role; of several with one role, the newest."""
        scan = self.scan
        if scan is None:
            return Roles()
        facts = facts_of(scan)
        found = Roles({SCAN: scan})
        for layer in self.viewer.layers:
            own = facts_of(layer)
            if facts is not None and own is not None and belongs(own.origin, facts.origin):
                found[own.role] = layer
        return found

    @property
    def detection(self) -> Detection | None:
        """What was last found in the chosen scan; None before :meth:`detect`."""
        facts = None if self.scan is None else facts_of(self.scan)
        origin = "" if facts is None else facts.origin
        return self._session.context.detections.of_layer(self._anomaly.state.scan, origin)

    def detect(
        self,
        scan: ScanLike | Layer | None = None,
        *,
        model: str | Path | None = None,
        mask: ScanLike | Layer | None = None,
        volume: int | None = None,
        device: str | None = None,
        samples: int = 0,
        seed: int = 0,
        force: bool = False,
        local_volume: bool = False,
    ) -> Detection:
        """Compare the chosen scan with a model and show the results as layers.

        Parameters
        ----------
        scan : path, Volume, nibabel image, (array, affine), or layer, optional
            Opened or chosen first.
        model : str or Path, optional
            Name or file; otherwise the one that is chosen.
        mask : like ``scan``, optional
            Foreground; opened as labels.
        volume : int, optional
            Which volume of a series, from 0.
        device : str, optional
            ``auto``, ``cpu``, ``cuda:N`` or ``mps``; otherwise the one that is chosen.
        samples, seed, force, local_volume
            As of :meth:`NormativeModel.detect`.

        Raises
        ------
        NormativeError
            What the engine refuses; ``SES-001`` if the dock could not run.
        """
        if scan is not None:
            self._layer_of(scan)
        self._choose_model(model, device)
        state = self._anomaly.state
        state.mask = "" if mask is None else str(self._labels_of(mask).unique_id)
        state.volume = 0 if volume is None else volume + 1
        state.samples, state.seed = samples, seed
        state.force, state.local_volume = force, local_volume
        self._run("detect", self._anomaly, self._anomaly.run)
        detection = self.detection
        assert detection is not None, "a detection that succeeded is kept"
        return detection

    def sample(
        self,
        n: int = 8,
        *,
        about: ScanLike | Layer | None = None,
        to: ScanLike | Layer | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        model: str | Path | None = None,
        device: str | None = None,
    ) -> Draws:
        """Draw synthetic volumes and show them as a series, with their mean and SD.

        Parameters
        ----------
        n : int
        about : like ``scan`` of :meth:`detect`, optional
            Draw what the model holds possible for this scan, not for the cohort.
        to : like ``about``, optional
            Lead from ``about`` to this scan in ``n`` steps, at least 2.
        seed, temperature
            As of :meth:`NormativeModel.sample`.
        model, device
            As of :meth:`detect`.
        """
        controller, chosen = self.controller(SamplesController), self.scan
        state = controller.state
        self._choose_model(model, device)
        if about is not None:
            state.scan = self._key_of(about)
        if to is not None:
            state.second = self._key_of(to)
        if chosen is not None:
            self.choose(chosen)
        state.kind = PRIOR if about is None else POSTERIOR if to is None else INTERPOLATION
        state.count, state.seed, state.temperature = n, seed, temperature
        state.volumes = state.maps = True
        self._run("sample", controller, controller.run)
        made = controller.made
        assert made is not None, "a draw that succeeded is kept"
        return made

    def show(self, detection: Detection) -> None:
        """Show a detection that was made elsewhere, and choose its scan."""
        from napari_normative.plugin.show import show

        show(detection, self.viewer)
        scans = [layer for layer in self.viewer.layers if self._shows(layer, detection)]
        self.choose(scans[-1])

    def why(self, candidate: int | Candidate) -> Why:
        """Go to a candidate and return why it is there: what was expected, and who is alike."""
        controller, chosen = self.controller(CandidatesController), self._candidate(candidate)
        controller.state.selected = 0
        controller.state.selected = chosen.label
        self.wait("why", lambda: not controller.state.why_busy, [controller.state.events.why_busy])
        if controller.state.why is None:
            raise self.refusal("why", controller.state.why_note)
        return controller.state.why

    # ---- the view

    def layout(self, name: str = "") -> str:
        """Divide the canvas; return the layout there is.

        Parameters
        ----------
        name : str
            ``axial``, ``coronal``, ``sagittal``, ``planes``, ``planes+3d``, ``side-by-side``.
        """
        if name:
            self._require_one_of("layout", name, LAYOUTS)
            self._require("layout", self._layout.blocked(name))
            self._layout.state.layout = name
            self.settle()
        return self._layout.state.layout

    def convention(self, name: str = "") -> str:
        """Choose where patient right is; return where it is.

        Parameters
        ----------
        name : str
            ``radiological``: on the left of the screen; ``neurological``. What is stored
            for new windows stays.
        """
        if name:
            self._require_one_of("convention", name, CONVENTIONS)
            self._session.view.convention = name  # type: ignore[assignment]
        return self._session.view.convention

    def go_to(self, target: int | Candidate | Sequence[float]) -> None:
        """Show a place in all planes; the zoom stays.

        Parameters
        ----------
        target : int, Candidate, or sequence of 3 float
            A candidate by its rank, from 1; or world mm, right, anterior, superior.
        """
        if isinstance(target, int) or hasattr(target, "centroid_mm"):
            self._layout.go_to(self._candidate(target).centroid_mm)
            return
        place = [float(value) for value in target]
        if len(place) != 3:
            raise self.refusal("go_to", "Give three numbers: mm to the right, anterior, superior.")
        self._layout.go_to(place)

    @property
    def position_mm(self) -> tuple[float, float, float] | None:
        """World mm (R, A, S) that all planes show; None without a volume."""
        return self._layout.point_mm

    def mark(self, *, letters: bool | None = None, crosshair: bool | None = None) -> None:
        """Show or hide the letters of the sides and the crosshair."""
        state = self._layout.state
        if letters is not None:
            state.letters = letters
        if crosshair is not None:
            state.crosshair = crosshair

    def fit(self) -> None:
        """Show the whole scan in every pane."""
        self._layout.fit()

    def window(
        self, level: float | None = None, width: float | None = None, *, preset: str = ""
    ) -> tuple[float, float]:
        """Set the grey-value window of the scan and its reconstruction; return level and width.

        Parameters
        ----------
        level, width : float, optional
            In the scan's units.
        preset : str
            Instead: ``auto``, ``full``, or for CT one that the dock *Reading room* lists.
        """
        state = self._read("window").state
        self._require("window", state.window_blocked)
        if preset:
            self._require_one_of("preset", preset, [choice.key for choice in state.presets])
            state.preset = ""
            state.preset = preset
        if level is not None:
            state.level = float(level)
        if width is not None:
            if width <= 0:
                raise self.refusal("window", "Give a width above 0.")
            state.width = float(width)
        return state.level, state.width

    def overlay(self, *, visible: bool | None = None, opacity: float | None = None) -> None:
        """Hide or show maps and candidates, or set the opacity of the maps, 0 to 1."""
        state = self._read("overlay").state
        self._require("overlay", state.overlay_blocked)
        if visible is not None:
            state.hidden = not visible
        if opacity is not None:
            state.opacity = float(opacity)

    def threshold(self, z: float | None = None) -> tuple[Candidate, ...]:
        """Form the candidates beyond another ``|z|``; return them, strongest first.

        Parameters
        ----------
        z : float, optional
            The model's own unless given.
        """
        reading = self._read("threshold")
        state, part = reading.state, reading.threshold
        self._require("threshold", state.threshold_blocked)
        wanted = state.threshold_default if z is None else float(z)
        if not state.threshold_low <= wanted <= max(state.threshold_high, state.threshold_default):
            told = f"{state.threshold_low:.1f} and {state.threshold_high:.1f}"
            raise self.refusal("threshold", f"Choose |z| between {told}.")
        state.threshold_z = wanted
        changes = [state.events.threshold_busy]
        self.wait("threshold", lambda: not state.threshold_busy, changes)
        if part.ended_with is not None:
            raise part.ended_with
        return self.candidates

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates of the chosen scan as they are shown, strongest first."""
        detection = self.detection
        if detection is None:
            return ()
        return self._session.context.detections.shown(detection).candidates

    def compare(self, kind: str = "", *, position: float = 0.5) -> None:
        """Show scan and reconstruction in one place, or end that.

        Parameters
        ----------
        kind : str
            ``flicker``, ``checkerboard``, ``swipe``; empty ends it.
        position : float
            Of the swipe: share of the picture, from the left of the screen, that shows the scan.
        """
        state = self._read("compare").state
        if kind:
            self._require_one_of("comparison", kind, COMPARISONS)
            self._require("compare", state.compare_blocked)
            state.swipe = position
        state.compare = kind

    # ---- the rest

    def review(self, path: str | Path) -> ScriptedReview:
        """Open a review file where its reader stopped, as the dock *Review* does."""
        from napari_normative.plugin.scripting.review import ScriptedReview

        self._review = ScriptedReview(self, path)
        return self._review

    def dock(self, name: str) -> None:
        """Show one of the plugin's docks in the window, such as ``Anomaly map``."""
        window: Any = self.require_window("dock")
        window.add_plugin_dock_widget(PLUGIN, name, tabify=True)

    def screenshots(self, folder: str | Path) -> list[Path]:
        """Write the standard pictures as PNG and return their files.

        ``axial``, ``planes``, ``side-by-side``, ``window`` and ``volume-3d``, at the
        strongest candidate; without an anomaly map there is no ``side-by-side``. Each is
        checked not to be blank and to show the map. The view stays as it was.

        Raises
        ------
        OutputError
            ``OUT-020``, ``OUT-021`` if a picture shows nothing.
        """
        from napari_normative.plugin.scripting.pictures import take_pictures

        self.require_window("screenshots")
        return take_pictures(self, folder)

    def hand_over(self) -> None:
        """Leave the window to the person and return when it is closed."""
        self.require_window("hand_over")
        import napari

        napari.run()

    def close(self) -> None:
        """Close the review and, if the session opened it, the window; free the model."""
        if self._review is not None:
            self._review.close()
            self._review = None
        for made in self._session.context.controllers.values():
            if isinstance(made, JobController) and made.is_running:
                made.cancel()
        if self._owned and is_open(self.viewer):
            self._session.context.models.unload()
            self.viewer.close()  # type: ignore[attr-defined]

    # ---- inside

    def settle(self) -> None:
        """Wait until the panes have all their layers."""
        board = self._layout.board
        self.wait("layout", lambda: board.settled, ())

    def require_window(self, what: str) -> Any:
        """Return napari's window, or refuse."""
        if main_window(self.viewer) is None:
            raise SessionError(
                "SES-005",
                "it needs a window, and this session has none",
                "Open the session without a viewer, or with napari.Viewer().",
                subject=what,
            )
        return self.viewer.window  # type: ignore[attr-defined]

    def controller(self, kind: type[C]) -> C:
        """Return a controller of the viewer."""
        return self._session.get(kind)

    def _work(self, title: str, work: Callable[..., Any]) -> Any:
        runner = self._session.context.runner
        return run_work(self.viewer, runner, title, work, timeout_s=self._timeout_s)

    def wait(
        self,
        what: str,
        condition: Callable[[], bool],
        changes: Iterable[Any],
        cancel: Callable[[], None] = lambda: None,
    ) -> None:
        """Let the event loop run until a condition holds; see :func:`wait_for`."""
        wait_for(
            self.viewer, condition, changes,
            what=what, timeout_s=self._timeout_s, cancel=cancel,
        )  # fmt: skip

    def _run(self, what: str, controller: Any, run: Callable[[], None]) -> None:
        """Press Run, wait, and raise what went wrong."""
        state = controller.state
        if state.running:
            raise self.refusal(what, "Wait until the window is done, or cancel it there.")
        self._require(what, state.run_blocked)
        run()
        self.wait(what, lambda: not state.running, [state.events.running], controller.cancel)
        if controller.ended_with is not None:
            raise controller.ended_with

    def _read(self, what: str) -> ReadingController:
        """Return the reading room when it has looked at the chosen scan."""
        reading = self.controller(ReadingController)
        reading.follow(self._layout)
        if self.scan is None:
            raise self.refusal(what, "Open a scan first.")
        reading.state.scan = self._anomaly.state.scan
        known = lambda: reading.subject.measured is not None  # noqa: E731
        self.wait(what, known, [reading.state.events.window_blocked])
        return reading

    def _choose_model(self, model: str | Path | None, device: str | None) -> None:
        models = self._session.context.models
        if model is not None:
            models.take(model)
        if device is not None:
            models.state.device = device

    def _layer_of(self, scan: ScanLike | Layer) -> Layer:
        """Return the layer of a scan, opened unless it is one, and choose it."""
        if not is_layer(scan):
            return self.open(scan)
        self.choose(scan)
        return scan

    def _key_of(self, scan: ScanLike | Layer) -> str:
        return self._session.context.scans.key_of(self._layer_of(scan))

    def _labels_of(self, mask: ScanLike | Layer) -> Layer:
        """Return the labels layer of a mask, opened unless it is one."""
        if is_layer(mask):
            return mask
        volume = as_volume(mask)
        spec = spec_of([volume], f"{volume.source.name} · mask", LABELS, visible=False)
        return add_spec(self.viewer, spec)

    def _candidate(self, target: Any) -> Candidate:
        if not isinstance(target, int):
            found: Candidate = target
            return found
        for candidate in self.candidates:
            if candidate.rank == target:
                return candidate
        count = len(self.candidates)
        hint = f"Candidates have ranks from 1 to {count}." if count else "Run detect first."
        raise self.refusal(f"candidate {target}", hint)

    def _shows(self, layer: Layer, detection: Detection) -> bool:
        facts = facts_of(layer)
        return (
            facts is not None
            and facts.role == SCAN
            and facts.volumes[0].source.digest == detection.scan.source.digest
        )

    def _require(self, what: str, blocked: str) -> None:
        if blocked:
            raise self.refusal(what, blocked)

    def _require_one_of(self, what: str, name: str, names: Sequence[str]) -> None:
        if name not in names:
            raise SessionError(
                "SES-006",
                f"there is no {what} {name!r}",
                f"Choose one of: {', '.join(names)}.",
            )

    def refusal(self, what: str, reason: str) -> SessionError:
        """Return the error for what cannot be done now."""
        return SessionError("SES-001", "it cannot be done now", reason, subject=what)


def is_layer(thing: object) -> TypeGuard[Layer]:
    """Whether something is a napari layer."""
    from napari.layers import Layer

    return isinstance(thing, Layer)


def open_session(
    viewer: ViewerModel | None = None, *, timeout_s: float = 600.0, title: str = "napari-normative"
) -> ScriptedSession:
    """Open a session that a script drives.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel, optional
        A new window unless given. ``napari.components.ViewerModel()`` works without Qt.
    timeout_s : float
        Longest time that one step may take.
    title : str
        Of the new window.

    Returns
    -------
    ScriptedSession
        As a context manager it closes what it opened.

    Examples
    --------
    >>> with open_session() as session:  # doctest: +SKIP
    ...     detection = session.detect("sub-07_T1w.nii.gz")
    ...     session.screenshots("pictures")
    """
    owned = viewer is None
    if viewer is None:
        import napari

        viewer = napari.Viewer(title=title)
        viewer.window.resize(*SIZE_PX)
    if owned:
        from napari_normative.plugin.state.settings import Settings

        # A script begins with the defaults and changes nothing that a person stored.
        session_for(viewer, Settings())
    return ScriptedSession(viewer, owned=owned, timeout_s=timeout_s)
