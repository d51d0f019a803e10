"""The tab "Write a set" without Qt: sets of every kind, their report, volumes as layers."""

from __future__ import annotations

import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.io.nifti import read_volume
from napari_normative.layers.spec import SAMPLES, SCAN, facts_of, spec_of
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.sample_set import SetController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import ModelShelf
from phantoms import phantom


@pytest.fixture
def made(tmp_path, tiny_model_path):
    viewer, told = ViewerModel(), []
    models = ModelsController(ModelShelf(tmp_path / "recent.json"), told.append)
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    runner = SynchronousRunner()
    context = Context(
        weakref.ref(viewer), runner, runner, models, ScansController(viewer), told.append
    )
    controller = SetController(context)
    return SimpleNamespace(
        viewer=viewer, models=models, controller=controller, state=controller.state
    )


def add_scan(viewer, seed):
    volume = phantom(seed)
    return add_spec(viewer, spec_of([volume], volume.source.name, SCAN, colormap="gray"))


def table_of(phantom_cohort, path, sexes):
    rows = ["path\tsex\tage"]
    for n, sex in enumerate(sexes):
        rows.append(f"{phantom_cohort / f'sub-{n:02d}_T1w.nii.gz'}\t{sex}\t{20 + n}")
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def test_a_set_is_written_gone_on_with_and_shown(made, tmp_path):
    state, folder = made.state, tmp_path / "set"
    assert state.run_blocked == "Choose a folder for the set."
    state.folder, state.count, state.seed = str(folder), 2, 5
    made.controller.requests.run.emit()
    assert state.error == ""
    assert state.summary == "2 synthetic volumes, in set."
    assert state.report == ""
    state.count = 3
    made.controller.run()
    assert state.summary == "3 synthetic volumes, 2 of them there before, in set."
    state.shown = 2
    made.controller.requests.show.emit()
    (layer,) = made.viewer.layers
    assert layer.name == "set · set (synthetic)"
    files = sorted(folder.glob("sub-*/anat/*_T1w.nii.gz"))
    assert len(files) == 3
    stored = np.stack([read_volume(file).data.transpose(2, 1, 0) for file in files[:2]])
    np.testing.assert_array_equal(layer.data, stored)
    facts = facts_of(layer)
    assert facts.role == SAMPLES
    assert (facts.provenance["kind"], facts.provenance["seed"]) == ("prior", 5)
    state.seed = 6
    made.controller.run()
    assert state.error.startswith("[GEN-002]")
    assert state.show_blocked == "Write a set first."


def test_a_report_is_written_beside_real_scans(made, tmp_path, phantom_cohort):
    state = made.state
    state.folder, state.count, state.real = str(tmp_path / "set"), 4, str(phantom_cohort)
    made.controller.run()
    assert state.error == ""
    assert state.report == str(tmp_path / "set" / "quality.html")
    assert (tmp_path / "set" / "quality.html").is_file()
    assert "are" in state.summary.splitlines()[1]


def test_about_a_scan_and_between_two(made, tmp_path):
    state = made.state
    state.kind, state.folder, state.count = "posterior", str(tmp_path / "about"), 1
    assert state.run_blocked == "Open a scan first."
    add_scan(made.viewer, 7)
    made.controller.run()
    assert state.error == ""
    record = json.loads((tmp_path / "about" / "synthetic.json").read_text())
    assert record["kind"] == "posterior"
    assert record["scans"] == [{"sha256": phantom(7).source.digest}]
    state.kind, state.folder = "interpolation", str(tmp_path / "way")
    assert state.run_blocked == "Open two scans first."
    add_scan(made.viewer, 8)
    made.controller.run()
    assert state.error == ""
    record = json.loads((tmp_path / "way" / "synthetic.json").read_text())
    assert len(record["scans"]) == 2


def test_a_group_is_chosen_from_a_table(made, tmp_path, phantom_cohort):
    state = made.state
    state.kind, state.folder, state.count = "group", str(tmp_path / "women"), 1
    assert state.run_blocked == "Choose a table, and a group of its people."
    state.table = table_of(phantom_cohort, tmp_path / "people.tsv", "FFFFFFFFMMM")
    assert [choice.key for choice in state.columns] == ["sex", "site"]
    assert [choice.label for choice in state.values] == ["F (8)"], "three men are no group"
    made.controller.run()
    assert state.error == ""
    record = json.loads((tmp_path / "women" / "synthetic.json").read_text())
    assert (record["kind"], record["like"], record["people"]) == ("group", "sex=F", 8)
    state.table = str(tmp_path / "gone.tsv")
    assert state.table_error.startswith("[NIF-001] gone.tsv")
    assert state.columns == state.values == ()
    assert state.run_blocked == "Choose a table, and a group of its people."


@pytest.mark.parametrize(
    ("latents", "kind", "reason"),
    [("none", "prior", "no latents"), ("grid", "group", "knows no groups"), ("grid", "prior", "")],
)
def test_a_model_that_cannot_says_so(made, tmp_path, latents, kind, reason):
    made.state.folder, made.state.kind = str(tmp_path / "set"), kind
    made.models.state.latents = latents
    assert reason in made.state.run_blocked
    assert bool(made.state.run_blocked) == bool(reason)
