"""The job behind "Report…": one detection as HTML or PDF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import CancelledError, ModelFileError
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf

if TYPE_CHECKING:
    from napari_normative.core.card import ModelCard
    from napari_normative.engine.detection import Detection


@dataclass(frozen=True, eq=False)
class Report:
    """Write the report of a detection; the ending of ``path`` says in which format.

    It is light work (about two seconds, off the main thread) and belongs in a thread: in the
    engine's process the detection would have to be sent first.

    Attributes
    ----------
    detection : Detection
    path : Path
    name : str or None
        What the scan is called in the report; the beginning of its digest where None.
    notes : tuple of str
        What the reader changed, in sentences.
    models : ModelShelf or None
    model : str
        Key of the chosen model; its verdict and limits are told if it made the detection.
    """

    detection: Detection
    path: Path
    name: str | None = None
    notes: tuple[str, ...] = ()
    models: ModelShelf | None = None
    model: str = ""

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Path:
        """Write it and return its path.

        Raises
        ------
        OutputError
            ``OUT-016`` for an ending that is neither, ``OUT-002`` if it cannot be written.
        """
        card = self._card()
        progress("drawing the key images", 0.1)
        if cancelled():
            raise CancelledError
        if self.path.suffix.lower() == ".pdf":
            from napari_normative.plugin.report_pdf import save_pdf_report

            return save_pdf_report(
                self.detection, self.path, name=self.name, card=card, notes=self.notes
            )
        from napari_normative.engine.case_report import save_case_report

        return save_case_report(
            self.detection, self.path, name=self.name, card=card, notes=self.notes
        )

    def _card(self) -> ModelCard | None:
        if self.models is None:
            return None
        try:
            model = self.models.load(self.model)
        except ModelFileError:  # the file went meanwhile: the report is worth writing without
            return None
        same = model.digest == self.detection.provenance["model"]["sha256"]
        return model.card if same else None
