"""Opening and saving through napari, as the window does it."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from napari_normative.errors import OutputError, VolumeFileError
from napari_normative.layers.spec import facts_of
from napari_normative.plugin.commands import get_reader
from napari_normative.plugin.files import open_file
from placed import SIGNED_ORDERS, TILTED, UPRIGHT, axis_affine, field

PLUGIN = "napari-normative"


@pytest.fixture(autouse=True)
def plugins():
    """The real plugin manager with the installed manifest."""
    PluginManager.instance().discover()


def write(path, affine, shape=(24, 28, 20), series=0, **fields):
    index = np.indices(shape).reshape(3, -1)
    data = field(affine[:3, :3] @ index + affine[:3, 3:]).reshape(shape).astype(np.float32)
    if series:
        data = np.stack([data + 10 * n for n in range(series)], axis=-1)
    image = nib.Nifti1Image(data, affine)
    image.header["descrip"] = b"secret"
    nib.save(image, path)
    return path


def opened(path, viewer=None):
    viewer = viewer or ViewerModel()
    (layer,) = viewer.open(path, plugin=PLUGIN)
    return layer


def test_all_48_axis_orders_open_as_the_same_layer(tmp_path):
    shape_world = (5, 6, 7)
    reference = None
    for number, (order, signs) in enumerate(SIGNED_ORDERS):
        shape = tuple(shape_world[w] for w in order)
        path = write(tmp_path / f"{number}.nii.gz", axis_affine(order, signs, shape), shape)
        layer = opened(path)
        reference = reference or layer
        np.testing.assert_allclose(layer.data, reference.data, rtol=1e-5)
        np.testing.assert_allclose(layer.scale, (2.0, 1.5, 1.0), rtol=1e-6)
        np.testing.assert_allclose(layer.extent.world, reference.extent.world, atol=1e-4)


@pytest.mark.shared
def test_all_48_real_files_open_as_the_same_layer(shared):
    files = sorted((shared / "zoo" / "nifti_space_48").glob("*.nii.gz"))
    assert len(files) == 48
    reference = opened(files[0])
    for file in files[1:]:
        layer = opened(file)
        np.testing.assert_array_equal(layer.data, reference.data)
        np.testing.assert_allclose(layer.scale, reference.scale, atol=1e-5)
        np.testing.assert_allclose(layer.extent.world, reference.extent.world, atol=1e-3)
        assert layer.contrast_limits == reference.contrast_limits


def test_reading_sets_name_units_axes_and_limits(tmp_path):
    layer = opened(write(tmp_path / "sub-07_T1w.nii.gz", UPRIGHT))
    assert layer.name == "sub-07_T1w"
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("S", "A", "R")
    assert layer.contrast_limits[0] == layer.data.min()
    assert facts_of(layer).volumes[0].orientation == "PLS"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.img", "a.mgz", "a.mgh"])
def test_every_format_is_read(tmp_path, name):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    kind = nib.MGHImage if "mg" in name else nib.Nifti1Pair if name[-3:] in "hdrimg" else None
    image = (kind or nib.Nifti1Image)(data, np.diag([2.0, 2, 2, 1]))
    path = tmp_path / name
    nib.save(image, path.with_suffix(".img") if name.endswith(".hdr") else path)
    np.testing.assert_array_equal(opened(path).data, data.transpose(2, 1, 0))


def test_a_series_has_a_leading_axis_to_scroll(tmp_path):
    layer = opened(write(tmp_path / "rest.nii.gz", TILTED, series=3))
    assert layer.data.shape[0] == 3
    assert layer.axis_labels == ("volume", "S", "A", "R")
    inside = layer.data[0] != layer.data.min()
    np.testing.assert_allclose((layer.data[2] - layer.data[0])[inside], 20, atol=1e-3)


def test_labels_open_as_labels_and_images_do_not(tmp_path):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = 2
    for name in ("sub-01_dseg.nii.gz", "sub-01_T1w.nii.gz"):
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / name)
    assert type(opened(tmp_path / "sub-01_dseg.nii.gz")).__name__ == "Labels"
    assert type(opened(tmp_path / "sub-01_T1w.nii.gz")).__name__ == "Image"


def test_other_files_and_stacks_are_left_to_other_readers():
    assert get_reader("picture.png") is None
    assert get_reader(["a.nii.gz", "b.nii.gz"]) is None
    assert get_reader("a.NII.GZ") is not None


def test_a_script_gets_the_error_of_a_refused_file(tmp_path):
    path = write(tmp_path / "bad.nii.gz", UPRIGHT)
    block = bytearray(path.read_bytes())
    block[len(block) // 2] ^= 1
    path.write_bytes(block)
    viewer = ViewerModel()
    with pytest.raises(VolumeFileError, match=r"^\[NIF-\d+\] bad\.nii\.gz: "):
        viewer.open(path, plugin=PLUGIN)
    assert len(viewer.layers) == 0


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_saving_an_image_gives_back_grid_and_values(tmp_path, affine, suffix):
    source = write(tmp_path / "scan.nii.gz", affine)
    viewer = ViewerModel()
    layer = opened(source, viewer)
    target = tmp_path / f"copy{suffix}"
    assert layer.save(str(target), plugin=PLUGIN) == [str(target)]
    before, after = nib.load(source), nib.load(target)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    for code in ("sform_code", "qform_code"):
        assert after.header[code] == before.header[code]
    raw = target.read_bytes() if suffix == ".nii" else gzip.decompress(target.read_bytes())
    assert b"secret" not in raw


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_edited_labels_are_saved_on_the_grid_of_their_scan(tmp_path, affine):
    labels = np.zeros((24, 28, 20), np.int16)
    labels[8:16, 9:19, 6:14] = 3
    source = tmp_path / "scan_mask.nii.gz"
    nib.save(nib.Nifti1Image(labels, affine), source)
    layer = opened(source)
    target_mm = affine[:3, :3] @ np.array([3.0, 4.0, 3.0]) + affine[:3, 3]
    at = np.round(layer.world_to_data(target_mm[::-1])).astype(int)
    layer.data_setitem(tuple(np.array([n]) for n in at), 9)
    (saved,) = layer.save(str(tmp_path / "edited.nii.gz"), plugin=PLUGIN)
    image = nib.load(saved)
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)
    assert image.get_data_dtype().kind in "iu"
    values = np.asarray(image.dataobj)
    assert values[3, 4, 3] == 9
    np.testing.assert_array_equal(values == 3, labels == 3)


def test_a_layer_of_a_script_is_saved_where_it_lies(tmp_path):
    viewer = ViewerModel()
    data = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    layer = viewer.add_image(data, scale=(3, 2, 1), translate=(10, 20, 30), units="mm")
    (saved,) = layer.save(str(tmp_path / "x.nii.gz"), plugin=PLUGIN)
    np.testing.assert_allclose(nib.load(saved).affine @ [1, 0, 0, 1], [30, 20, 13, 1])


def test_several_layers_are_saved_into_a_folder(tmp_path):
    viewer = ViewerModel()
    opened(write(tmp_path / "scan.nii.gz", TILTED), viewer)
    viewer.add_labels(np.zeros((4, 5, 6), int), name="scan · |z|")
    folder = tmp_path / "out"
    assert viewer.layers.save(str(folder), plugin=PLUGIN)
    assert {p.name for p in folder.iterdir()} == {"scan.nii.gz", "scan_abs_z.nii.gz"}


def test_a_series_is_not_saved_in_part(tmp_path):
    layer = opened(write(tmp_path / "rest.nii.gz", UPRIGHT, series=2))
    with pytest.raises(OutputError, match="series of 2 volumes"):
        layer.save(str(tmp_path / "copy.nii.gz"), plugin=PLUGIN)
    assert not (tmp_path / "copy.nii.gz").exists()


def test_a_refused_file_at_the_window_is_one_sentence(tmp_path, make_napari_viewer, qtbot, capfd):
    from qtpy.QtCore import QTimer

    bad = tmp_path / "empty.nii.gz"
    bad.write_bytes(b"")
    good = write(tmp_path / "good.nii.gz", UPRIGHT)
    viewer = make_napari_viewer()
    get_settings().plugins.extension2reader = {"*.nii.gz": PLUGIN}  # as chosen in the dialog
    seen = []
    notification_manager.notification_ready.connect(seen.append)
    # From inside the event loop, as a file dropped on the window is.
    QTimer.singleShot(0, lambda: viewer.window._qt_viewer._qt_open([str(bad), str(good)], False))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1 and bool(seen), timeout=10_000)
    notification_manager.notification_ready.disconnect(seen.append)
    assert [layer.name for layer in viewer.layers] == ["good"]
    (notification,) = seen
    assert str(notification.severity) == "error"
    assert notification.message.startswith("[NIF-")
    assert "empty.nii.gz" in notification.message
    assert str(tmp_path) not in notification.message
    assert "Traceback" not in "".join(capfd.readouterr())


def disagreeing(path):
    """A file whose sform and qform are mirror images of each other."""
    image = nib.Nifti1Image(np.arange(6000, dtype=np.float32).reshape(20, 20, 15), None)
    image.set_sform(np.diag([2.0, 2, 2, 1]), code=1)
    image.set_qform(np.diag([-2.0, 2, 2, 1]), code=1)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("answer", "orientation"), [(0, "RAS"), (1, "LAS")])
def test_a_person_may_choose_the_side_when_the_header_disagrees(tmp_path, answer, orientation):
    asked = []

    def ask(text, answers):
        asked.append((text, answers))
        return answer

    path = disagreeing(tmp_path / "sides.nii.gz")
    ((_, attributes, _),) = open_file(str(path), ask)
    assert asked[0][1] == ("Use the sform", "Use the qform")
    assert "left and right" in asked[0][0]
    assert attributes["metadata"]["napari_normative"].volumes[0].orientation == orientation


def test_without_an_answer_the_file_stays_closed(tmp_path):
    path = disagreeing(tmp_path / "sides.nii.gz")
    for ask in (None, lambda text, answers: None):
        with pytest.raises(VolumeFileError, match="NIF-022"):
            open_file(str(path), ask)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_question_returns_the_button_that_was_pressed(qtbot, number):
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication, QMessageBox

    from napari_normative.plugin.docks.questions import ask

    def press():
        (box,) = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox)]
        wanted = ["Use the sform", "Use the qform", "Do not open"][number]
        next(b for b in box.buttons() if b.text() == wanted).click()

    QTimer.singleShot(200, press)
    answer = ask("which?", ("Use the sform", "Use the qform"))
    assert answer == (number if number < 2 else None)
