import os
import shutil
import subprocess
import sys

import pytest

from napari_normative.display import has_display, virtual_display
from napari_normative.errors import DeviceError

needs_xvfb = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")


def test_without_a_server_there_is_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display()


@needs_xvfb
def test_a_virtual_display_accepts_a_window_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    code = (
        "from qtpy.QtWidgets import QApplication;"
        "a = QApplication([]); print(a.platformName(), a.primaryScreen().size().width())"
    )
    with virtual_display() as environment:
        number = environment["DISPLAY"].removeprefix(":")
        assert os.path.exists(f"/tmp/.X11-unix/X{number}")  # noqa: PTH110
        shown = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert shown.stdout.split() == ["xcb", "1680"]
    assert not os.path.exists(f"/tmp/.X11-unix/X{number}")  # noqa: PTH110


@needs_xvfb
def test_two_virtual_displays_do_not_meet() -> None:
    with virtual_display() as first, virtual_display() as second:
        assert first["DISPLAY"] != second["DISPLAY"]


def test_a_missing_server_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match=r"\[DEV-020\].*apt-get install xvfb"), virtual_display():
        pass
