"""Several linked panes in napari's window.

``mirror`` shows a viewer's layers in a second viewer model, ``link`` keeps point and
camera together, ``marks`` draws letters and crosshair, ``area`` puts panes into the
window. The first two know no Qt.
"""
