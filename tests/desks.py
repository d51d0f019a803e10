"""The dock "Review" without Qt, as tests drive it."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

from napari.components import ViewerModel

from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.models import ModelShelf


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def desk_for(tmp_path):
    """Return a viewer with the controller of the dock, its state and a clock."""
    viewer, notes, runner = ViewerModel(), [], SynchronousRunner()
    models = ModelsController(ModelShelf(tmp_path / "recent.json"), notes.append)
    context = Context(
        weakref.ref(viewer), runner, runner, models, ScansController(viewer), notes.append
    )
    clock = Clock()
    review = ReviewController(context, clock)
    context.controllers[ReviewController] = review
    return SimpleNamespace(
        viewer=viewer, notes=notes, context=context, review=review, state=review.state,
        requests=review.requests, clock=clock,
    )  # fmt: skip
