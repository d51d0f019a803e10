"""The tab "Tell a column" without Qt: a probe is fitted, asked, and says when it does not apply."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.core.applicability import Applicability
from napari_normative.engine.model import load_model
from napari_normative.engine.prediction import Prediction
from napari_normative.engine.probe_file import ProbeCard, load_probe
from napari_normative.io.nifti import write_volume
from napari_normative.layers.spec import SCAN, spec_of
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.probe import (
    FitController,
    TellController,
    describe,
    in_words,
    no_better_than_a_guess,
)
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.work import probe as work
from phantoms import phantom


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Two dozen phantoms; ``big`` is half of them, ``age`` a number."""
    folder = tmp_path_factory.mktemp("people")
    rows = ["path\tsubject\tbig\tage\talike"]
    for n in range(24):
        write_volume(folder / f"sub-{n:02d}.nii.gz", phantom(300 + n))
        wide = np.random.default_rng(300 + n).standard_normal(3)[0] > 0
        rows.append(f"sub-{n:02d}.nii.gz\tsub-{n:02d}\t{'yes' if wide else 'no'}\t{20 + n}\tsame")
    table = folder / "people.tsv"
    table.write_text("\n".join(rows) + "\n")
    return table


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
    fit, tell = context.get(FitController), context.get(TellController)
    return SimpleNamespace(
        viewer=viewer, models=models, fit=fit, tell=tell, map=context.get(LatentMapController)
    )


@pytest.fixture
def quick(monkeypatch):
    """No permutations: they take most of the time and nothing here is about them."""
    from napari_normative.engine import probe

    whole = probe.fit_probe
    monkeypatch.setattr(probe, "fit_probe", lambda *a, **k: whole(*a, permutations=0, **k))


def add_scan(viewer, seed):
    volume = phantom(seed)
    return add_spec(viewer, spec_of([volume], volume.source.name, SCAN, colormap="gray"))


def test_from_a_table_to_a_probe_to_what_it_says(made, people, tmp_path, quick):
    fit, tell = made.fit.state, made.tell.state
    assert fit.run_blocked == "Choose a table of scans above first."
    made.map.state.source = str(people)
    assert [choice.label for choice in fit.columns] == ["big (24)", "age (24)"]
    assert fit.column == "big"
    assert fit.run_blocked == "Choose a folder for the report."
    fit.column, fit.folder = "age", str(tmp_path / "age")
    made.fit.requests.run.emit()
    assert fit.error == ""
    assert fit.report == str(tmp_path / "age" / "probe.html")
    assert fit.summary.startswith("The latents ")
    assert tell.probe == str(tmp_path / "age" / "probe.safetensors")
    assert tell.probe_line.startswith("Tells age, a number, from the latents of ")
    assert "24 people" in tell.probe_line

    assert tell.run_blocked == "Open a scan first."
    add_scan(made.viewer, 305)
    made.tell.requests.run.emit()
    assert tell.error == ""
    probe, model = load_probe(tell.probe), load_model(made.models.state.model)
    wanted = probe.predict(model, phantom(305), device="cpu")
    assert tell.told == f"age: {wanted.value:.3g}"
    low, high = (float(w) for w in tell.detail.split(",")[0].split("interval ")[1].split(" to "))
    assert (low + high) / 2 == pytest.approx(wanted.value, abs=0.1)
    assert (high - low) / 2 == pytest.approx(1.96 * probe.card.figures["rmse"], abs=0.1)
    assert made.tell.prediction.record["probe_sha256"] == probe.digest
    assert ("within limits" in tell.applies) == (wanted.applicability.verdict == "ok")
    guess = probe.card.figures["r2"] <= 0
    assert ("no better than a guess" in tell.doubts) == guess
    known = (*probe.card.warnings, *wanted.warnings)
    assert tell.doubts.count("⚠") == len(known) + guess
    add_scan(made.viewer, 306)
    tell.scan = made.tell.context.scans.state.scans[-1].key
    assert tell.told == tell.detail == tell.applies == ""


def test_probabilities_of_categories_are_told_most_probable_first():
    made = Prediction("sex", "F", {"F": 0.3, "M": 0.68, "x": 0.02}, Applicability(()), 1.0, 0.5, ())
    card = ProbeCard(
        target="sex", kind="category", classes=("F", "M", "x"), model="m", model_sha256="0" * 64,
        penalty=1.0, people=31, scans=40, figures={"auroc": 0.8123, "ap": 0.5},
    )  # fmt: skip
    assert in_words(made, card) == ("sex: F", "M: 68%\nF: 30%\nx: 2%")
    assert describe(card) == (
        "Tells sex, F or M or x, from the latents of m; fitted to 31 people. Of people out of "
        "fold: AUROC 0.812."
    )
    assert no_better_than_a_guess(card) == ()
    (warning,) = no_better_than_a_guess(card.model_copy(update={"figures": {"auroc": 0.5}}))
    assert "do not rely" in warning


def test_what_cannot_be_read_or_told_is_said(made, people, tmp_path):
    tell, fit = made.tell.state, made.fit.state
    foreign = tmp_path / "probe.safetensors"
    foreign.write_bytes(b"nothing")
    tell.probe = str(foreign)
    assert tell.probe_error.startswith("[PRB-005] probe.safetensors")
    assert tell.run_blocked == "Choose a probe first, or fit one below."
    made.map.state.source = str(tmp_path / "gone.tsv")
    assert fit.table_error.startswith("[NIF-001] gone.tsv")
    assert fit.run_blocked == "Choose a column to tell."
    made.map.state.source = str(people)
    fit.folder = str(tmp_path / "out")
    made.models.state.latents = "grid"
    assert "no one latent vector" in fit.run_blocked
    assert "no one latent vector" in tell.run_blocked
    made.fit.run()
    assert not (tmp_path / "out").exists()


def test_what_was_told_of_a_former_scan_is_dropped(made, monkeypatch):
    told = SimpleNamespace(prediction=None, card=None, devices=("cpu",))
    monkeypatch.setattr(work.Tell, "__call__", lambda *_: told)
    tell = made.tell.state
    add_scan(made.viewer, 305)
    tell.probe = "probe.safetensors"
    made.tell._on_told(told, ("another scan", tell.probe, made.models.state.model))
    assert made.tell.prediction is None
    assert tell.told == ""
