"""The dock "Review": shows a :class:`ReviewState`, emits requests, decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QHideEvent, QKeySequence, QShortcut, QShowEvent  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_normative.plugin.docks.review_files import ReviewFilesBlock
from napari_normative.plugin.docks.review_table import ReviewTable
from napari_normative.plugin.docks.widgets import (
    ERROR,
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
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.review import (
    SHOWS,
    ReviewFilesRequests,
    ReviewFilesState,
    ReviewRequests,
    ReviewState,
)
from napari_normative.plugin.state.settings import Settings

GOOD = "color: #7bd88f;"

DECIDE = {
    "accept": ("Accept", "A", "It is a finding"),
    "reject": ("Reject", "X", "It is none"),
    "uncertain": ("Uncertain", "U", "It cannot be told from this scan"),
    "skip": ("Skip", "Space", "Decide later; a scan without candidates is then done"),
}
"""Label, key and tooltip of each decision."""

FLAG = "Mark it to be looked at again; without a candidate the scan"
UNDO = "Take back the last decision or edit, also one of yesterday"
NEXT, BEFORE = "The next that the filter lets through", "The one before"
PAINT = "Add voxels to the candidate with napari's brush; keys 1 to 6 are its tools"
ERASE = "Take voxels away with napari's eraser"
NEW = "Paint a finding that the model missed"
GROW = "Then click on a finding that the model missed: the region around is taken"
SPLIT = "Divide the candidate in two"
MERGE = "Make one of the rows that are chosen (Ctrl + click)"
HIDE = "Hide the outlines; again: show them"
SUBMIT = "End reading: decisions become final, scores and maps are shown"

_LINES = (
    "headline", "warning", "progress_line", "saved", "not_saved", "case_line", "loading", "note",
    "rank_line",
)  # fmt: skip
_STATUS = {"is_open", "fraction", "not_saved"}
_BUTTONS = {
    "is_open", "decide_blocked", "edit_blocked", "undo_blocked", "redo_blocked", "submit_blocked",
    "rank_blocked", "hidden", "growing", "ranked", "auto_advance", "show",
}  # fmt: skip


class ReviewView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : ReviewState
    requests : ReviewRequests
    files : ReviewFilesState
    file_requests : ReviewFilesRequests
    settings : Settings
        Remembers folders.
    """

    def __init__(
        self,
        state: ReviewState,
        requests: ReviewRequests,
        files: ReviewFilesState,
        file_requests: ReviewFilesRequests,
        settings: Settings,
    ) -> None:
        super().__init__()
        self.setObjectName("napari-normative-review")
        self._state, self._requests = state, requests
        self.files = ReviewFilesBlock(state, requests, files, file_requests, settings)
        self._make_status()
        self._make_decisions()
        self._make_words()
        self._make_masks()
        self._make_end()
        self._lay_out()
        self._connect()
        watch(self, state, self._refresh)
        self._refresh()

    # ---- the keys work while the dock can be seen

    def showEvent(self, event: QShowEvent | None) -> None:
        """Claim the keys."""
        self._state.visible = True
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Leave the keys to others."""
        self._state.visible = False
        super().hideEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Leave the keys when the dock is closed: napari then takes this out of its window."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._state.visible = False
        return bool(super().event(event))

    def _key(self, key: str, call: Callable[[], None]) -> None:
        shortcut = QShortcut(QKeySequence(key), self)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.setAutoRepeat(False)  # a key held down decides once
        shortcut.activated.connect(call)
        shortcut.activatedAmbiguously.connect(call)

    # ---- widgets

    def _make_status(self) -> None:
        self.headline = text("font-weight: 600;")
        self.warning = text(WARNING)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        self.progress_line = text(FAINT)
        self.saved = QLabel()
        self.saved.setStyleSheet(GOOD)
        self.saved.setToolTip("Saved: every decision is on the disk")
        self.not_saved = text(ERROR)
        self.save_again = button("Save again", "Try again to write what is not on the disk yet")
        self.case_line = text("font-weight: 600;")
        self.case_before = button("◀", "The scan before")
        self.case_after = button("▶", "The next scan")
        self.loading = text(FAINT)
        self.note = text(WARNING)
        self.table = ReviewTable(self._state)

    def _make_decisions(self) -> None:
        self.decide: dict[str, QPushButton] = {}
        for word, (label, key, tip) in DECIDE.items():
            self.decide[word] = button(f"{label} ({key})", tip)
            self.decide[word].setMinimumHeight(32)
        self.flag = button("Flag (F)", FLAG)
        self.undo = button("Undo (⌫)", UNDO)
        self.redo = button("Redo (⇧⌫)", "Do again what was taken back")
        self.before = button("Before (B)", BEFORE)
        self.next = button("Next (N)", NEXT)
        self.hide_overlay = button("Hide (H)", HIDE)
        self.hide_overlay.setCheckable(True)
        self.show_only = combo("Which candidates next and before lead to")
        self.auto = QCheckBox("Go on after a decision")
        self.auto.setToolTip("Show the next candidate without a decision at once")
        self.blocked = text(FAINT)

    def _make_words(self) -> None:
        self.label = combo("What kind of finding it is; L takes the next word")
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment (C), Enter keeps it")
        self.comment.setToolTip("Kept with the candidate; leaves the review only if you say so")

    def _make_masks(self) -> None:
        self.paint = button("Paint", PAINT)
        self.erase = button("Erase", ERASE)
        self.new_finding = button("New finding (M)", NEW)
        self.grow = button("Grow (G)", GROW)
        self.grow.setCheckable(True)
        self.split = button("Split (S)", SPLIT)
        self.merge = button("Merge", MERGE)

    def _make_end(self) -> None:
        self.ranked = QCheckBox("Likely findings first")
        self.rank_line = text(FAINT)
        self.submit = button("Submit…", SUBMIT)

    def _lay_out(self) -> None:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        status, cases, again = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        status.addWidget(self.progress_line, stretch=1)
        status.addWidget(self.saved)
        again.addWidget(self.not_saved, stretch=1)
        again.addWidget(self.save_again)
        cases.addWidget(self.case_line, stretch=1)
        for made in (self.case_before, self.case_after):
            made.setFixedWidth(44)
            cases.addWidget(made)
        grid = QGridLayout()
        for at, made in enumerate(self.decide.values()):
            grid.addWidget(made, at // 2, at % 2)
        row = QGridLayout()
        for at, made in enumerate(
            (self.before, self.next, self.hide_overlay, self.flag, self.undo, self.redo)
        ):
            row.addWidget(made, at // 3, at % 3)
        words = form()
        words.addRow("Label", self.label)
        words.addRow("Comment", self.comment)
        words.addRow("Go to", self.show_only)
        self.label_row = words.labelForField(self.label)
        masks = QWidget()
        tools = QGridLayout(masks)
        tools.setContentsMargins(0, 0, 0, 0)
        for at, made in enumerate(
            (self.paint, self.erase, self.new_finding, self.grow, self.split, self.merge)
        ):
            tools.addWidget(made, at // 2, at % 2)
        self.mask_tools = QCollapsible("Masks")
        self.mask_tools.toggleButton().setToolTip("Edit candidates, add what was missed")
        self.mask_tools.addWidget(masks)
        for block in (
            self.files, self.headline, self.warning, self.progress, status, again, line(),
            cases, self.loading, self.table, grid, row, self.blocked, self.note, words, self.auto,
            self.mask_tools, line(), self.ranked, self.rank_line, self.submit,
        ):  # fmt: skip
            if isinstance(block, QWidget):
                column.addWidget(block)
            else:
                column.addLayout(block)
        column.addStretch(1)
        scrolled(self, body)

    def _connect(self) -> None:
        state, requests = self._state, self._requests
        for word, (_, key, _) in DECIDE.items():
            decide = partial(requests.decide.emit, word)
            self.decide[word].clicked.connect(lambda *_, decide=decide: decide())
            self._key(key, decide)
        for made, key, signal in (
            (self.flag, "F", requests.flag),
            (self.undo, "Backspace", requests.undo),
            (self.redo, "Shift+Backspace", requests.redo),
            (self.new_finding, "M", requests.new_finding),
            (self.split, "S", requests.split),
        ):
            made.clicked.connect(lambda *_, signal=signal: signal.emit())
            self._key(key, signal.emit)
        for made, key, by in ((self.next, "N", 1), (self.before, "B", -1)):
            step = partial(requests.step.emit, by)
            made.clicked.connect(lambda *_, step=step: step())
            self._key(key, step)
        self.case_before.clicked.connect(lambda: requests.step_case.emit(-1))
        self.case_after.clicked.connect(lambda: requests.step_case.emit(1))
        self.paint.clicked.connect(lambda: requests.paint.emit("paint"))
        self.erase.clicked.connect(lambda: requests.paint.emit("erase"))
        self.merge.clicked.connect(lambda: requests.merge.emit(self.table.chosen()))
        self.save_again.clicked.connect(lambda: requests.save_again.emit())
        self.submit.clicked.connect(lambda: requests.submit.emit())
        bind(state, "hidden", self.hide_overlay.clicked)
        bind(state, "growing", self.grow.clicked)
        bind(state, "auto_advance", self.auto.toggled)
        bind(state, "ranked", self.ranked.toggled)
        self._key("H", self.hide_overlay.click)
        self._key("G", self.grow.click)
        self._key("C", self.comment.setFocus)
        self._key("L", self._next_label)
        pick(state, "show", self.show_only)
        self.label.activated.connect(lambda at: requests.label.emit(self.label.itemData(at) or ""))
        self.comment.returnPressed.connect(self._keep_comment)

    def _next_label(self) -> None:
        if self.label.count():
            at = (self.label.currentIndex() + 1) % self.label.count()
            self._requests.label.emit(self.label.itemData(at) or "")

    def _keep_comment(self) -> None:
        self._requests.comment.emit(self.comment.text().strip())
        self.comment.clearFocus()  # the keys mean decisions again
        self.setFocus()

    # ---- what is shown

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        if changed in {"", "rows", "selected", "is_open"}:
            self.table.refresh()
            self._refresh_words()
        if changed in {"", "labels"}:
            self._refresh_labels()
        if changed in _LINES:
            tell(getattr(self, changed), getattr(self._state, changed))
        if changed in {"", *_STATUS}:
            self._refresh_status()
        if changed in {"", *_BUTTONS}:
            self._refresh_buttons()

    def _refresh_status(self) -> None:
        state = self._state
        for name in _LINES:
            tell(getattr(self, name), getattr(state, name))
        self.save_again.setVisible(bool(state.not_saved))
        self.progress.setVisible(state.is_open)
        self.progress.setUpdatesEnabled(False)  # it would draw the window at once, 15 ms
        self.progress.setValue(round(1000 * state.fraction))
        self.progress.setUpdatesEnabled(True)
        for widget in (self.table, self.case_before, self.case_after):
            widget.setVisible(state.is_open)

    def _refresh_buttons(self) -> None:
        state = self._state
        for word, (_, _, tip) in DECIDE.items():
            enable(self.decide[word], tip, state.decide_blocked)
        for made, tip, blocked in (
            (self.flag, FLAG, state.decide_blocked),
            (self.undo, UNDO, state.undo_blocked),
            (self.redo, "Do again what was taken back", state.redo_blocked),
            (self.submit, SUBMIT, state.submit_blocked),
            (self.paint, PAINT, state.edit_blocked),
            (self.erase, ERASE, state.edit_blocked),
            (self.new_finding, NEW, state.edit_blocked),
            (self.grow, GROW, state.edit_blocked),
            (self.split, SPLIT, state.edit_blocked),
            (self.merge, MERGE, state.edit_blocked),
        ):
            enable(made, tip, blocked)
        closed = "" if state.is_open else "Open a review first."
        enable(self.next, NEXT, closed)
        enable(self.before, BEFORE, closed)
        enable(self.hide_overlay, HIDE, closed)
        self.hide_overlay.setChecked(state.hidden)
        self.hide_overlay.setText("Show (H)" if state.hidden else "Hide (H)")
        self.grow.setChecked(state.growing)
        self.ranked.setEnabled(not state.rank_blocked)
        self.ranked.setToolTip(
            state.rank_blocked or "Order what is left by what you accepted and rejected so far"
        )
        self.ranked.blockSignals(True)
        self.ranked.setChecked(state.ranked)
        self.ranked.blockSignals(False)
        self.auto.setChecked(state.auto_advance)
        fill(self.show_only, SHOWS, state.show)
        self.comment.setEnabled(not state.decide_blocked)
        tell(self.blocked, state.decide_blocked if state.is_open else "")

    def _refresh_labels(self) -> None:
        words = self._state.labels
        fill(self.label, [Choice("", "none"), *(Choice(w, w) for w in words)], "")
        self.label.setVisible(bool(words))
        if self.label_row is not None:
            self.label_row.setVisible(bool(words))
        self._refresh_words()

    def _refresh_words(self) -> None:
        state = self._state
        row = next((row for row in state.rows if row.candidate == state.selected), None)
        at = self.label.findData("" if row is None else row.label)
        blocked = self.label.blockSignals(True)
        self.label.setCurrentIndex(max(at, 0))
        self.label.blockSignals(blocked)
        if not self.comment.hasFocus():
            self.comment.setText("" if row is None else row.comment)
