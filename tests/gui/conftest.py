"""What the tests of real windows share."""

from __future__ import annotations

import pytest

from napari_normative.plugin import models, session
from napari_normative.plugin.jobs import ThreadRunner


@pytest.fixture(autouse=True)
def engine(request, monkeypatch):
    """Heavy work runs in a thread, where tests can hold it; ``process`` tests use the process."""
    if "process" not in request.keywords:
        monkeypatch.setattr(session, "runners_for", lambda viewer: (ThreadRunner(), ThreadRunner()))


@pytest.fixture(autouse=True)
def recent(tmp_path, monkeypatch):
    """Recent models are remembered in a folder of the test."""
    monkeypatch.setattr(models, "recent_file", lambda: tmp_path / "recent.json")
