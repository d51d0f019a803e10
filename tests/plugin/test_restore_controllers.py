"""The dock "Restore" without Qt: scans are filled and saved, large files stay on disk."""

from __future__ import annotations

import json
import pickle
import weakref
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.engine.model import load_model
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.layers.spec import INPAINTED, MADE, SCAN, facts_of, spec_of
from napari_normative.plugin.commands import read
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.large import LargeController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import ModelShelf
from napari_normative.volume import Volume
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
    restore, large = RestoreController(context), LargeController(context)
    return SimpleNamespace(
        viewer=viewer, told=told, models=models, restore=restore, state=restore.state, large=large
    )


def add_scan(viewer, volume):
    return add_spec(viewer, spec_of([volume], volume.source.name, SCAN, colormap="gray"))


def turned(volume):
    """The same scan stored as LPI, its axes in another order: nothing moves in the world."""
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.data, volume.affine))
    goal = nib.orientations.axcodes2ornt("PIL")
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), goal)
    )
    return Volume.from_array(image.get_fdata(), image.affine, "turned")


def test_slices_are_filled_and_all_else_stays_bit_for_bit(made):
    scan = phantom(7)
    damaged = scan.data.copy()
    damaged[:, :, 20:22] = 0
    layer = add_scan(made.viewer, Volume.from_array(damaged, scan.affine, "holed"))
    made.state.missing, made.state.slices = "slices", "k:20-21"
    made.restore.requests.run.emit()
    assert made.state.error == ""
    _, filled, where = made.viewer.layers
    assert [filled.name, where.name] == ["holed · filled (synthetic)", "holed · made (synthetic)"]
    assert [facts_of(each).role for each in (filled, where)] == [INPAINTED, MADE]
    digest = load_model(made.models.state.model).digest
    for each in (filled, where):
        np.testing.assert_array_equal(each.extent.world, layer.extent.world)
        assert facts_of(each).provenance["model_sha256"] == digest
    mask = np.zeros(damaged.shape, dtype=bool)
    mask[:, :, 20:22] = True
    np.testing.assert_array_equal(where.data.astype(bool), mask.transpose(2, 1, 0))
    shown = filled.data.transpose(2, 1, 0)
    np.testing.assert_array_equal(shown[~mask], damaged[~mask])
    error = np.abs(shown - scan.data)[mask].mean()
    assert error < 0.35 * np.abs(damaged - scan.data)[mask].mean()
    assert "slices k:20-21" in made.state.summary
    assert "synthetic" in made.state.summary


def test_missing_slices_are_found_without_being_named(made):
    scan = phantom(7)
    damaged = scan.data.copy()
    damaged[:, 25] = 0
    add_scan(made.viewer, Volume.from_array(damaged, scan.affine, "holed"))
    made.restore.run()
    assert made.state.error == ""
    assert "j:25 without signal" in made.state.summary


def test_voxels_that_are_no_numbers_are_found_in_the_file(made, tmp_path):
    scan = phantom(7)
    data = scan.data.copy()
    data[20:23, 24:27, 20:23] = np.nan
    image = nib.Nifti1Image(data, scan.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "holed.nii.gz")
    ((shown, attributes, _),) = read(str(tmp_path / "holed.nii.gz"))
    made.viewer.add_image(shown, **attributes)
    made.restore.run()
    assert made.state.error == ""
    assert "27 voxels that are not numbers" in made.state.summary
    assert made.viewer.layers[-1].data.sum() == 27


def test_what_somebody_painted_is_filled(made):
    scan = phantom(7)
    layer = add_scan(made.viewer, scan)
    made.state.missing = "marked"
    assert made.state.run_blocked == "Add a labels layer and paint what is missing."
    painted = np.zeros(layer.data.shape, np.uint8)
    painted[18:22, 20:26, 15:20] = 3
    made.viewer.add_labels(
        painted, scale=layer.scale, translate=layer.translate, units=layer.units, name="ink"
    )
    assert made.state.run_blocked == ""
    made.restore.run()
    assert made.state.error == ""
    np.testing.assert_array_equal(made.viewer.layers[-1].data, painted != 0)


def test_the_slice_on_the_screen_is_named_by_the_stored_axis(made):
    layer = add_scan(made.viewer, turned(phantom(7)))  # stored P, I, L
    assert made.state.axes_line.split(" · ") == [
        "i 0-49 to P", "j 0-41 to I", "k 0-41 to L",
    ]  # fmt: skip
    made.viewer.dims.set_current_step(0, 10)  # the eleventh axial slice from below
    made.restore.requests.add_slice.emit()
    assert made.state.slices == "j:31"
    made.viewer.dims.order = (1, 0, 2)
    made.viewer.dims.set_current_step(1, 4)
    made.restore.add_slice()
    made.restore.add_slice()
    assert made.state.slices == "j:31, i:45"
    made.state.missing = "slices"
    made.restore.run()
    assert made.state.error == ""
    where = made.viewer.layers[-1].data
    assert where[10].all() and where[:, 4].all() and not where[11, 5].any()
    made.viewer.dims.ndisplay = 3
    assert "3D" in made.state.slice_blocked
    assert layer.visible


def test_a_scan_chosen_in_the_dock_stays_chosen_when_its_results_are_placed(made):
    first, second = add_scan(made.viewer, phantom(7)), add_scan(made.viewer, phantom(8))
    made.viewer.layers.selection.active = first
    keys = {layer.name: made.restore.context.scans.key_of(layer) for layer in (first, second)}
    assert made.state.scan == keys["phantom-7"]
    made.state.scan = keys["phantom-8"]
    made.state.missing, made.state.slices = "slices", "k:20"
    made.restore.run()
    assert made.viewer.layers.selection.active is first
    assert made.state.scan == keys["phantom-8"]
    assert made.restore.made.filled.source.name == "phantom-8"
    made.viewer.layers.selection.active = second
    made.viewer.layers.selection.active = first
    assert made.restore.made is None, "the other scan was not filled"


def test_what_cannot_be_done_is_said(made):
    assert made.state.run_blocked == "Open a scan first."
    assert made.state.save_blocked == "Fill or denoise this scan first."
    add_spec(made.viewer, spec_of([phantom(7), phantom(8)], "rest", SCAN))
    assert made.state.run_blocked == "rest is a series; open one volume of it."
    made.viewer.layers.clear()
    add_scan(made.viewer, phantom(7))
    assert made.state.run_blocked == ""
    made.restore.run()
    assert "[GEN-010]" in made.state.error
    made.state.missing = "slices"
    assert made.state.run_blocked == "Name the slices that are missing, such as k:40-44."
    made.state.slices = "k:7000"
    made.restore.run()
    assert "[GEN-012]" in made.state.error
    assert len(made.viewer.layers) == 1
    made.models.state.latents = "none"
    assert "no latents" in made.state.run_blocked


def test_saved_as_shown_and_forgotten_with_the_layers(made, tmp_path):
    add_scan(made.viewer, phantom(7))
    made.state.missing, made.state.slices = "slices", "k:20"
    made.restore.run()
    made.restore.requests.save.emit(str(tmp_path / "filled"))
    assert made.state.summary == (
        "filled.nii.gz, made.nii.gz, interpolation.nii.gz, inpaint.json are in filled"
    )
    record = json.loads((tmp_path / "filled" / "inpaint.json").read_text())
    assert record["slices"] == ["k:20"]
    stored = read_volume(tmp_path / "filled" / "filled.nii.gz").data
    shown = made.viewer.layers["phantom-7 · filled (synthetic)"].data
    np.testing.assert_allclose(stored.transpose(2, 1, 0), shown, atol=1e-4)
    for layer in list(made.viewer.layers)[1:]:
        made.viewer.layers.remove(layer)
    assert made.state.save_blocked == "Fill or denoise this scan first."


def test_noise_is_taken_out_and_kept_beside_a_filling(made, tmp_path):
    scan = add_scan(made.viewer, phantom(7, spacing_mm=3.0))
    made.state.missing, made.state.slices = "slices", "k:20"
    made.restore.run()
    assert made.state.denoise_blocked == ""
    made.restore.requests.denoise.emit()
    assert made.state.error == ""
    denoised, removed = made.viewer.layers[-2:]
    assert [layer.name for layer in (denoised, removed)] == [
        "phantom-7 · denoised", "phantom-7 · removed noise",
    ]  # fmt: skip
    np.testing.assert_allclose(denoised.data + removed.data, scan.data, atol=1e-3)
    assert removed.data.std() > 0
    assert not removed.visible
    assert facts_of(denoised).origin == facts_of(scan).origin
    assert "without the model" in made.state.summary
    made.restore.save(str(tmp_path / "quiet"))
    assert (tmp_path / "quiet" / "denoise.json").is_file()
    kinds = [type(kept.result).__name__ for kept in made.restore.kept]
    assert kinds == ["Inpainted", "Denoised"]
    made.models.state.latents = "none"
    assert made.state.denoise_blocked == "", "only filling needs latents"


def test_a_large_file_is_reconstructed_to_disk_and_shown_from_there(made, tmp_path):
    path = write_volume(tmp_path / "big.nii.gz", turned(phantom(7, spacing_mm=3.0)))
    state = made.large.state
    assert state.run_blocked == "Choose the file of a scan first."
    state.source = str(path)
    assert state.run_blocked == "Choose a new folder for the results."
    state.folder = str(tmp_path / "out")
    made.large.requests.run.emit()
    assert state.error == ""
    reconstruction, residual = made.viewer.layers
    for layer, name in ((reconstruction, "reconstruction"), (residual, "residual")):
        assert np.shares_memory(layer.data, facts_of(layer).volumes[0].data)
        assert isinstance(facts_of(layer).volumes[0].data, np.memmap)
        stored = read_volume(tmp_path / "out" / f"{name}.nii").canonical().data
        np.testing.assert_array_equal(layer.data, stored.transpose(2, 1, 0))
    scan = add_scan(made.viewer, read_volume(path))
    np.testing.assert_array_equal(scan.extent.world, residual.extent.world)
    assert facts_of(residual).provenance["kind"] == "streamed reconstruction"
    assert f"{' × '.join(map(str, read_volume(path).shape))} voxels" in state.summary
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    state.folder = str(tmp_path / "mine")
    made.large.run()
    assert state.error.startswith("[OUT-010]")


def test_a_stored_reconstruction_crosses_processes_as_a_place(made, tmp_path):
    path = write_volume(tmp_path / "big.nii.gz", phantom(7))
    stored = load_model(made.models.state.model).reconstruct_to(path, tmp_path / "o", device="cpu")
    sent = pickle.dumps(stored)
    assert len(sent) < stored.residual.data.nbytes / 10
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.residual.data, stored.residual.data)
    assert isinstance(again.residual.data, np.memmap)
    assert again.record == stored.record
