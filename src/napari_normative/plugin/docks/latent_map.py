"""The dock "Latent map": shows a :class:`LatentMapState`, emits requests, decides nothing."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.docks.files import (
    COHORTS,
    RESULTS,
    ask_file,
    ask_folder,
    ask_target,
)
from napari_normative.plugin.docks.probe import ProbeBlock
from napari_normative.plugin.docks.scatter import ScatterPlot
from napari_normative.plugin.docks.widgets import (
    FAINT,
    WARNING,
    JobBlock,
    ModelBlock,
    button,
    combo,
    enable,
    fill,
    form,
    line,
    pick,
    scrolled,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.latent_map import UMAP, LatentMapRequests, LatentMapState
from napari_normative.plugin.state.probe import FitRequests, FitState, TellRequests, TellState
from napari_normative.plugin.state.shared import Shared

MOST_SENTENCES = 5
WIDTH = 380
"""Of the dock at least: a map needs room."""
PLACE_TIP = "Encode this scan with the model of the map; a second or two, without its anomaly map"


class LatentMapView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : LatentMapState
    requests : LatentMapRequests
    told, tell_requests, fit, fit_requests : TellState, TellRequests, FitState, FitRequests
        Of the tab "Tell a column".
    shared : Shared
    """

    def __init__(
        self,
        state: LatentMapState,
        requests: LatentMapRequests,
        told: TellState,
        tell_requests: TellRequests,
        fit: FitState,
        fit_requests: FitRequests,
        shared: Shared,
    ) -> None:
        super().__init__()
        self._state, self._requests, self._scans = state, requests, shared.scans
        self._settings = shared.settings
        self.setObjectName("napari-normative-latent-map")

        self.source = QLineEdit()
        self.source.setPlaceholderText("folder, or table with a column path")
        self.source.setToolTip(
            "A folder of scans, or a table (.tsv, .csv: path, subject, site, any others)"
        )
        self.choose_folder = button("Folder…", "Choose a folder of scans")
        self.choose_table = button("Table…", "Choose a table of scans")
        self.models = ModelBlock(shared.models, shared.model_requests, shared.settings)
        self.job = JobBlock(state, requests, "Make map", "Place every scan among the latents")
        self.refused = text(WARNING)
        self.method = combo("How places become two coordinates")
        self.method_note = text(FAINT)
        self.x_axis = combo("Across: which axis, with its share of the decoded volumes' variance")
        self.y_axis = combo("Upwards: which axis")
        self.colour_by = combo("What the dots' colours mean")
        self.plot = ScatterPlot(requests.open_row.emit)
        self.export = button("Save table…", "Figures, columns and coordinates of every scan (TSV)")
        self.scan = combo("Which open scan the star stands for")
        self.place = button("Place", PLACE_TIP)
        self.scan_line = text(FAINT)
        self.neighbours_line = text(FAINT)
        self.neighbours = QTableWidget(0, 3)
        self.probe = ProbeBlock(told, tell_requests, fit, fit_requests, shared)
        self._lay_out()

        self.source.editingFinished.connect(self._take_source)
        self.choose_folder.clicked.connect(self._pick_folder)
        self.choose_table.clicked.connect(self._pick_table)
        for name in ("method", "x_axis", "y_axis", "colour_by", "scan"):
            pick(state, name, getattr(self, name))
        self.place.clicked.connect(lambda: requests.place.emit())
        self.export.clicked.connect(self._save)
        self.neighbours.cellDoubleClicked.connect(self._open_neighbour)
        watch(self, state, self._refresh)
        watch(self, shared.scans, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        table = self.neighbours
        table.setHorizontalHeaderLabels(["Distance", "Who", "Figures"])
        table.setToolTip("Double-click opens a scan; the model's people have no names or scans")
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        rows, head = table.verticalHeader(), table.horizontalHeader()
        assert rows is not None
        assert head is not None
        rows.hide()
        for section in (0, 1):
            head.setSectionResizeMode(section, QHeaderView.ResizeMode.ResizeToContents)
        head.setStretchLastSection(True)
        table.setMinimumHeight(210)
        table.setWordWrap(False)

        for box in (self.x_axis, self.y_axis):  # two side by side
            box.setMinimumContentsLength(6)
        source = QHBoxLayout()
        source.addWidget(self.choose_folder, stretch=1)
        source.addWidget(self.choose_table, stretch=1)
        axes = QHBoxLayout()
        axes.addWidget(self.x_axis, stretch=1)
        axes.addWidget(QLabel("×"))
        axes.addWidget(self.y_axis, stretch=1)
        self._axes = QWidget()
        self._axes.setLayout(axes)
        axes.setContentsMargins(0, 0, 0, 0)
        shown = form()
        shown.addRow("Layout", self.method)
        shown.addRow(self.method_note)
        shown.addRow("Axes", self._axes)
        shown.addRow("Colour", self.colour_by)
        current = QHBoxLayout()
        current.addWidget(QLabel("★ Scan"))
        current.addWidget(self.scan, stretch=1)
        current.addWidget(self.place)

        drawn, body = QWidget(), QWidget()
        column = QVBoxLayout(drawn)
        column.setContentsMargins(2, 6, 2, 2)
        column.addWidget(self.job)
        column.addWidget(self.refused)
        column.addWidget(line())
        column.addLayout(shown)
        column.addWidget(self.plot, stretch=1)
        column.addWidget(self.export)
        column.addWidget(line())
        column.addLayout(current)
        for widget in (self.scan_line, self.neighbours_line, self.neighbours):
            column.addWidget(widget)
        self.tabs = QTabWidget()
        self.tabs.addTab(drawn, "Map")
        self.tabs.addTab(self.probe, "Tell a column")
        self.tabs.setTabToolTip(1, "Ask a probe about the open scan, or fit one to a column")
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.source)
        column.addLayout(source)
        column.addWidget(self.models)
        column.addWidget(self.tabs, stretch=1)
        scrolled(self, body)
        self.setMinimumWidth(WIDTH)

    def _take_source(self) -> None:
        self._state.source = self.source.text().strip()

    def _pick_folder(self) -> None:
        if path := ask_folder(self, self._settings, COHORTS, "Folder of scans"):
            self._state.source = path

    def _pick_table(self) -> None:
        patterns = "Tables (*.tsv *.csv *.txt)"
        if path := ask_file(self, self._settings, COHORTS, "Table of scans", patterns):
            self._state.source = path

    def _save(self) -> None:
        name = f"{Path(self._state.source).stem}-latent-map.tsv"
        patterns = "TSV (*.tsv)"
        if path := ask_target(self, self._settings, RESULTS, "Save the table", name, patterns):
            self._requests.export.emit(path)

    def _open_neighbour(self, row: int, _column: int) -> None:
        neighbours = self._state.neighbours
        if row < len(neighbours) and neighbours[row].row >= 0:
            self._requests.open_row.emit(neighbours[row].row)

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state = self._state
        if changed in {"", "source"} and self.source.text() != state.source:
            self.source.setText(state.source)
        if changed in {"", "scans", "scan"}:
            fill(self.scan, self._scans.scans, state.scan)
        if changed in {"", "method", "umap_blocked"}:
            fill(self.method, state.methods, state.method)
            _allow(self.method, UMAP, state.umap_blocked)
            tell(self.method_note, state.umap_blocked)
            self._axes.setEnabled(state.method != UMAP)
        if changed in {"", "axes", "x_axis", "y_axis"}:
            fill(self.x_axis, state.axes, state.x_axis)
            fill(self.y_axis, state.axes, state.y_axis)
        if changed in {"", "columns", "colour_by"}:
            fill(self.colour_by, state.columns, state.colour_by)
        if changed in {"", "scatter"} and state.scatter is not None:
            self.plot.show_scatter(state.scatter)
        if changed in {"", "refused"}:
            tell(self.refused, "\n".join(_first(state.refused)))
        if changed in {"", "neighbours"}:
            self._fill_neighbours()
        tell(self.scan_line, state.scan_line)
        tell(self.neighbours_line, state.neighbours_line)
        self.neighbours.setVisible(bool(state.neighbours))
        enable(self.place, PLACE_TIP, state.place_blocked)
        blocked = "" if state.scatter is not None else "Make a map first."
        if state.running:
            blocked = "Wait until the work above is done."
        enable(self.export, "Figures, columns and coordinates of every scan (TSV)", blocked)

    def _fill_neighbours(self) -> None:
        table, rows = self.neighbours, self._state.neighbours
        table.setRowCount(len(rows))
        for n, row in enumerate(rows):
            for column, words in enumerate((f"{row.distance:.2f}", row.who, row.figures)):
                item = QTableWidgetItem(words)
                item.setToolTip("Double-click to open" if row.row >= 0 else "No scan is known")
                if row.row < 0:
                    item.setForeground(Qt.GlobalColor.gray)
                table.setItem(n, column, item)


def _first(sentences: tuple[str, ...]) -> list[str]:
    """Return the first sentences, and how many more there are."""
    shown = list(sentences[:MOST_SENTENCES])
    if len(sentences) > MOST_SENTENCES:
        shown.append(f"… and {len(sentences) - MOST_SENTENCES} more; the saved table names all.")
    return shown


def _allow(box: QComboBox, key: str, blocked: str) -> None:
    """Let an entry be chosen, or say in its tooltip why it cannot."""
    model = box.model()
    item = model.item(box.findData(key)) if isinstance(model, QStandardItemModel) else None
    if item is not None:
        item.setEnabled(not blocked)
        item.setToolTip(blocked)
