"""Around the dock "Review": making reviews, and taking results out of them."""

from __future__ import annotations

from pathlib import Path

from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.state.review import ReviewFilesRequests, ReviewFilesState
from napari_normative.plugin.work.review_files import (
    Adjudicate,
    CompareReaders,
    CreateReview,
    ExportReview,
    Made,
)
from napari_normative.review.assign import Plan
from napari_normative.review.create import words


class ReviewFilesController(JobController):
    """Answers what the dock asks for around files.

    Parameters
    ----------
    context : Context

    Attributes
    ----------
    files : tuple of Path
        That were made last.
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = ReviewFilesState(), ReviewFilesRequests()
        super().__init__(context, self.state, self.requests)
        self._review = context.get(ReviewController)
        self.files: tuple[Path, ...] = ()
        self.requests.run.connect(self.create)
        self.requests.export.connect(self.export)
        self.requests.import_masks.connect(self._review.take_masks)
        self.requests.compare.connect(self.compare)
        self.requests.adjudicate.connect(self.adjudicate)
        for name in ("source", "target", "reader", "order", "listed", "running"):
            self.state.events[name].connect(self._refresh)
        context.models.state.events.model.connect(self._refresh)
        self._review.state.events.is_open.connect(self._refresh)
        self._review.state.events.edit_blocked.connect(self._refresh)
        self._refresh()

    def create(self) -> None:
        """Make a review for the reader, and open it."""
        state, models = self.state, self.context.models
        if state.running or state.run_blocked:
            return
        source, target = Path(state.source), Path(state.target)
        plan = Plan(
            order=state.order,  # type: ignore[arg-type]
            blind=state.blind,
            labels=words(state.words),
            title=target.name,
        )
        work = CreateReview(
            models.shelf, models.state.model, models.state.device, source,
            Path(state.scans) if state.scans else source, target, (state.reader,), plan,
            Path(state.listed) if state.order == "list" else None,
        )  # fmt: skip
        self._start("New review", work, self._on_made)

    def export(self, folder: str, series: str = "") -> None:
        """Write the results of the open review into a folder."""
        book, state = self._review.book, self.state
        if book is None or state.running or state.export_blocked:
            return
        dicom = Path(series) if series else None
        work = ExportReview(book.store.path, Path(folder), state.format, dicom)
        self._start("Export", work, self._on_exported, self.context.runner)

    def compare(self, folder: str) -> None:
        """Say how far the readers of the project in a folder agree."""
        if not self.state.running:
            work = CompareReaders(Path(folder))
            self._start("Agreement", work, self._on_compared, self.context.runner)

    def adjudicate(self, folder: str) -> None:
        """Make the review of what the readers of the project in a folder dispute, and open it."""
        state = self.state
        if not state.running and not state.adjudicate_blocked:
            work = Adjudicate(Path(folder), state.reader.strip())
            self._start("Adjudication", work, self._on_adjudication, self.context.runner)

    def _on_compared(self, lines: tuple[str, ...]) -> None:
        self._finish("\n".join(lines))

    def _on_adjudication(self, path: Path) -> None:
        self._finish(f"{path.name} was made.")
        self._review.open(str(path))

    def _on_made(self, made: Made) -> None:
        self.files = made.files
        lines = [f"{made.scans} scans with {made.candidates} candidates.", *made.refused]
        self._finish("\n".join(lines))
        self._review.open(str(made.files[0]))

    def _on_exported(self, result: tuple[Path, int, list[str]]) -> None:
        folder, count, refused = result
        self._finish("\n".join([f"{count} files in {folder.name}.", *refused]))

    def _refresh(self, *_: object) -> None:
        state = self.state
        reason = ""
        if not state.source:
            reason = "Choose the folder of detections or scans."
        elif not state.target:
            reason = "Choose a folder for the review."
        elif not state.reader.strip():
            reason = "Say who reads."
        elif state.order == "list" and not state.listed:
            reason = "Choose the assignment list."
        elif not self.context.models.state.model:
            reason = "Choose a model first."
        state.run_blocked = reason
        busy = "Wait for the job." if state.running else ""
        state.compare_blocked = busy
        state.adjudicate_blocked = busy or ("" if state.reader.strip() else "Say who adjudicates.")
        state.export_blocked = busy if self._review.book is not None else "Open a review first."
        state.import_blocked = busy or self._review.state.edit_blocked
