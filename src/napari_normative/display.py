"""A display for a window: the one that is there, or a virtual one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_normative.errors import DeviceError

SCREEN = "1680x1050x24"


def has_display() -> bool:
    """Whether a window can be opened for a person to see."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def require_qt() -> None:
    """Refuse where no window can be made.

    Raises
    ------
    DeviceError
        ``DEV-022`` unless a Qt binding is installed.
    """
    if not any(map(importlib.util.find_spec, ("PyQt6", "PySide6"))):
        raise DeviceError(
            "DEV-022",
            "this opens a napari window, and no Qt is installed",
            'Install it with: pip install "napari-normative[all]"',
        )


@contextmanager
def virtual_display() -> Iterator[dict[str, str]]:
    """Run Xvfb on a free display number; yield the environment for programs to show on it.

    Raises
    ------
    DeviceError
        ``DEV-020`` if Xvfb is not installed, ``DEV-021`` if it does not start.
    """
    if shutil.which("Xvfb") is None:
        raise DeviceError(
            "DEV-020",
            "there is no display, and no Xvfb to make a virtual one",
            "Install it, for instance with: sudo apt-get install xvfb",
        )
    with tempfile.TemporaryDirectory(prefix="napari-normative-") as private:
        read_end, write_end = os.pipe()
        # Xvfb chooses a free number itself and writes it to this pipe once it is ready.
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write_end), "-screen", "0", SCREEN, "-nolisten", "tcp"],
            pass_fds=[write_end],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write_end)
        try:
            with os.fdopen(read_end) as ready:
                number = ready.readline().strip()
            if not number:
                raise DeviceError(
                    "DEV-021",
                    f"the virtual display did not start (Xvfb ended with {server.wait()})",
                    "Run Xvfb :99 in a terminal to see why, or set DISPLAY.",
                )
            yield _environment(f":{number}", Path(private))
        finally:
            server.terminate()
            server.wait()


def _environment(display: str, private: Path) -> dict[str, str]:
    """Return the environment of a program on the virtual display, with its own settings."""
    environment = dict(os.environ)
    environment.pop("WAYLAND_DISPLAY", None)
    environment.update(
        DISPLAY=display,
        QT_QPA_PLATFORM="xcb",  # another setting, such as offscreen, leaves the canvas blank
        LIBGL_ALWAYS_SOFTWARE="1",
        XDG_RUNTIME_DIR=str(private),
        NAPARI_CONFIG=str(private / "settings.yaml"),  # a person's settings stay as they are
    )
    return environment
