"""Every control of every dock says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QScrollBar,
    QTabBar,
    QWidget,
)

MANIFEST = PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml")
DOCKS = [widget.display_name for widget in MANIFEST.contributions.widgets]
CONTROLS = (
    QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit, QAbstractItemView,
)  # fmt: skip


def is_part_of_qt(widget, dock):
    """Whether a widget belongs to one of Qt's own: a scroll bar, a list of a picker, a header."""
    if isinstance(widget, QScrollBar | QHeaderView) or "CornerButton" in type(widget).__name__:
        return True
    above = widget.parentWidget()
    while above is not None and above is not dock:
        if isinstance(above, QComboBox | QAbstractSpinBox | QTabBar | QAbstractItemView):
            return True
        above = above.parentWidget()
    return False


def told(widget, dock):
    """The tooltip that appears over a widget: its own, or that of what it lies in."""
    while widget is not None and widget is not dock:
        if widget.toolTip():
            return widget.toolTip()
        widget = widget.parentWidget()
    return ""


@pytest.mark.parametrize("name", DOCKS)
def test_every_control_has_a_tooltip(make_napari_viewer, name):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-normative", name)
    controls = [w for w in dock.findChildren(QWidget) if isinstance(w, CONTROLS)]
    ours = [w for w in controls if not is_part_of_qt(w, dock)]
    assert len(ours) >= 5
    silent = [
        f"{type(w).__name__} {getattr(w, 'text', w.objectName)()!r}"
        for w in ours
        if not told(w, dock)
    ]
    assert silent == []
