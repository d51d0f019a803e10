"""A path that can be typed or chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from napari_normative.plugin.docks.widgets import button, watch


class PathRow(QWidget):
    """A line with buttons beside it, all of which write a field of a state.

    Parameters
    ----------
    state : object
        Evented.
    field : str
    placeholder, tip : str
        Of the line.
    *choosers : (label, tip, ask)
        A button each; ``ask()`` puts a dialog and returns the path, empty for none.
    """

    def __init__(
        self,
        state: Any,
        field: str,
        placeholder: str,
        tip: str,
        *choosers: tuple[str, str, Callable[[], str]],
    ) -> None:
        super().__init__()
        self._state, self._field = state, field
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(placeholder)
        self.edit.setToolTip(tip)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.edit, stretch=1)
        self.buttons = []
        for label, told, ask in choosers:
            choose = button(label, told)
            choose.clicked.connect(lambda _=False, ask=ask: self._take(ask()))
            row.addWidget(choose)
            self.buttons.append(choose)
        self.edit.editingFinished.connect(lambda: self._take(self.edit.text().strip(), typed=True))
        watch(self, state, self._refresh)
        self._refresh()

    def _take(self, path: str, *, typed: bool = False) -> None:
        if path or typed:
            setattr(self._state, self._field, path)

    def _refresh(self, changed: str = "") -> None:
        path = getattr(self._state, self._field)
        if changed in {"", self._field} and self.edit.text() != path:
            self.edit.setText(path)


def open_page(path: str) -> None:
    """Show a report in the person's web browser."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(path).absolute())))
