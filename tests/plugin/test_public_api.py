"""The Python interface, as a script uses it: whatever is a scan goes in, whole results come out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

import napari_normative as nn
from napari_normative.engine.scans import as_volume
from napari_normative.errors import DeviceError, GeometryMismatchError, VolumeFileError
from napari_normative.review.store import Store
from phantoms import phantom
from reviewed import project


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> nn.NormativeModel:
    return nn.load_model(tiny_model_path)


@pytest.fixture(scope="module")
def scan() -> nn.Volume:
    return phantom(7, lesion_ml=20)


@pytest.fixture(scope="module")
def found(model: nn.NormativeModel, scan: nn.Volume) -> nn.Detection:
    return model.detect(scan, device="cpu")


def test_every_public_name_is_there_and_documented() -> None:
    for name in nn.__all__:
        assert getattr(nn, name) is not None
        assert name == "__version__" or getattr(nn, name).__doc__
    assert set(nn.__all__) - {"__version__"} == set(nn._PUBLIC)
    assert dir(nn) == sorted(nn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'detect'"):
        nn.detect  # noqa: B018


def test_importing_the_package_loads_neither_torch_nor_qt() -> None:
    heavy = "{'torch', 'napari', 'qtpy', 'pandas', 'SimpleITK', 'lightning', 'dask'}"
    code = f"import napari_normative, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- what may be a scan


def test_a_path_an_image_an_array_and_a_layer_are_the_same_scan(
    tmp_path: Path, scan: nn.Volume
) -> None:
    path = nn.write_volume(tmp_path / "scan.nii.gz", scan)
    viewer = ViewerModel()
    nn.show(scan, viewer)
    ways = [
        path,
        str(path),
        nib.load(path),
        (scan.data, scan.affine),
        viewer.layers[0],
        scan,
    ]
    for way in ways:
        volume = as_volume(way)
        np.testing.assert_allclose(volume.data, scan.data, atol=1e-3)
        np.testing.assert_allclose(volume.affine, scan.affine, atol=1e-4)
    assert as_volume(nib.load(path)).source.name == "scan"


def test_a_layer_of_a_script_lies_where_napari_shows_it(scan: nn.Volume) -> None:
    """Axes S, A, R: the array of a layer is the volume turned round, with the same mm."""
    spacing = scan.spacing_mm[::-1]
    layer = Image(scan.data.transpose(2, 1, 0), scale=spacing, translate=scan.affine[:3, 3][::-1])
    volume = as_volume(layer).canonical()
    np.testing.assert_allclose(volume.data, scan.data)
    np.testing.assert_allclose(volume.affine, scan.affine)


def test_an_image_is_held_to_the_rules_of_a_file(scan: nn.Volume) -> None:
    mirrored = scan.affine @ np.diag([-1.0, 1, 1, 1])
    image = nib.Nifti1Image(scan.data, scan.affine)
    image.header.set_qform(mirrored, code=1)
    with pytest.raises(VolumeFileError, match=r"NIF-022.*left and right"):
        as_volume(image)
    in_um = nib.Nifti1Image(scan.data, np.diag([4000.0, 4000, 4000, 1]))
    in_um.header.set_xyzt_units("micron")
    assert as_volume(in_um).spacing_mm == pytest.approx((4, 4, 4))
    assert "micrometres" in as_volume(in_um).source.warnings[0]


def test_numbers_that_are_none_are_masked_or_refused(scan: nn.Volume) -> None:
    data = scan.data.copy()
    data[0, 0, :5] = np.nan
    volume = as_volume((data, scan.affine))
    assert np.isfinite(volume.data).all()
    assert "5 of" in volume.source.warnings[0]
    assert np.isnan(data[0, 0, 0]), "the script's own array was changed"
    with pytest.raises(VolumeFileError, match="NIF-025"):
        as_volume((np.full_like(data, np.inf), scan.affine))


@pytest.mark.parametrize(
    ("thing", "code"),
    [
        (3, "GEO-009"),
        (np.ones((2, 2, 2)), "GEO-009"),
        ((np.ones((2, 2, 2), complex), np.eye(4)), "GEO-012"),
        ((np.ones((2, 2, 2, 3)), np.eye(4)), "GEO-002"),
        ((np.ones((2, 2, 2)), np.zeros((4, 4))), "GEO-003"),
        ((np.ones((2, 2, 2)), None), "GEO-003"),
        (nib.Nifti1Image(np.ones((2, 2, 2, 3), np.int16), np.eye(4)), "GEO-002"),
    ],
)
def test_what_is_no_scan_is_refused_with_a_remedy(thing: object, code: str) -> None:
    with pytest.raises(GeometryMismatchError, match=code):
        as_volume(thing)  # type: ignore[arg-type]


def test_one_volume_of_a_series_is_chosen(scan: nn.Volume) -> None:
    series = nib.Nifti1Image(np.stack([scan.data, 2 * scan.data], axis=-1), scan.affine)
    np.testing.assert_allclose(as_volume(series, volume=1).data, 2 * scan.data)
    squeezed = (scan.data[..., None], scan.affine)
    np.testing.assert_allclose(as_volume(squeezed).data, scan.data)


# ---- results


def test_every_result_can_be_saved_and_becomes_layers(
    tmp_path: Path, model: nn.NormativeModel, scan: nn.Volume, found: nn.Detection
) -> None:
    results = {
        "detection": found,
        "reconstruction": model.reconstruct(scan, device="cpu"),
        "decoded": model.decode(model.posterior.mean, device="cpu"),
        "samples": model.sample(2, seed=3, device="cpu"),
        "about": model.posterior_samples(scan, 2, device="cpu"),
        "between": model.interpolate(scan, phantom(8), 3, device="cpu"),
        "effect": model.effect(model.directions(device="cpu")[0], device="cpu"),
    }
    for name, result in results.items():
        files = result.save(tmp_path / name)
        assert all(path.is_file() for path in files)
        record = json.loads(next(p for p in files if p.suffix == ".json").read_text())
        digest = record.get("model_sha256") or record["model"]["sha256"]
        assert digest == model.digest
        assert "not for diagnosis" in record["notice"]
        layers = [Layer.create(*made) for made in result.to_layers()]
        assert layers
        assert all(str(layer.units[-1]) == "millimeter" for layer in layers)
    assert [v.shape for v in results["samples"]] == [model.template.mask.shape] * 2


def test_a_reconstruction_is_the_detections_and_is_written_on_the_scans_grid(
    tmp_path: Path, model: nn.NormativeModel, scan: nn.Volume, found: nn.Detection
) -> None:
    made = model.reconstruct(scan, device="cpu")
    np.testing.assert_array_equal(made.data, found.reconstruction.data)
    path, _ = made.save(tmp_path / "out")
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, scan.affine)
    np.testing.assert_allclose(image.get_fdata(), made.data, rtol=1e-5)
    (layer,) = (Layer.create(*t) for t in made.to_layers())
    assert tuple(layer.scale) == scan.spacing_mm[::-1]
    assert layer.name == "phantom-7 · reconstruction"


def test_an_encoding_is_decoded_and_read_again(
    tmp_path: Path, model: nn.NormativeModel, scan: nn.Volume, found: nn.Detection
) -> None:
    encoding = model.encode(scan, device="cpu")
    np.testing.assert_array_equal(encoding.mean, found.in_model.latent_mean)
    table, record = encoding.save(tmp_path / "latent")
    stored = np.loadtxt(table, skiprows=1, dtype=np.float32)
    np.testing.assert_array_equal(stored[:, 1], encoding.mean)
    np.testing.assert_array_equal(stored[:, 2], encoding.variance)
    assert json.loads(record.read_text())["scan"]["sha256"] == scan.source.digest
    one = model.decode(encoding, device="cpu")
    np.testing.assert_array_equal(one.data, model.decode(encoding.mean, device="cpu").data)
    with pytest.raises(nn.NormativeError, match=r"MOD-023.*\(3,\)"):
        model.decode(np.zeros(3))


def test_many_scans_come_one_by_one_and_a_bad_one_stops_none(
    tmp_path: Path, model: nn.NormativeModel, scan: nn.Volume
) -> None:
    asked = []

    def scans():
        for number, one in enumerate([scan, tmp_path / "missing.nii.gz", scan]):
            asked.append(number)
            yield one

    made = model.detect_many(scans(), tmp_path / "out", device="cpu")
    assert asked == []
    first = next(made)
    assert asked == [0]
    assert first.detection is not None
    assert (first.folder / "detection.json").is_file()
    bad, last = made
    assert bad.detection is None
    assert "NIF-001" in str(bad.error)
    assert (last.name, last.folder.name) == ("phantom-7-2", "phantom-7-2")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["phantom-7", "phantom-7-2"]


def test_a_review_is_read_and_decided_by_a_script(tmp_path: Path) -> None:
    path = tmp_path / "study" / "anna.review"
    Store.create(path, *project(tmp_path, "anna", 2)).close()
    with nn.open_review(path) as review:
        first, *others = review.reads("open")
        review.decide(first, "accept", comment="seen on both slices")
        left = list(review.reads("open"))
        assert len(left) == len(others)
    with nn.open_review(path, read_only=True) as review:
        (kept,) = review.reads("accept")
        assert (kept.candidate, kept.comment) == (first.candidate, "seen on both slices")
        with pytest.raises(nn.NormativeError, match="REV-021"):
            review.decide(first, "reject")


# ---- in a viewer


def test_show_puts_results_on_their_scan_without_qt(
    model: nn.NormativeModel, scan: nn.Volume, found: nn.Detection
) -> None:
    viewer = nn.show(found, ViewerModel())
    strongest = found.candidates[0].centroid_mm
    assert viewer.dims.point == pytest.approx(strongest[::-1], abs=max(scan.spacing_mm))
    viewer.dims.set_point(0, 12.0)
    nn.show(found, viewer)  # again: nothing doubles, and the view stays
    assert viewer.dims.point[0] == 12.0
    nn.show(model.posterior_samples(scan, 2, device="cpu"), viewer)
    names = [layer.name for layer in viewer.layers]
    assert len(names) == len(set(names))
    assert names[0] == "phantom-7"
    assert names[-1] == "phantom-7 · posterior samples (synthetic)"
    assert sum(name == "phantom-7" for name in names) == 1


def test_without_a_display_the_way_out_is_said(
    monkeypatch: pytest.MonkeyPatch, scan: nn.Volume
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DeviceError, match=r"DEV-023.*ViewerModel"):
        nn.show(scan)
