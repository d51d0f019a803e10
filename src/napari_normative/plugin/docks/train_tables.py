"""Tables and pictures of "Train a model"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor, QImage, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_normative.plugin.state.training import COLUMNS, FileRow

_REFUSED, _ODD = QColor("#ff6b5e"), QColor("#e0a030")
ROW_HEIGHT = 20


def table(model: Any, tip: str, *, selectable: bool = False) -> QTableView:
    """Return a dense table of a model that nobody edits."""
    view = QTableView()
    view.setModel(model)
    view.setToolTip(tip)
    view.setWordWrap(False)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    modes = QAbstractItemView.SelectionMode
    view.setSelectionMode(modes.SingleSelection if selectable else modes.NoSelection)
    view.setMinimumWidth(120)
    header: Any = view.verticalHeader()
    header.setVisible(False)
    header.setDefaultSectionSize(ROW_HEIGHT)
    return view


class FilesModel(QAbstractTableModel):
    """The rows of the check table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[FileRow, ...] = ()

    def show(self, rows: tuple[FileRow, ...]) -> None:
        """Take other rows."""
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of scans."""
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        """Return the name of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return a cell, its colour, or the notes as its tooltip."""
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.cells[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.notes or row.path
        if role == Qt.ItemDataRole.ForegroundRole and (row.odd or not row.good):
            return _ODD if row.good else _REFUSED
        return None


class TextModel(QAbstractTableModel):
    """A table of words."""

    def __init__(self) -> None:
        super().__init__()
        self.header: tuple[str, ...] = ()
        self.rows: tuple[tuple[str, ...], ...] = ()

    def show(self, header: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        """Take other words."""
        self.beginResetModel()
        self.header, self.rows = header, rows
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return len(self.header)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        """Return the name of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self.header[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return a cell."""
        if role in {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole}:
            row = self.rows[index.row()]
            return row[index.column()] if index.column() < len(row) else ""
        return None


def grey_pixmap(picture: NDArray[np.uint8], rows: int) -> QPixmap:
    """Return a grey picture, ``rows`` pixels high."""
    data = np.ascontiguousarray(picture)
    height, width = data.shape
    image = QImage(data.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    smooth = Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(image).scaledToHeight(rows, smooth)
