"""The dock "Review": from candidates to decisions, each saved before it is called saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers import review_shown as shown
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.review_desk import Desk
from napari_normative.plugin.controllers.review_edit import Editing
from napari_normative.plugin.controllers.review_order import ReadingOrder
from napari_normative.plugin.controllers.review_saving import Saving
from napari_normative.plugin.jobs import Listener
from napari_normative.plugin.state.review import ReviewRequests, ReviewState
from napari_normative.plugin.work.review import OpenReview
from napari_normative.review.reading import Pass, Place
from napari_normative.review.records import NewEvent

if TYPE_CHECKING:
    from napari_normative.review.book import Book

LONGEST_S = 300.0
"""More time on one candidate is a pause and not counted."""

KEYS = frozenset({"A", "X", "U", "Space", "F", "Backspace", "N", "B", "H", "G", "S", "C", "L", "M"})


class ReviewController:
    """Answers the requests of the dock "Review" for one viewer.

    Parameters
    ----------
    context : Context
    clock : callable
        Seconds; for the time that is spent on a candidate.

    Attributes
    ----------
    ended_with : NormativeError or None
        What went wrong last; None again when something is opened or recorded.
    """

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self.context, self._clock = context, clock
        self.state, self.requests = ReviewState(), ReviewRequests()
        self.book: Book | None = None
        self.ended_with: NormativeError | None = None
        self.desk = Desk(context, self._on_failed)
        self.editing = Editing(context, self.desk, self._record, self._on_drawn, self._on_failed)
        self.saving = Saving(context, self.state, self._refresh_blocked)
        self.order = ReadingOrder(context, self.state)
        self._place: Place | None = None
        self._since = 0.0
        self._sure = False
        self._layout = context.get(LayoutController)
        self._layout.board.link.clicked.connect(self._on_click)
        viewer = context.viewer()
        if viewer is not None:
            viewer.layers.events.removed.connect(self._on_removed)
        self._connect()

    def _connect(self) -> None:
        requests, events = self.requests, self.state.events
        requests.open.connect(self.open)
        requests.close.connect(self.close)
        requests.decide.connect(lambda word: self._settled(lambda: self._decide(word)))
        requests.flag.connect(lambda: self._settled(self._flag))
        requests.undo.connect(lambda: self._settled(self._undo))
        requests.redo.connect(lambda: self._settled(self._redo))
        requests.step.connect(lambda by: self._settled(lambda: self._step(by)))
        requests.step_case.connect(lambda by: self._settled(lambda: self._step_case(by)))
        requests.label.connect(lambda word: self._settled(lambda: self._say("label", word)))
        requests.comment.connect(lambda word: self._settled(lambda: self._say("comment", word)))
        requests.paint.connect(lambda mode: self._settled(lambda: self._paint(mode)))
        requests.new_finding.connect(lambda: self._settled(self._new_finding))
        requests.split.connect(lambda: self._edit(lambda: self.editing.split(self._candidate)))
        requests.merge.connect(lambda names: self._edit(lambda: self.editing.merge(names)))
        requests.save_again.connect(self.saving.again)
        requests.submit.connect(lambda: self._settled(self._submit, sure=True))
        events.selected.connect(self._on_selected)
        events.hidden.connect(self._on_hidden)
        events.growing.connect(self._on_growing)
        events.visible.connect(self._claim_keys)
        events.is_open.connect(self._claim_keys)

    # ---- opening and closing

    def open(self, path: str) -> None:
        """Open a review file where its reader stopped."""
        self.close()
        self.ended_with = None
        self.state.loading = "opening the review…"
        listener = Listener(
            lambda *_: None, self._on_opened, self._on_failed, lambda: self._on_failed(None)
        )
        self.context.runner.start("Open the review", OpenReview(Path(path)), listener)

    def close(self) -> None:
        """Let go of the review; what is on the way to the disk is waited for."""
        book, self.book = self.book, None
        if book is None:
            return
        self.editing.unwatch()
        self.editing.book = None
        self.desk.clear()
        self._place = None
        self.saving.end()
        self.order.begin(None)
        self.state.is_open = False
        self._refresh()

    def _on_opened(self, book: Book) -> None:
        self.book = self.editing.book = book
        state = self.state
        state.loading, state.note = "", ""
        state.labels = book.project.labels
        state.is_open = True
        self.desk.begin(book, shown.scores_shown(book))
        self._layout.state.crosshair = True
        self.saving.begin(book)
        self.order.begin(book)
        place = book.reading.place or book.reading.after(None, "open") or book.reading.after(None)
        if place is None:
            self._refresh()
        else:
            self._go(place)

    # ---- going from one to the next

    @property
    def is_shown(self) -> bool:
        """Whether the scan at hand is the one that can be seen."""
        return self._place is not None and self.desk.number == self._place.assignment

    @property
    def _candidate(self) -> str:
        return "" if self._place is None else self._place.candidate

    @property
    def _pass(self) -> Pass | None:
        if self.book is None or self._place is None:
            return None
        return self.book.reading.passes.get(self._place.assignment)

    def go(self, place: Place) -> None:
        """Go to a candidate, after what was painted is recorded."""
        self._settled(lambda: self._go(place))

    def _go(self, place: Place, *, record: bool = True) -> None:
        """Show a place; a scan that is still being read is shown when it is there."""
        if self.book is None:
            return
        self._place = place
        self.state.growing = False
        self.state.loading = f"reading {self.book.image_of(place.assignment).id}…"
        if not self.desk.want(place.assignment, lambda: self._arrived(record)):
            self._refresh()

    def _arrived(self, record: bool) -> None:
        book, place, case = self.book, self._place, self.desk.case
        if book is None or place is None or case is None or place.assignment != self.desk.number:
            return
        self.state.loading = ""
        at = book.reading.passes[place.assignment]
        read = at.read(place.candidate)
        self.editing.watch()
        self.desk.recolour(at.reads)
        self._since = self._clock()
        self._refresh()
        layer = self.desk.labels
        if read is not None and layer is not None:
            layer.selected_label = read.value
            measured = case.measured.get(read.mask)
            if measured is not None and measured.inside_mm is not None:
                self._layout.go_to(measured.inside_mm)
        if record and not self._blocked() and place != book.reading.place:
            self._record([NewEvent("open", place.assignment, place.candidate)])
        near = self.order.upcoming(place.assignment)
        self.desk.keep((place.assignment, *near))
        for number in near[:1]:
            self.desk.fetch(number)

    def _on_selected(self, candidate: str) -> None:
        """Follow a row that somebody chose."""
        if self._place is not None and candidate and candidate != self._place.candidate:
            self.go(Place(self._place.assignment, candidate))

    def _step(self, by: int) -> None:
        if self.book is not None:
            place = self.book.reading.after(self._place, self.state.show, by)  # type: ignore[arg-type]
            if place is None:
                self.state.note = "No candidate fits the filter."
            else:
                self._go(place)

    def _step_case(self, by: int) -> None:
        """Go to the first candidate of the next scan, or of the one before."""
        if self.book is None or self._place is None:
            return
        numbers = list(self.book.reading.passes)
        at = numbers.index(self._place.assignment)
        number = numbers[(at + by) % len(numbers)]
        reads = self.book.reading.passes[number].reads
        self._go(Place(number, reads[0].candidate if reads else ""))

    # ---- decisions

    def _decide(self, word: str) -> None:
        """Accept, reject, call uncertain or skip the candidate; then go on."""
        if self._refuse():
            return
        assert self.book is not None and self._place is not None
        place = self._place
        if word != "skip" and not self.is_shown:
            self.state.note = "The scan is not shown, so nothing of it can be decided."
            return
        if not place.candidate:
            if word != "skip":
                self.state.note = "There is no candidate here. Space: the scan is done."
                return
            self._record([NewEvent("submit", place.assignment)])
        else:
            seconds = round(min(self._clock() - self._since, LONGEST_S), 2)
            event = NewEvent(word, place.assignment, place.candidate, {"seconds": seconds})  # type: ignore[arg-type]
            self._record([event])
            self._since = self._clock()
        if self.book.reading.passes[place.assignment].done:
            self.order.learn()
        following = self.order.following(place)
        if following is None or following == place:
            self.state.note = "Everything is decided. Submit when you are sure."
        if following is not None and (self.state.auto_advance or word == "skip"):
            self._go(following)
        else:
            self._on_drawn()

    def _flag(self) -> None:
        at = self._pass
        if self._refuse() or at is None or self._place is None:
            return
        read = at.read(self._candidate)
        on = not (at.flagged if read is None else read.flagged)
        self._record([NewEvent("flag", at.number, self._candidate, {"on": on})])

    def _say(self, what: str, words: str) -> None:
        """Give the candidate a label or a comment; the scan, where there is no candidate."""
        at = self._pass
        if at is None or (what == "label" and not self._candidate) or self._refuse():
            return
        read = at.read(self._candidate)
        before = at.comment if read is None else getattr(read, what)
        if words != before:
            self._record([NewEvent(what, at.number, self._candidate, {what: words})])  # type: ignore[arg-type]

    def _undo(self) -> None:
        if not self._refuse() and self.book is not None:
            self._revert("undo", self.book.reading.undoable)

    def _redo(self) -> None:
        if not self._refuse() and self.book is not None:
            self._revert("redo", self.book.reading.redoable)

    def _revert(self, action: Any, event: NewEvent | None) -> None:
        """Take something back and go where it was."""
        if event is None or self.book is None:
            return
        self._record([NewEvent(action, reverts=event.id)])
        place = self.book.reading.place
        if place is not None:
            reads = self.book.reading.passes[place.assignment].reads
            if all(read.candidate != place.candidate for read in reads):
                place = Place(place.assignment, reads[0].candidate if reads else "")
            self._go(place)
            self.editing.redraw()

    def _submit(self) -> None:
        if self._refuse() or self.book is None:
            return
        if not self._sure:
            told = self.book.reading.progress()
            left = told.candidates - told.decided
            without = f" {left} candidates have none." if left else ""
            self.state.note = f"Press Submit again to make all decisions final.{without}"
            self._sure = True
            return
        self._sure = False
        self._record([NewEvent("submit")])
        self.desk.unblind()
        if self._place is not None:
            self._go(self._place)

    # ---- masks

    def _edit(self, change: Callable[[], None]) -> None:
        self._settled(lambda: None if self._refuse() else change())

    def take_masks(self, path: str) -> None:
        """Take the masks of the scan at hand from a file that another program wrote."""
        self._edit(lambda: self.editing.take(Path(path)))

    def _paint(self, mode: str) -> None:
        at = self._pass
        read = None if at is None else at.read(self._candidate)
        if read is not None and not self._refuse():
            self.editing.paint(read.value, mode)

    def _new_finding(self) -> None:
        if self.book is not None and self._place is not None and not self._refuse():
            value = self.book.reading.free_value(self._place.assignment)
            self.editing.paint(value, "paint")
            self.state.note = "Paint the finding; it is recorded when you pause."

    def _on_click(self, world_mm: tuple[float, float, float]) -> None:
        if self.state.growing:
            self.state.growing = False
            self._edit(lambda: self.editing.grow(world_mm))

    def _on_growing(self, on: bool) -> None:
        """Put the brush away: a click is to choose a place."""
        layer = self.desk.labels
        if on and layer is not None:
            layer.mode = "pan_zoom"
            self.state.note = "Click on the finding that is to be added."

    # ---- saving

    def _record(self, events: list[NewEvent], masks: Mapping[str, bytes] | None = None) -> None:
        """Take events into the review and save them."""
        self.ended_with = None
        if self.book is None:
            return
        try:
            future = self.book.record(*events, masks=masks)
        except NormativeError as error:
            self._on_failed(error)
            return
        self.saving.follow(future)
        for event in events:
            if event.action in {"add", "split"} and event.candidate:
                self._place = Place(event.assignment, event.candidate)
        self._refresh()

    # ---- what is shown

    def _settled(self, then: Callable[[], None], *, sure: bool = False) -> None:
        """Do something after what was painted is recorded."""
        if self.book is not None:
            self.state.note = ""
            self._sure = self._sure and sure
            self.editing.settled(then)

    def _blocked(self) -> str:
        """Return why nothing can be decided now."""
        return shown.blocked(self.book, self.state)

    def _refuse(self) -> bool:
        reason = self._blocked()
        if reason:
            self.state.note = reason
        return bool(reason)

    def _refresh(self) -> None:
        self._refresh_blocked()
        at = self._pass
        case = None if at is None or self.desk.number != at.number else self.desk.case
        shown.show(self.state, self.book, at, case, self._candidate)

    def _refresh_blocked(self) -> None:
        shown.show_blocked(self.state, self.book, editable=self.desk.labels is not None)

    def _on_failed(self, error: NormativeError | None) -> None:
        self.state.loading = ""
        self.ended_with = error
        if error is not None:
            self.state.note = str(error)
            self.context.notify(str(error))
        self._refresh()

    def _on_drawn(self) -> None:
        at = self._pass
        if at is not None:
            self.desk.recolour(at.reads)
        self._refresh()

    def _on_hidden(self, hidden: bool) -> None:
        layer = self.desk.labels
        if layer is not None:
            layer.visible = not hidden

    def _on_removed(self, event: Any = None) -> None:
        """Say that nothing can be edited when somebody removed the candidates' layer."""
        self._refresh_blocked()

    def _claim_keys(self, *_: object) -> None:
        mine = self.state.visible and self.state.is_open
        self.context.keys.taken = KEYS if mine else frozenset()
