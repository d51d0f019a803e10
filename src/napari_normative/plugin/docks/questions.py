"""Questions that only a person can answer."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QMessageBox


def ask(text: str, answers: tuple[str, ...], refuse: str = "Do not open") -> int | None:
    """Put a question and return the number of the answer, None when there was none."""
    box = QMessageBox(QApplication.activeWindow())
    box.setWindowTitle("napari-normative")
    box.setText(text)
    buttons = [box.addButton(answer, QMessageBox.ButtonRole.AcceptRole) for answer in answers]
    box.setDefaultButton(box.addButton(refuse, QMessageBox.ButtonRole.RejectRole))
    box.exec()
    clicked = box.clickedButton()
    box.deleteLater()
    return buttons.index(clicked) if clicked in buttons else None
