"""The scan on the desk of a review: read in the background, shown in place, its window kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    REVIEW,
    SCAN,
    facts_of,
)
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.jobs import Listener
from napari_normative.plugin.layers import (
    add_spec,
    update,
)
from napari_normative.plugin.looks import decision_colours
from napari_normative.plugin.work.review import Case, LoadCase

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_normative.layers.spec import LayerSpec
    from napari_normative.review.book import Book
    from napari_normative.review.reading import Read

KEPT = 3
"""Scans in memory: the one at hand, the next and the one before."""


class Desk:
    """Shows one scan of a review at a time and reads the next meanwhile.

    Parameters
    ----------
    context : Context
    failed : callable of (NormativeError)
        Told when the scan that is waited for cannot be read.
    """

    def __init__(self, context: Context, failed: Callable[[NormativeError], None]) -> None:
        self.context = context
        self.case: Case | None = None
        self.number = 0
        self._failed = failed
        self._board = context.get(LayoutController).board
        self._cases: dict[int, Case] = {}
        self._loading: set[int] = set()
        self._wanted: tuple[int, Callable[[], None]] | None = None
        self._layers: dict[str, weakref.ref[Layer]] = {}
        self._coloured: tuple[Any, dict[int, str]] = (None, {})
        self._book: Book | None = None
        self._maps = False

    def begin(self, book: Book, maps: bool) -> None:
        """Take up a review; ``maps`` says whether scores may be seen."""
        self.clear()
        self._book, self._maps = book, maps

    def unblind(self) -> None:
        """Read scans again, with their maps; what is shown stays until then."""
        self._maps = True
        self._cases.clear()

    def clear(self) -> None:
        """Take the review's layers out of the viewer and let go of its scans."""
        viewer = self.context.viewer()
        for layer in self.layers:
            if viewer is not None and layer in viewer.layers:
                viewer.layers.remove(layer)
        self._layers.clear()
        self._cases.clear()
        self._loading.clear()
        self._book, self.case, self.number, self._wanted = None, None, 0, None

    @property
    def layers(self) -> list[Layer]:
        """The layers that the review put into the viewer."""
        return [layer for ref in self._layers.values() if (layer := ref()) is not None]

    @property
    def labels(self) -> Labels | None:
        """The layer with the candidates; None when somebody removed it."""
        return self._layer(REVIEW)

    @property
    def scan(self) -> Layer | None:
        """The layer of the scan; None when somebody removed it."""
        return self._layer(SCAN)

    def want(self, number: int, then: Callable[[], None]) -> bool:
        """Show the scan of a pass, then call; False while it is still being read."""
        self._wanted = (number, then)
        case = self._cases.get(number)
        if case is not None and (number == self.number or self._is_current(number, case)):
            self._show(number)
            return True
        self._cases.pop(number, None)
        self.fetch(number)
        return False

    def fetch(self, number: int) -> None:
        """Read the scan of a pass in the background, unless it is there."""
        book = self._book
        if book is None or number in self._cases or number in self._loading:
            return
        self._loading.add(number)
        at = book.reading.passes[number]
        work = LoadCase(book, book.image_of(number), at.reads, self._maps)
        listener = Listener(
            progress=lambda step, fraction: None,
            done=lambda case: self._on_read(book, number, case),
            failed=lambda error: self._on_failed(book, number, error),
            cancelled=lambda: self._loading.discard(number),
        )
        self.context.runner.start(f"Read {work.image.id}", work, listener)

    def keep(self, numbers: Iterable[int]) -> None:
        """Let go of scans that are far away."""
        near = set(numbers)
        for number in [n for n in self._cases if n not in near]:
            if len(self._cases) > KEPT:
                del self._cases[number]

    def recolour(self, reads: Iterable[Read]) -> None:
        """Let the outlines say what was decided."""
        layer, decisions = self.labels, {read.value: read.decision for read in reads}
        if layer is not None and (layer, decisions) != self._coloured:
            layer.colormap = decision_colours(decisions)
            self._coloured = (layer, decisions)

    def _on_read(self, book: Book, number: int, case: Case) -> None:
        if book is not self._book:  # another review was opened meanwhile
            return
        self._loading.discard(number)
        if not self._is_current(number, case):
            self.fetch(number)
            return
        self._cases[number] = case
        if self._wanted is not None and self._wanted[0] == number:
            self._show(number)

    def _is_current(self, number: int, case: Case) -> bool:
        """Whether a scan was drawn with the candidates that its pass has now."""
        assert self._book is not None
        reads = self._book.reading.passes[number].reads
        return case.drawn == {read.value: read.mask for read in reads}

    def _on_failed(self, book: Book, number: int, error: NormativeError) -> None:
        if book is not self._book:
            return
        self._loading.discard(number)
        if self._wanted is not None and self._wanted[0] == number:
            self._wanted = None
            self._failed(error)

    def _show(self, number: int) -> None:
        """Put a scan into the layers that show scans of this review."""
        assert self._wanted is not None
        then, self._wanted = self._wanted[1], None
        case = self._cases[number]
        viewer = self.context.viewer()
        if viewer is not None and case is not self.case:
            first = self.case is None
            selected = viewer.layers.selection.active
            kept = self._kept_window()
            roles = {spec.facts.role for spec in case.specs}
            for role, reference in list(self._layers.items()):
                layer = reference()
                if role not in roles and layer is not None and layer in viewer.layers:
                    viewer.layers.remove(layer)
            with self._board.together():
                for spec in (*case.specs[:-1], replace(case.specs[-1], data=case.known.copy())):
                    self._place(viewer, spec)
            self._apply_window(kept, case)
            labels = self.labels
            if labels is not None and labels is not viewer.layers[-1]:  # maps came later
                viewer.layers.move(viewer.layers.index(labels), len(viewer.layers))
            if selected is not None and selected in viewer.layers:
                viewer.layers.selection.active = selected
            if first:
                viewer.reset_view()
        self.case, self.number = case, number
        then()

    def _place(self, viewer: Any, spec: LayerSpec) -> None:
        role = spec.facts.role
        layer = self._layer(role)
        if layer is None:
            layer = add_spec(viewer, spec)
            self._layers[role] = weakref.ref(layer)
        else:
            update(layer, spec)
            layer.name = spec.attributes["name"]
        if role == REVIEW:
            layer.contour = 2
            layer.preserve_labels = True  # painting one candidate leaves the others alone

    def _kept_window(self) -> tuple[float, float] | None:
        """Return the reader's window as shares of the default one; None if it is that."""
        layer: Any = self.scan
        if layer is None or self.case is None:
            return None
        low, high = self.case.specs[0].attributes["contrast_limits"]
        black, white = layer.contrast_limits
        if (black, white) == (low, high):
            return None
        return (black - low) / (high - low), (white - low) / (high - low)

    def _apply_window(self, kept: tuple[float, float] | None, case: Case) -> None:
        layer: Any = self.scan
        if kept is not None and layer is not None:
            low, high = case.specs[0].attributes["contrast_limits"]
            layer.contrast_limits = tuple(low + share * (high - low) for share in kept)

    def _layer(self, role: str) -> Any:
        reference = self._layers.get(role)
        layer = None if reference is None else reference()
        viewer = self.context.viewer()
        if layer is None or viewer is None or layer not in viewer.layers:
            return None
        facts = facts_of(layer)
        return layer if facts is not None and facts.role == role else None
