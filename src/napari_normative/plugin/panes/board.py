"""The panes of one viewer: models, mirrors, link, marks and, in a window, canvases."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_normative.plugin.panes.contents import PaneContent
from napari_normative.plugin.panes.link import Link, Pane
from napari_normative.plugin.panes.marks import Crosshair, Letters
from napari_normative.plugin.panes.mirror import LayerMirror, adapting_once

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_normative.plugin.panes.area import PaneArea, PaneView
    from napari_normative.plugin.planes import Convention

VIEW_3D = ((-0.2, -1.0, 0.35), (1.0, 0.0, 0.0))
"""From the front, a little from above and from the patient's left; superior is up."""


@dataclass(eq=False)
class _Open:
    """A pane that is open."""

    content: PaneContent
    model: ViewerModel
    pane: Pane
    mirror: LayerMirror
    view: PaneView | None


class Board:
    """Opens and closes the side panes of a viewer.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
        Held weakly.
    convention : callable
        Returns the convention of the moment.
    closed : callable
        Called when the window closes.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        convention: Callable[[], Convention],
        closed: Callable[[], None],
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self._closed = closed
        self._open: list[_Open] = []
        self.link = Link(viewer, convention)
        self._area: PaneArea | None = None
        self._letters: list[Letters] = []
        self._crosshairs: list[Crosshair] = []
        self._wanted = (False, False)

    @property
    def models(self) -> list[ViewerModel]:
        """The viewer models of the open panes."""
        return [each.model for each in self._open]

    @property
    def views(self) -> list[PaneView]:
        """The canvases of the open panes; none without a window."""
        return [each.view for each in self._open if each.view is not None]

    @property
    def settled(self) -> bool:
        """Whether the panes have all their layers: in a window they come one by one."""
        return self._area is None or self._area.settled

    # ---- opening and closing

    def open(self, contents: Sequence[PaneContent], columns: Sequence[Sequence[int]]) -> None:
        """Replace the panes; those that were open already stay.

        Parameters
        ----------
        contents : sequence of PaneContent
            One with the key of an open pane is that pane.
        columns : sequence of sequence of int
            From left to right, each from top to bottom: 0 is the main canvas, 1 the first
            of ``contents``.
        """
        viewer = self._viewer()
        if viewer is None:
            return
        area = self._window_area(viewer)
        with nullcontext() if area is None else area.still():
            self._replace(viewer, contents, columns)

    def _replace(
        self, viewer: Any, contents: Sequence[PaneContent], columns: Sequence[Sequence[int]]
    ) -> None:
        self._unmark()
        kept = {each.content.key: each for each in self._open}
        wanted = {content.key for content in contents}
        for key in kept.keys() - wanted:
            self._drop(kept.pop(key))
        self._open = [kept.get(each.key) or self._make(viewer, each) for each in contents]
        if self._area is not None:
            views = [None, *(each.view for each in self._open)]
            self._area.arrange([[views[number] for number in column] for column in columns])
        self.fit()
        self._mark()

    def close(self) -> None:
        """Take all panes away."""
        self.open([], [])

    def _make(self, viewer: Any, content: PaneContent) -> _Open:
        from napari.components import ViewerModel

        model = ViewerModel(ndisplay=3 if content.in_3d else 2, title=content.title)
        model.canvas.overlays.axes.visible = content.in_3d
        model.canvas.overlays.axes.box = False
        area = self._window_area(viewer)
        view = None if area is None else area.add(model)
        pane = Pane(model, content.plane)
        mirror = LayerMirror(
            viewer,
            model,
            content.shows,
            area.later if area is not None else _at_once,
            placed=lambda: self.link.place(pane),
            dress=content.dress,
        )
        self.link.add(pane)
        return _Open(content, model, pane, mirror, view)

    def _drop(self, each: _Open) -> None:
        self.link.remove(each.pane)
        each.mirror.close()
        if self._area is not None and each.view is not None:
            self._area.remove(each.view)

    def leave(self) -> None:
        """Close everything for good: the window goes."""
        self._unmark()
        self._wanted = (False, False)
        for each in self._open:
            self._drop(each)
        self._open.clear()
        self.link.close()
        self._area = None
        self._closed()

    def _window_area(self, viewer: Any) -> PaneArea | None:
        if self._area is None and hasattr(viewer, "window"):
            from napari_normative.plugin.panes.area import PaneArea

            leave = weakref.WeakMethod(self.leave)
            self._area = PaneArea(viewer.window, lambda: (call := leave()) and call())
        return self._area

    # ---- what is seen

    def fit(self) -> None:
        """Show everything in every pane, equally large."""
        if not self._open:
            return
        self.link.fit()
        for each in self._open:
            if each.content.in_3d and len(each.model.layers):
                with self.link.silent():
                    each.model.scene.camera.set_view_direction(*VIEW_3D)
                    each.model.reset_view(reset_camera_angle=False, margin=0.1)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all panes follow several changes of the layers once, at the end."""
        with ExitStack() as held:
            for each in self._open:
                held.enter_context(each.mirror.hold())
            if (viewer := self._viewer()) is not None:
                held.enter_context(adapting_once(viewer))
            yield

    def refresh(self) -> None:
        """Ask again which layers each pane shows."""
        for each in self._open:
            each.mirror.update()

    def mark(self, letters: bool, crosshair: bool) -> None:
        """Show or hide letters and crosshair in all panes."""
        if (letters, crosshair) != self._wanted:
            self._wanted = (letters, crosshair)
            self.link.clicks = crosshair
            self._unmark()
            self._mark()

    def _mark(self) -> None:
        viewer = self._viewer()
        letters, crosshair = self._wanted
        if viewer is None or not (letters or crosshair):
            return
        area = self._window_area(viewer)
        if area is None or area.canvas is None:
            return
        canvases = [area.canvas, *(view.canvas for view in self.views)]
        for model, canvas in zip([viewer, *self.models], canvases, strict=True):
            if letters:
                self._letters.append(Letters(model, canvas))
            if crosshair:
                self._crosshairs.append(Crosshair(model, canvas))

    def _unmark(self) -> None:
        for letters in self._letters:
            letters.close()
        for crosshair in self._crosshairs:
            crosshair.close()
        self._letters.clear()
        self._crosshairs.clear()


def _at_once(call: Callable[[], None]) -> None:
    call()
