"""Docks: views that show the state and emit requests."""
