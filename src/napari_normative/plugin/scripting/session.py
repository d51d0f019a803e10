"""A session that a script drives: what a person does by mouse, by method."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_normative.layers.spec import facts_of, origin_of
from napari_normative.plugin.controllers.base import JobController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.review_files import ReviewFilesController
from napari_normative.plugin.scripting.making import ScriptedMaking
from napari_normative.plugin.settings import PLUGIN
from napari_normative.plugin.viewing import is_open

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.made import MadeVolume
    from napari_normative.engine.scans import ScanLike
    from napari_normative.plugin.scripting.checking import Material, Read
    from napari_normative.plugin.scripting.reopen import Reopened
    from napari_normative.plugin.scripting.review import ScriptedReview
    from napari_normative.plugin.state.candidates import Why


class ScriptedSession(ScriptedMaking):
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
        super().__init__(viewer, timeout_s)
        self._owned = owned
        self._review: ScriptedReview | None = None
        self._reopened: Reopened | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- scans and results

    def detect(
        self,
        scan: ScanLike | Layer | None = None,
        *,
        model: str | Path | None = None,
        mask: ScanLike | Layer | None = None,
        given: Mapping[str, object] | None = None,
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
        given : mapping, optional
            What the model is told of the person, such as ``{"age": 71}``.
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
        count = state.volume_count
        if volume is not None and not 0 <= volume < count:
            raise self.refusal("detect", f"The scan has {count} volumes, counted from 0.")
        self._tell(state.scan, given)
        state.volume = volume + 1 if volume is not None and count > 1 else 0
        state.mask = "" if mask is None else str(self._labels_of(mask).unique_id)
        state.samples, state.seed = samples, seed
        state.force, state.local_volume = force, local_volume
        self.press("detect", self._anomaly, self._anomaly.run)
        detection = self.detection
        assert detection is not None, "a detection that succeeded is kept"
        return detection

    def show(self, result: Detection | Draws | MadeVolume) -> None:
        """Show a result that was made without the session, and choose the scan it belongs to."""
        from napari_normative.plugin.show import show

        show(result, self.viewer)
        scan = getattr(result, "scan", None) or getattr(result, "like", None)
        for layer in self.viewer.layers:
            facts = facts_of(layer)
            if facts is not None and scan is not None and facts.origin == origin_of(scan):
                self.choose(layer)

    def why(self, candidate: int | Candidate) -> Why:
        """Go to a candidate and return why it is there: what was expected, and who is alike."""
        controller, chosen = self.controller(CandidatesController), self._candidate(candidate)
        controller.state.selected = 0
        controller.state.selected = chosen.label
        self.wait("why", lambda: not controller.state.why_busy, [controller.state.events.why_busy])
        if controller.state.why is None:
            raise self.refusal("why", controller.state.why_note)
        return controller.state.why

    # ---- saving

    def save(self, path: str | Path, *, leave_out: Collection[str] = ()) -> Path:
        """Save the session: by reference, with no voxel in it.

        Parameters
        ----------
        path : str or Path
            By custom it ends in ``.session.json``.
        leave_out : collection of str
            Names of layers that the session may do without.

        Raises
        ------
        SessionError
            ``SES-020`` if a layer would be lost, ``SES-021`` and ``SES-023`` if a scan is not
            as in its file, ``SES-022`` and ``SES-024`` if a model or mask is in no file.
        """
        from napari_normative.plugin.scripting.capture import gather

        target = Path(path)
        self.work("Save the session", gather(self, target, leave_out))
        return target

    def reopen(self, read: Read, material: Material | None = None) -> None:
        """Show a saved session; :func:`open_session` calls this."""
        from napari_normative.plugin.scripting.reopen import reopen

        self._reopened = reopen(self, read, material)

    @property
    def reopened(self) -> Reopened | None:
        """How what was run again compares with what was saved; None for a new session."""
        return self._reopened

    # ---- the rest

    def review(self, path: str | Path) -> ScriptedReview:
        """Open a review file where its reader stopped, as the dock *Review* does."""
        from napari_normative.plugin.scripting.review import ScriptedReview

        self._review = ScriptedReview(self, path)
        return self._review

    def new_review(
        self,
        source: str | Path,
        target: str | Path,
        reader: str,
        *,
        scans: str | Path | None = None,
        labels: Collection[str] = (),
        blind: bool = True,
        by_evidence: bool = False,
    ) -> ScriptedReview:
        """Make a review of detections, or of scans, which are compared first; open it.

        Parameters
        ----------
        source : str or Path
            Folder of detections as :meth:`Detection.save` writes them, or of scans.
        target : str or Path
            Folder of the new review.
        reader : str
            Who reads.
        scans : str or Path, optional
            Folder of the scans; ``source`` unless given.
        labels : collection of str
            Words that a finding may be given.
        blind : bool
            Hide scores until the reader submits.
        by_evidence : bool
            Strongest evidence first, instead of at random.
        """
        controller = self.controller(ReviewFilesController)
        state = controller.state
        state.source, state.scans = str(source), "" if scans is None else str(scans)
        state.target, state.reader, state.blind = str(target), reader, blind
        state.order, state.words = "evidence" if by_evidence else "random", ",".join(labels)
        self.press("new_review", controller, controller.create)
        return self.review(controller.files[0])

    @property
    def open_review(self) -> ScriptedReview | None:
        """The review that is open; None without one."""
        return self._review

    def dock(self, name: str) -> None:
        """Show one of the plugin's docks in the window, such as ``Anomaly map``."""
        window: Any = self.require_window("dock")
        window.add_plugin_dock_widget(PLUGIN, name, tabify=True)

    def screenshots(self, folder: str | Path, names: Collection[str] = ()) -> list[Path]:
        """Write the standard pictures and return their files.

        At the strongest candidate. Each is checked not to be blank and to show the map; the
        view stays as it was.

        Parameters
        ----------
        folder : str or Path
        names : collection of str
            Some of ``axial.png``, ``planes.png``, ``side-by-side.png`` (needs an anomaly map),
            ``window.png`` and ``volume-3d.png``; otherwise all.

        Raises
        ------
        OutputError
            ``OUT-020``, ``OUT-021`` if a picture shows nothing.
        """
        from napari_normative.plugin.scripting.pictures import take_pictures

        self.require_window("screenshots")
        return take_pictures(self, folder, names)

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
        for made in self.context.controllers.values():
            if isinstance(made, JobController) and made.is_running:
                made.cancel()
        if self._owned and is_open(self.viewer):
            self.context.models.unload()
            self.viewer.close()
