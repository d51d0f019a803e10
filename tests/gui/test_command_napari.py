"""The command ``napari FILE``, as a program of its own on a real display."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path


def test_a_bad_file_is_one_sentence_and_the_window_stays(tmp_path: Path, qapp) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("no volume")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "napari", str(bad), "--plugin", "napari-normative"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 90
        while "NIF-006" not in log.read_text() and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        time.sleep(0.5)
        assert process.poll() is None, "the window closed"
    finally:
        process.kill()
        process.wait()
    said = log.read_text()
    assert "NIF-006" in said
    assert "Traceback" not in said
