"""The job behind "Report…": one detection as HTML or PDF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import CancelledError
from napari_normative.plugin.jobs import Cancelled, Progress

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
    card : ModelCard or None
        Of the model, for its verdict and limits.
    """

    detection: Detection
    path: Path
    name: str | None = None
    notes: tuple[str, ...] = ()
    card: ModelCard | None = None

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Path:
        """Write it and return its path.

        Raises
        ------
        OutputError
            ``OUT-016`` for an ending that is neither, ``OUT-002`` if it cannot be written.
        """
        progress("drawing the key images", 0.1)
        if cancelled():
            raise CancelledError
        if self.path.suffix.lower() == ".pdf":
            from napari_normative.plugin.report_pdf import save_pdf_report

            return save_pdf_report(
                self.detection, self.path, name=self.name, card=self.card, notes=self.notes
            )
        from napari_normative.engine.case_report import save_case_report

        return save_case_report(
            self.detection, self.path, name=self.name, card=self.card, notes=self.notes
        )
