"""Masks under review: what a label tool changed, and regions that are grown, split and merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.review_desk import Desk
from napari_normative.plugin.jobs import Listener, Repeater, Work
from napari_normative.plugin.work.review import Case, Measured
from napari_normative.plugin.work.review_masks import (
    Changed,
    Grow,
    Merge,
    ReadEdit,
    Redraw,
    Region,
    Split,
    TakeMasks,
    new_id,
)
from napari_normative.review.records import NewEvent

if TYPE_CHECKING:
    from napari_normative.review.book import Book

SETTLE_S = 0.4
"""A stroke is recorded when none has followed it for so long."""

Record = Callable[..., None]


class Editing:
    """Turns changes of the candidates' layer into events, one after another.

    Whatever must come after a change of masks is given to :meth:`settled`.

    Parameters
    ----------
    context : Context
    desk : Desk
    record : callable of (events, masks)
        Takes them into the review.
    drawn : callable
        Told when the candidates were drawn or measured anew.
    failed : callable of (NormativeError)
    """

    def __init__(
        self,
        context: Context,
        desk: Desk,
        record: Record,
        drawn: Callable[[], None],
        failed: Callable[[NormativeError], None],
    ) -> None:
        self.context = context
        self._desk = desk
        self._record, self._drawn, self._failed = record, drawn, failed
        self._after: list[Callable[[], None]] = []
        self._busy = False
        self._timer: Repeater | None = None
        self._watched: Any = None
        self.book: Book | None = None

    def watch(self) -> None:
        """Hear of strokes on the layer that shows the candidates now."""
        layer = self._desk.labels
        if layer is self._watched:
            return
        self.unwatch()
        if layer is not None:
            layer.events.paint.connect(self._on_paint)
            self._watched = layer

    def unwatch(self) -> None:
        """Let go of the layer."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._watched is not None:
            self._watched.events.paint.disconnect(self._on_paint)
            self._watched = None

    def settled(self, then: Callable[[], None]) -> None:
        """Record what was painted, then call; at once when nothing was."""
        self._after.append(then)
        if not self._busy:
            self._settle()

    def paint(self, value: int, mode: str) -> None:
        """Give the label tools a candidate, or a value of its own for a missed finding."""
        viewer, layer = self.context.viewer(), self._desk.labels
        if viewer is None or layer is None:
            return
        viewer.layers.selection.active = layer
        layer.selected_label = value
        layer.mode = mode

    def grow(self, world_mm: tuple[float, float, float]) -> None:
        """Add a finding that is grown from a place."""
        case, number = self._desk.case, self._desk.number
        if case is None:
            return

        def done(region: Region) -> None:
            assert self.book is not None
            value = self.book.reading.free_value(number)
            name = new_id(case.image.id)
            details = {"mask": region.masks[0], "value": value, "how": "grown"}
            self._change([NewEvent("add", number, name, details)], region)

        self._run("Grow a finding", Grow(case, world_mm), done)

    def split(self, candidate: str) -> None:
        """Divide a candidate in two."""
        book, case, number = self.book, self._desk.case, self._desk.number
        read = None if book is None or case is None else book.reading.passes[number].read(candidate)
        if book is None or case is None or read is None:
            return

        def done(region: Region) -> None:
            value = book.reading.free_value(number)
            parts = [
                {"id": new_id(case.image.id), "value": value + n, "mask": digest}
                for n, digest in enumerate(region.masks[1:])
            ]
            details = {"mask": region.masks[0], "parts": parts}
            self._change([NewEvent("split", number, candidate, details)], region)

        self._run("Split a candidate", Split(book, case, read.mask), done)

    def merge(self, candidates: tuple[str, ...]) -> None:
        """Make one candidate of several; the first keeps its number."""
        book, case, number = self.book, self._desk.case, self._desk.number
        if book is None or case is None or len(candidates) < 2:
            return
        reads = [read for read in book.reading.passes[number].reads if read.candidate in candidates]

        def done(region: Region) -> None:
            others = [read.candidate for read in reads[1:]]
            details = {"mask": region.masks[0], "with": others}
            self._change([NewEvent("merge", number, reads[0].candidate, details)], region)

        self._run("Merge", Merge(book, case, tuple(read.mask for read in reads)), done)

    def take(self, path: Path) -> None:
        """Take the masks of the scan from a file."""
        book, case = self.book, self._desk.case
        if book is not None and case is not None:
            work = TakeMasks(book, case, self._desk.number, path)
            self._run("Import masks", work, lambda taken: self._change(*taken))

    def redraw(self) -> None:
        """Show the candidates as the review has them now, if that is not what is shown."""
        book, case, number = self.book, self._desk.case, self._desk.number
        if book is None or case is None:
            return
        reads = book.reading.passes[number].reads
        if {read.value: read.mask for read in reads} != case.drawn:
            work = Redraw(book, case, reads)
            self._run("Draw the candidates", work, lambda drawn: self._show(case, *drawn))

    def _on_paint(self, event: Any = None) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.context.runner.repeat(SETTLE_S, self._on_quiet)

    def _on_quiet(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.settled(lambda: None)

    def _settle(self) -> None:
        """Record what was painted, then do what waits."""
        case, layer = self._desk.case, self._desk.labels
        if (
            self.book is not None
            and case is not None
            and layer is not None
            and layer.data.shape == case.known.shape
            and not np.array_equal(layer.data, case.known)
        ):
            self._run("Record an edit", ReadEdit(case, np.array(layer.data)), self._on_edit)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Do what waits; whatever changes masks makes the rest wait again."""
        while self._after and not self._busy:
            self._after.pop(0)()

    def _on_edit(self, changed: Changed) -> None:
        book, case, number = self.book, self._desk.case, self._desk.number
        assert book is not None and case is not None
        by_value = {read.value: read.candidate for read in book.reading.passes[number].reads}
        events = []
        known = {by_value[v]: d for v, d in changed.masks.items() if v in by_value}
        if known:
            first = next(iter(known))
            events.append(NewEvent("edit_mask", number, first, {"masks": known, "how": "painted"}))
        for value, digest in changed.masks.items():
            if value not in by_value:
                details = {"mask": digest, "value": value, "how": "painted"}
                events.append(NewEvent("add", number, new_id(case.image.id), details))
        self._take(case, changed.labels, changed.known, changed.measured)
        case.drawn |= changed.masks
        if events:
            self._record(events, changed.blobs)
            self._drawn()

    def _change(self, events: list[NewEvent], region: Region) -> None:
        if self._desk.case is not None:
            self._desk.case.measured |= region.measured
        if events:
            self._record(events, dict(region.blobs))
        self.redraw()

    def _show(
        self, case: Case, labels: Any, known: Any, drawn: dict[int, str],
        measured: dict[str, Measured],
    ) -> None:  # fmt: skip
        self._take(case, labels, known, measured)
        case.drawn = drawn
        layer = self._desk.labels
        if layer is not None and case is self._desk.case:
            layer.data = known.copy()
        self._drawn()

    def _take(self, case: Case, labels: Any, known: Any, measured: dict[str, Measured]) -> None:
        case.labels, case.known = labels, known
        case.measured |= measured

    def _run(self, title: str, work: Work, done: Callable[[Any], None]) -> None:
        """Do work, then what waits for it. After a failure nothing is tried again by itself."""
        self._busy = True

        def finish(tell: Callable[[], None], then: Callable[[], None]) -> None:
            self._busy = False
            tell()
            if not self._busy:
                then()

        listener = Listener(
            progress=lambda step, fraction: None,
            done=lambda result: finish(lambda: done(result), self._settle),
            failed=lambda error: finish(lambda: self._failed(error), self._go_on),
            cancelled=lambda: finish(lambda: None, self._go_on),
        )
        self.context.runner.start(title, work, listener)
