"""Around the dock "Review": making reviews, and taking results out of them."""

from __future__ import annotations

from pathlib import Path

from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.state.review import ReviewFilesRequests, ReviewFilesState
from napari_normative.plugin.work.review_files import CreateReview, ExportReview, Made
from napari_normative.review.assign import Plan
from napari_normative.review.create import words


class ReviewFilesController(JobController):
    """Answers what the dock asks for around files.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = ReviewFilesState(), ReviewFilesRequests()
        super().__init__(context, self.state, self.requests)
        self._review = context.get(ReviewController)
        self.requests.run.connect(self.create)
        self.requests.export.connect(self.export)
        for name in ("source", "target", "reader", "running"):
            self.state.events[name].connect(self._refresh)
        context.models.state.events.model.connect(self._refresh)
        self._review.state.events.is_open.connect(self._refresh)
        self._review.state.events.saved.connect(self._refresh)
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
        )  # fmt: skip
        self._start("New review", work, self._on_made)

    def export(self, folder: str) -> None:
        """Write the results of the open review into a folder."""
        book, state = self._review.book, self.state
        if book is None or state.running or state.export_blocked:
            return
        work = ExportReview(book.store.path, Path(folder), state.format)
        self._start("Export", work, self._on_exported, self.context.runner)

    def _on_made(self, made: Made) -> None:
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
        elif not self.context.models.state.model:
            reason = "Choose a model first."
        state.run_blocked = reason
        book = self._review.book
        state.export_blocked = (
            "Open a review first." if book is None else "Wait for the job." if state.running else ""
        )
