"""Side panes in the central area of napari's window. The only Qt here."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QLabel, QSplitter

from napari_normative.plugin.planes import slice_position

TITLE_STYLE = "QLabel { color: white; background: transparent; }"
TITLE_WIDTH = 600
"""A Qt label: drawing a title's letters in the canvas takes 0.1 s per pane."""


class PaneView(QtViewer):  # type: ignore[misc]
    """A canvas beside napari's own.

    Keys, dropped files and the status bar are those of the main viewer.

    Parameters
    ----------
    model : ViewerModel
    main : QtViewer
        napari's own canvas.
    """

    def __init__(self, model: Any, main: Any) -> None:
        self._main_view = weakref.ref(main)
        super().__init__(model)
        self.dims.setVisible(False)  # the main canvas has the sliders
        self.setMinimumSize(80, 80)
        self._main_model.layers.selection.events.active.connect(self._on_active_change)
        model.cursor.events.position.connect(self._on_cursor_position)
        self._main_model.events.theme.connect(self._on_theme)
        self._on_theme()
        self._title = QLabel(self.canvas.native)
        self._title.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._title.setStyleSheet(TITLE_STYLE)
        self._title.setGeometry(8, 6, TITLE_WIDTH, 2 * self._title.fontMetrics().height())
        self._title.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._dims_events = [model.dims.events.point, model.dims.events.order]
        for emitter in self._dims_events:
            emitter.connect(self._on_slice)
        self._on_slice()

    @property
    def title(self) -> str:
        """What stands in the corner: name and slice position."""
        return str(self._title.text())

    def _on_slice(self, event: Any = None) -> None:
        where = slice_position(self.viewer)
        text = f"{self.viewer.title} · {where}" if where else self.viewer.title
        if self._title.text() != text:
            self._title.setText(text)

    @property
    def _main(self) -> Any:
        main = self._main_view()
        assert main is not None, "a pane goes before the window does"
        return main

    @property
    def _main_model(self) -> Any:
        return self._main.viewer

    def _bind_shortcuts(self) -> None:
        """Do nothing: the main canvas bound them, and once more takes 0.1 s."""

    def _on_active_change(self) -> None:
        active = self._main_model.layers.selection.active
        providers = [self._main_model]
        self._key_map_handler.keymap_providers = (
            providers if active is None else [active, *providers]
        )

    def _on_theme(self, event: Any = None) -> None:
        self.viewer.theme = self._main_model.theme

    def _on_cursor_position(self, event: Any = None) -> None:
        main = self._main_model
        if main.mouse_over_canvas and len(self.viewer.cursor.position) == main.dims.ndim:
            main.cursor.position = self.viewer.cursor.position

    def _enter_canvas(self) -> None:
        self._main._enter_canvas()

    def _leave_canvas(self) -> None:
        self._main._leave_canvas()

    def dropEvent(self, event: Any) -> None:
        """Open dropped files in the main viewer."""
        self._main.dropEvent(event)

    def set_foot(self, pixels: int) -> None:
        """Leave room below the canvas."""
        self.widget(0).layout().setContentsMargins(0, 2, 0, 2 + pixels)

    def release(self) -> None:
        """Let go of the main viewer and of the canvas."""
        self._main_model.layers.selection.events.active.disconnect(self._on_active_change)
        self._main_model.events.theme.disconnect(self._on_theme)
        self.viewer.cursor.events.position.disconnect(self._on_cursor_position)
        for emitter in self._dims_events:
            emitter.disconnect(self._on_slice)
        self._key_map_handler.keymap_providers = []
        _free_textures(self.canvas)
        self.close()


class PaneArea(QObject):
    """Divides the central area of a napari window between its canvas and panes.

    Parameters
    ----------
    window : napari Window
    closing : callable
        Called once when the window closes.
    """

    def __init__(self, window: Any, closing: Callable[[], None]) -> None:
        self._view = weakref.ref(window._qt_viewer)
        super().__init__(window._qt_window)
        self._closing = closing
        self._closed = False
        self._frame: QSplitter | None = None
        self._panes: list[PaneView] = []
        self._waiting: list[Callable[[], None]] = []
        window._qt_viewer.installEventFilter(self)
        window._qt_window.installEventFilter(self)

    @property
    def canvas(self) -> Any:
        """The canvas that napari itself made."""
        view = self._view()
        return None if view is None else view.canvas

    @property
    def panes(self) -> Sequence[PaneView]:
        """The side panes."""
        return tuple(self._panes)

    @property
    def settled(self) -> bool:
        """Whether nothing that was put off is left to do."""
        return not self._waiting

    @contextmanager
    def still(self) -> Iterator[None]:
        """Paint once, after everything has its place."""
        main = self._view()
        centre = None if main is None else main.window().centralWidget()
        if centre is not None:
            centre.setUpdatesEnabled(False)
        try:
            yield
        finally:
            if centre is not None:
                centre.setUpdatesEnabled(True)

    def add(self, model: Any) -> PaneView:
        """Make a pane; :meth:`arrange` shows it."""
        main = self._view()
        assert main is not None, "the window is open"
        pane = PaneView(model, main)
        self._panes.append(pane)
        return pane

    def remove(self, pane: PaneView) -> None:
        """Take a pane away for good."""
        self._panes.remove(pane)
        pane.hide()
        pane.release()

    def arrange(self, columns: Sequence[Sequence[PaneView | None]]) -> None:
        """Divide the area; without panes napari's canvas has all of it again.

        Parameters
        ----------
        columns : sequence of sequence of PaneView or None
            From left to right, each from top to bottom; None is napari's own canvas.
        """
        main, old = self._view(), self._frame
        if main is None:
            return
        centre = main.window().centralWidget()
        self._frame = None
        for pane in self._panes:
            # Alone in their columns all canvases end where the main one has its sliders.
            alone = all(len(column) == 1 for column in columns)
            pane.set_foot(main.dims.height() if alone else 0)
        if self._panes:
            self._frame = _splitter(Qt.Orientation.Horizontal)
            centre.layout().addWidget(self._frame)
            for column in columns:
                widgets = [main if pane is None else pane for pane in column]
                if len(widgets) > 1:
                    stack = _splitter(Qt.Orientation.Vertical)
                    self._frame.addWidget(stack)
                else:
                    stack = self._frame
                for widget in widgets:
                    stack.addWidget(widget)
                    widget.show()
                if stack is not self._frame:
                    stack.setSizes([1000] * len(widgets))
            self._frame.setSizes([1000] * len(columns))
        else:
            centre.layout().addWidget(main)
            main.show()
        if old is not None:
            old.hide()
            old.deleteLater()
        centre.layout().activate()

    def later(self, call: Callable[[], None]) -> None:
        """Call soon, one call per turn of the event loop: the window stays usable."""
        self._waiting.append(call)
        if len(self._waiting) == 1:
            QTimer.singleShot(0, self._take)

    def _take(self) -> None:
        if not self._waiting:
            return
        call = self._waiting.pop(0)
        if self._waiting:
            QTimer.singleShot(0, self._take)
        call()

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Notice that the window goes, before napari or Qt take its canvas apart."""
        # Closing by script closes the canvas first; by hand it only deletes the window, and
        # a close event of the window may still be answered with "cancel".
        ends = QEvent.Type.Close if watched is self._view() else QEvent.Type.DeferredDelete
        if event.type() == ends and not self._closed:
            self._closed = True
            self._closing()
        return False


def _splitter(direction: Qt.Orientation) -> QSplitter:
    splitter = QSplitter(direction)
    splitter.setChildrenCollapsible(False)
    return splitter


def _free_textures(canvas: Any) -> None:
    """Delete what a canvas holds on the graphics card.

    Contexts share their objects in napari, so they outlive the widget, and vispy deletes
    only while it draws: each 3D pane would leave 100 MB behind.
    """
    native = canvas.native
    parser = canvas._scene_canvas.context.shared.parser
    native.makeCurrent()
    parser.parse([("DELETE", number) for number in list(parser._objects)])
    native.doneCurrent()
