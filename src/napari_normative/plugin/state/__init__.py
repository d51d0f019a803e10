"""What the docks show and what they ask for: evented dataclasses without Qt and napari.

A view reads a state object and emits requests; a controller answers requests and writes the
state. Neither knows the other.
"""
