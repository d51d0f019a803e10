"""The demo: results, scan, truth and pictures in a folder, on a display of its own."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_normative.cli import app
from napari_normative.engine.model import available_models

MODEL = "brain-t1"


@pytest.mark.skipif(
    MODEL not in {entry.name for entry in available_models()}, reason=f"{MODEL} is not packaged"
)
def test_the_demo_command_runs_on_a_virtual_display(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="the sample scans need the extra demo")
    result = CliRunner().invoke(app, ["demo", "--screenshots", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"axial.png", "window.png", "volume-3d.png", "sample-brain-with-lesion.nii.gz"} <= made
    assert (tmp_path / "out" / "sample-brain-with-lesion" / "detection.json").exists()
