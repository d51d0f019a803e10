"""The dock "Reading room": shows a :class:`ReadingState`, emits requests, decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_normative.plugin.docks.layout_row import LayoutRow
from napari_normative.plugin.docks.widgets import (
    FAINT,
    WARNING,
    bind,
    button,
    combo,
    enable,
    fill,
    form,
    line,
    pick,
    scrolled,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.layout import LayoutRequests, LayoutState
from napari_normative.plugin.state.reading import (
    CHECKERBOARD,
    FLICKER,
    MODALITIES,
    SWIPE,
    ReadingRequests,
    ReadingState,
)
from napari_normative.plugin.state.shared import Shared

READOUT_LINES = 7
KEYS = {"hidden": "H", FLICKER: "J", CHECKERBOARD: "K", SWIPE: "U", "window": "W"}
"""Keys that no layer of napari uses."""

_WINDOW = {
    "modality", "modality_line", "presets", "preset", "level", "width", "window_step",
    "right_button", "window_blocked",
}  # fmt: skip
_OVERLAY = {"opacity", "hidden", "overlay_blocked", "colour_bar"}
_THRESHOLD = {
    "threshold_z", "threshold_low", "threshold_high", "threshold_default", "threshold_blocked",
    "threshold_busy", "count_line", "rate_line", "threshold_note",
}  # fmt: skip
_COMPARISON = {"compare", "compare_blocked", "flicker_hz", "square_mm", "swipe"}

_HIDE_TIP = "Hide maps and candidates; again: show what was visible before"
_COMPARISONS = (
    (FLICKER, "Flicker", "Scan and reconstruction take turns"),
    (CHECKERBOARD, "Checkerboard", "Squares of the scan and of the reconstruction"),
    (SWIPE, "Swipe", "The scan left of a line, the reconstruction right of it"),
)


class ReadingRoomView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : ReadingState
    requests : ReadingRequests
    shared : Shared
    layout_state : LayoutState
    layout_requests : LayoutRequests
    """

    def __init__(
        self,
        state: ReadingState,
        requests: ReadingRequests,
        shared: Shared,
        layout_state: LayoutState,
        layout_requests: LayoutRequests,
    ) -> None:
        super().__init__()
        self._state, self._requests, self._scans = state, requests, shared.scans
        self._keys, self._shortcuts = shared.keys, dict[str, QShortcut]()
        self.layouts = LayoutRow(layout_state, layout_requests)
        self.setObjectName("napari-normative-reading-room")
        self.scan = combo("The scan that is read")
        self._make_readout()
        self._make_window()
        self._make_overlay()
        self._make_threshold()
        self._make_comparison()
        self._lay_out()
        self._connect()
        watch(self, state, self._refresh)
        watch(self, shared.scans, self._refresh)
        watch(self, shared.keys, self._refresh_keys)
        self._refresh()
        self._refresh_keys()

    def event(self, event: QEvent | None) -> bool:
        """Say when the dock is closed: napari then takes this widget out of its window."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._requests.left.emit()
        return bool(super().event(event))

    def _make_readout(self) -> None:
        self.readout = text()
        self.readout.setToolTip("What lies under the mouse, else at the point the planes show")
        # A height of its own: the dock must not be laid out anew at every move of the mouse.
        self.readout.setWordWrap(False)
        self.readout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.readout.setFixedHeight(READOUT_LINES * self.readout.fontMetrics().lineSpacing() + 6)
        self.readout.setMinimumWidth(50)

    def _make_window(self) -> None:
        self.modality = combo("What the values are; decides the automatic window and the presets")
        self.modality_line = text(FAINT)
        self.preset = combo("Windows for the scan, its reconstruction and its samples")
        self.preset.setPlaceholderText("own")
        self.window_width = _number("White minus black, in the scan's units", least=1e-6)
        self.window_level = _number("Value shown as middle grey, in the scan's units")
        self.reset_window = button("Reset window", "")
        self.right_button = QCheckBox("Right button, too")
        self.right_button.setToolTip(
            "Drag with the right button alone changes the window; napari then zooms with the "
            "wheel only"
        )
        self.drag_hint = text(FAINT)
        self.drag_hint.setText("Ctrl + drag on the picture: right wider, up darker")

    def _make_overlay(self) -> None:
        self.opacity = _slider(0.0, 1.0, "How much of the scan the maps let through")
        self.hide_overlay = button("", _HIDE_TIP)
        self.hide_overlay.setCheckable(True)
        self.colour_bar = QCheckBox("Colour bar")
        self.colour_bar.setToolTip("Show the scale of the anomaly map on the picture")
        self.overlay_reason = text(FAINT)

    def _make_threshold(self) -> None:
        self.threshold = _slider(0.0, 1.0, "Candidates are groups of voxels with |z| beyond this")
        self.count = text("font-weight: bold;")
        self.rate = text()
        self.threshold_note = text(WARNING)
        self.reset_threshold = button("Model's threshold", "")

    def _make_comparison(self) -> None:
        self.compare: dict[str, QPushButton] = {}
        for kind, label, tip in _COMPARISONS:
            self.compare[kind] = button(f"{label} ({KEYS[kind]})", tip)
            self.compare[kind].setCheckable(True)
        self.flicker_hz = _slider(0.5, 10.0, "Changes per second")
        self.square_mm = _slider(2.0, 80.0, "Side of a square, mm")
        self.swipe = _slider(0.0, 1.0, "Where the line is, from the left of the screen")
        self.compare_reason = text(FAINT)

    def _lay_out(self) -> None:
        body = QWidget()
        self.column = QVBoxLayout(body)
        self.column.setContentsMargins(4, 4, 4, 4)
        top = form()
        top.addRow("Scan", self.scan)
        window = form()
        window.addRow("Values", self.modality)
        window.addRow(self.modality_line)
        window.addRow("Window", self.preset)
        window.addRow("Width", self.window_width)
        window.addRow("Level", self.window_level)
        overlay = form()
        overlay.addRow("Opacity", self.opacity)
        compare = form()
        compare.addRow("Flicker, Hz", self.flicker_hz)
        compare.addRow("Squares, mm", self.square_mm)
        compare.addRow("Swipe", self.swipe)
        for block in (
            self.layouts, line(), top, self.readout, _heading("Window"), window,
            _row(self.reset_window, self.right_button), self.drag_hint,
            _heading("Anomaly map"), overlay, _row(self.hide_overlay, self.colour_bar),
            self.overlay_reason,
            _heading("Threshold of |z|"), self.threshold, self.count, self.rate,
            self.threshold_note, _row(self.reset_threshold),
            _heading("Scan against reconstruction"), _row(*self.compare.values()), compare,
            self.compare_reason,
        ):  # fmt: skip
            if isinstance(block, QWidget):
                self.column.addWidget(block)
            else:
                self.column.addLayout(block)
        self.column.addStretch(1)
        scrolled(self, body)

    def _connect(self) -> None:
        state, requests = self._state, self._requests
        pick(state, "scan", self.scan)
        pick(state, "modality", self.modality)
        pick(state, "preset", self.preset)
        for name in ("opacity", "flicker_hz", "square_mm", "swipe"):
            bind(state, name, getattr(self, name).valueChanged)
        bind(state, "level", self.window_level.valueChanged)
        bind(state, "width", self.window_width.valueChanged)
        bind(state, "threshold_z", self.threshold.valueChanged)
        for name in ("right_button", "colour_bar"):
            bind(state, name, getattr(self, name).toggled)
        bind(state, "hidden", self.hide_overlay.clicked)
        self.reset_window.clicked.connect(lambda: requests.reset_window.emit())
        self.reset_threshold.clicked.connect(lambda: requests.reset_threshold.emit())
        for kind, made in self.compare.items():
            made.clicked.connect(lambda on, kind=kind: setattr(state, "compare", kind * on))
            self._key(KEYS[kind], made.click)
        self._key(KEYS["hidden"], self.hide_overlay.click)
        self._key(KEYS["window"], self.reset_window.click)

    def _key(self, key: str, call: Callable[[], None]) -> None:
        shortcut = QShortcut(QKeySequence(key), self)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.activated.connect(call)
        # The same dock open twice: either may answer.
        shortcut.activatedAmbiguously.connect(call)
        self._shortcuts[key] = shortcut

    def _refresh_keys(self, changed: str = "") -> None:
        """Leave keys that another dock is working with to it."""
        for key, shortcut in self._shortcuts.items():
            shortcut.setEnabled(key not in self._keys.taken)

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state = self._state
        if changed in {"", "scans", "scan"}:
            fill(self.scan, self._scans.scans, state.scan)
        for fields, refresh in (
            ({"readout"}, self._refresh_readout),
            (_WINDOW, self._refresh_window),
            (_OVERLAY, self._refresh_overlay),
            (_THRESHOLD, self._refresh_threshold),
            (_COMPARISON, self._refresh_comparison),
        ):
            if not changed or changed in fields:
                refresh()

    def _refresh_readout(self) -> None:
        read = self._state.readout
        lines = [read.place or "Point at the picture"]
        if read.voxel:
            lines.append(f"voxel {read.voxel}")
        shown = read.values[: READOUT_LINES - len(lines)]
        lines += [f"{value.name}: {value.value}" for value in shown]
        self.readout.setText("\n".join(lines))

    def _refresh_window(self) -> None:
        state = self._state
        fill(self.modality, MODALITIES, state.modality)
        fill(self.preset, state.presets, state.preset)
        for box, value in ((self.window_width, state.width), (self.window_level, state.level)):
            box.setSingleStep(state.window_step)
            box.setDecimals(_decimals(state.window_step))
            _set(box, value)
            box.setEnabled(not state.window_blocked)
        self.preset.setEnabled(not state.window_blocked)
        _set(self.right_button, state.right_button)
        tell(self.modality_line, state.window_blocked or state.modality_line)
        self.reset_window.setText(f"Reset window ({KEYS['window']})")
        enable(self.reset_window, "The automatic window of these values", state.window_blocked)

    def _refresh_overlay(self) -> None:
        state, blocked = self._state, self._state.overlay_blocked
        _set(self.opacity, state.opacity)
        self.opacity.setEnabled(not blocked)
        label = "Show overlay" if state.hidden else "Hide overlay"
        self.hide_overlay.setText(f"{label} ({KEYS['hidden']})")
        self.hide_overlay.setChecked(state.hidden)
        enable(self.hide_overlay, _HIDE_TIP, blocked)
        _set(self.colour_bar, state.colour_bar)
        tell(self.overlay_reason, blocked)

    def _refresh_threshold(self) -> None:
        state, blocked = self._state, self._state.threshold_blocked
        quiet = self.threshold.blockSignals(True)
        self.threshold.setRange(state.threshold_low, state.threshold_high)
        self.threshold.setValue(state.threshold_z)
        self.threshold.blockSignals(quiet)
        self.threshold.setEnabled(not blocked)
        tell(self.count, blocked or state.count_line + (" …" if state.threshold_busy else ""))
        tell(self.rate, state.rate_line)
        tell(self.threshold_note, state.threshold_note)
        enable(
            self.reset_threshold,
            f"Back to |z| {state.threshold_default:.1f}, where the rate in healthy scans is known",
            blocked,
        )

    def _refresh_comparison(self) -> None:
        state, blocked = self._state, self._state.compare_blocked
        for kind, _, tip in _COMPARISONS:
            self.compare[kind].setChecked(state.compare == kind)
            enable(self.compare[kind], tip, blocked)
        for name in ("flicker_hz", "square_mm", "swipe"):
            _set(getattr(self, name), getattr(state, name))
        tell(self.compare_reason, blocked)


def _set(widget: Any, value: Any) -> None:
    """Show a value without telling anybody."""
    quiet = widget.blockSignals(True)
    if isinstance(widget, QCheckBox):
        widget.setChecked(value)
    else:
        widget.setValue(value)
    widget.blockSignals(quiet)


def _decimals(step: float) -> int:
    return 0 if step >= 1 else 2 if step >= 0.01 else 4


def _number(tip: str, least: float = -1e6) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(least, 1e6)
    box.setKeyboardTracking(False)
    box.setToolTip(tip)
    return box


def _slider(low: float, high: float, tip: str) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setRange(low, high)
    slider.setDecimals(2 if high <= 1 else 1)
    slider.setSingleStep((high - low) / 100)
    slider.setToolTip(tip)
    return slider


def _heading(words: str) -> QWidget:
    made = QWidget()
    column = QVBoxLayout(made)
    column.setContentsMargins(0, 2, 0, 0)
    column.addWidget(line())
    label = QLabel(words)
    label.setStyleSheet("font-weight: bold;")
    column.addWidget(label)
    return made


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
