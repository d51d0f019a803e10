"""What the tests of the pages share."""

from __future__ import annotations

import pytest

from napari_normative.plugin import session
from napari_normative.plugin.jobs import ThreadRunner


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    """Heavy work of the window runs in a thread: torch is loaded once for all pages."""
    usual = session.runners_for

    def runners(viewer):
        return (ThreadRunner(), ThreadRunner()) if hasattr(viewer, "window") else usual(viewer)

    monkeypatch.setattr(session, "runners_for", runners)
