"""The latent map's requests, without Qt: what is placed, coloured, opened and saved."""

from __future__ import annotations

import pickle
import shutil
import weakref
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_normative.core.attribution import SAME
from napari_normative.engine import layout
from napari_normative.layers.spec import (
    facts_of,
    origin_of,
)
from napari_normative.plugin import models as shelf_module
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.controllers.scatter import colouring, columns_of, first_column
from napari_normative.plugin.files import open_file
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.models import ModelShelf


@pytest.fixture
def cohort(phantom_cohort, tmp_path):
    lines = ["path\tsite\tage"]
    for n, (site, age) in enumerate([("A", 21), ("B", 35), ("B", 50), ("A", 77)]):
        name = f"sub-{n:02d}_T1w.nii.gz"
        shutil.copy(phantom_cohort / name, tmp_path)
        lines.append(f"{name}\t{site}\t{age}")
    (tmp_path / "sub-01_T1w.nii.gz").write_bytes(b"no volume")
    table = tmp_path / "cohort.tsv"
    table.write_text("\n".join(lines) + "\n")
    return table


class Crossing(SynchronousRunner):
    """Sends work and its result through a pickle, as the engine process does."""

    def start(self, title, work, listener):
        there = pickle.loads(pickle.dumps(work))

        def answer(progress, cancelled):
            return pickle.loads(pickle.dumps(there(progress, cancelled)))

        return super().start(title, answer, listener)


@pytest.fixture
def made(tmp_path_factory, tmp_path, monkeypatch, tiny_model_path):
    places = tmp_path_factory.getbasetemp() / "places"  # shared: each scan is placed once
    monkeypatch.setattr(shelf_module, "recent_file", lambda: tmp_path / "recent.json")
    viewer, notes = ViewerModel(), []
    models, scans = ModelsController(ModelShelf(), notes.append), ScansController(viewer)
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    runner = SynchronousRunner()
    context = Context(weakref.ref(viewer), runner, Crossing(), models, scans, notes.append)
    controller = LatentMapController(context)
    controller.cache = places
    return SimpleNamespace(
        viewer=viewer, context=context, controller=controller, state=controller.state,
        requests=controller.requests, notes=notes,
    )  # fmt: skip


def mapped(made, cohort):
    made.state.source = str(cohort)
    made.requests.run.emit()
    assert made.state.error == ""
    return made.state


def test_a_map_without_a_source_says_what_is_missing(made):
    assert made.state.run_blocked == "Choose a folder or a table of scans first."
    assert made.state.place_blocked == "Make a map first."
    made.requests.run.emit()
    assert made.state.scatter is None
    made.state.source = "somewhere"
    assert made.state.run_blocked == ""


def test_a_cohort_becomes_dots_and_its_bad_files_sentences(made, cohort):
    state = mapped(made, cohort)
    assert state.summary.startswith("3 of 4 scans placed with tiny")
    (sentence,) = state.refused
    assert "sub-01_T1w.nii.gz" in sentence
    scatter = state.scatter
    assert scatter.rows == (0, 2, 3)
    assert scatter.scans.shape == (3, 2)
    assert "age 50" in scatter.tips[1]
    assert "scan score" in scatter.tips[1]
    model = made.context.models.shelf.load(made.context.models.state.model)
    assert len(scatter.people) == len(model.people.latents)
    assert [level for level, _, _ in scatter.ellipses] == [0.5, 0.95]
    assert scatter.current is None
    assert [c.key for c in state.columns] == [
        "scan_score", "scan_p", "latent_distance", "site", "age",
    ]  # fmt: skip


def test_colours_follow_the_column(made, cohort):
    state = mapped(made, cohort)
    assert state.colour_by == "site"
    assert state.scatter.colouring.categories == ("A", "B")
    np.testing.assert_array_equal(state.scatter.colouring.values, [0, 1, 0])
    state.colour_by = "scan_score"
    assert state.scatter.colouring.categories == ()
    assert (state.scatter.colouring.values > 0).all()


def test_axes_are_chosen_among_the_most_telling(made, cohort):
    state = mapped(made, cohort)
    first = state.scatter
    assert state.axes[0].label.startswith("Axis 1 (")
    state.x_axis = "2"
    np.testing.assert_array_equal(state.scatter.scans[:, 1], first.scans[:, 1])
    assert not np.allclose(state.scatter.scans[:, 0], first.scans[:, 0])
    assert state.scatter.ellipses[1][1] < first.ellipses[1][1]


def test_a_click_opens_the_scan_and_puts_the_star_on_its_dot(made, cohort):
    state = mapped(made, cohort)
    made.requests.open_row.emit(2)
    (layer,) = made.viewer.layers
    assert layer.name == "sub-02_T1w"
    assert made.viewer.layers.selection.active is layer
    assert state.scatter.current == pytest.approx(tuple(state.scatter.scans[1]))
    made.requests.open_row.emit(2)  # it is open already
    assert len(made.viewer.layers) == 1
    made.requests.open_row.emit(0)
    assert made.viewer.layers.selection.active.name == "sub-00_T1w"
    assert state.scatter.current == pytest.approx(tuple(state.scatter.scans[0]))
    made.viewer.layers.selection.active = layer
    assert state.scatter.current == pytest.approx(tuple(state.scatter.scans[1]))
    made.requests.open_row.emit(1)  # damaged
    assert "sub-01_T1w.nii.gz" in state.error
    assert len(made.viewer.layers) == 2
    made.requests.open_row.emit(99)


def test_neighbours_are_others_nearest_first(made, cohort):
    state = mapped(made, cohort)
    made.requests.open_row.emit(2)
    rows = state.neighbours
    assert len(rows) == 8
    distances = [row.distance for row in rows]
    assert distances == sorted(distances)
    assert distances[0] >= SAME
    assert all(row.row != 2 for row in rows)
    named = {row.row for row in rows if row.row >= 0}
    assert named <= {0, 3}
    others = [row.who for row in rows if row.row < 0]
    assert others
    assert set(others) <= {
        "person of the training cohort", "person of the calibration cohort",
    }  # fmt: skip


def test_the_place_button_encodes_a_scan_that_is_not_in_the_cohort(made, cohort, phantom_cohort):
    state = mapped(made, cohort)
    (data,) = open_file(str(phantom_cohort / "sub-09_T1w.nii.gz"))
    made.viewer.add_layer(Layer.create(*data))
    assert state.scatter.current is None
    assert "press Place" in state.scan_line
    made.requests.place.emit()
    assert state.scatter.current is not None
    assert state.scan_line.startswith("Latent distance")
    assert "3 of 4 scans placed" in state.summary


def test_a_detection_places_the_star_by_itself(made, cohort, phantom_cohort):
    state = mapped(made, cohort)
    (data,) = open_file(str(phantom_cohort / "sub-09_T1w.nii.gz"))
    layer = made.viewer.add_layer(Layer.create(*data))
    scan = facts_of(layer).volumes[0]
    model = made.context.models.shelf.load(made.context.models.state.model)
    made.context.detections[origin_of(scan)] = model.detect(scan, device="cpu")
    made.viewer.add_image(np.zeros((4, 4, 4)), name="a result")
    made.viewer.layers.selection.active = layer
    state.scan = made.context.scans.key_of(layer)
    found = state.scatter.current
    assert found is not None
    made.requests.place.emit()
    assert state.scatter.current == pytest.approx(found, abs=1e-4)


def test_umap_lays_out_everybody_and_can_fail_softly(made, cohort, monkeypatch):
    state = mapped(made, cohort)
    given = []

    def fake(places, *, cancel, seed=0):
        given.append(places)
        return np.arange(2.0 * len(places)).reshape(-1, 2)

    monkeypatch.setattr(layout, "umap_layout", fake)
    state.umap_blocked = ""
    state.method = "umap"
    assert state.scatter.x_label == "UMAP 1"
    assert state.scatter.ellipses == ()
    assert len(given[0]) == 3 + len(state.scatter.people)
    state.colour_by = "age"
    assert len(given) == 1  # colours need no new layout
    made.requests.open_row.emit(0)
    assert len(given) == 2  # the star does
    assert state.scatter.current is not None
    state.method = "principal"
    assert state.scatter.x_label.startswith("Axis 1")


def test_umap_says_why_it_cannot_be_chosen(made, cohort, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    state = mapped(made, cohort)
    assert 'pip install "napari-normative[umap]"' in state.umap_blocked
    state.method = "umap"
    assert state.method == "principal"
    assert state.scatter.x_label.startswith("Axis 1")


def test_the_table_is_saved_with_its_coordinates_and_safe_cells(made, cohort, tmp_path):
    text = cohort.read_text().replace("\tA\t21", "\t=cmd()\t21")
    cohort.write_text(text)
    state = mapped(made, cohort)
    made.requests.export.emit(str(tmp_path / "out"))
    assert state.summary == "3 scans written to out.tsv."
    raw = (tmp_path / "out.tsv").read_text()
    assert "'=cmd()" in raw
    assert str(tmp_path) not in raw
    table = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    assert list(table["scan"]) == [f"sub-{n:02d}_T1w.nii.gz" for n in range(4)]
    assert table["map_x"].isna().tolist() == [False, True, False, False]
    assert table["map_y"][2] == pytest.approx(state.scatter.scans[1, 1], rel=1e-5)
    assert "NIF-" in table["error"][1]


def test_an_empty_folder_is_a_sentence_and_the_old_map_stays(made, cohort, tmp_path):
    state = mapped(made, cohort)
    before = state.scatter
    (tmp_path / "empty").mkdir()
    state.source = str(tmp_path / "empty")
    made.requests.run.emit()
    assert "COH-001" in state.error
    assert "Nothing was placed" in made.notes[-1]
    assert state.scatter is before
    assert not state.running


def test_a_column_of_many_numbers_is_a_scale_and_of_many_names_is_grouped():
    table = pd.DataFrame(
        {
            "scan": range(20),
            "age": [str(20 + n) for n in range(19)] + [""],
            "sex": ["1", "2"] * 10,
            "coil": [f"c{n}" for n in range(17)] + ["c0"] * 3,
            "error": "",
        }
    )
    age = colouring(table, "age", "age")
    assert age.categories == ()
    assert age.values[0] == 20
    assert np.isnan(age.values[-1])
    assert colouring(table, "sex", "sex").categories == ("1", "2")
    coil = colouring(table, "coil", "coil")
    assert len(coil.categories) == 7
    assert coil.categories[-1] == "others"
    assert coil.categories[0] == "c0"
    assert "error" not in {c.key for c in columns_of(table)}
    assert first_column(table) == "scan_score"
