"""Real files from scanners and from other readers' test suites."""

from __future__ import annotations

import logging
import time
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_normative.errors import VolumeFileError
from napari_normative.io.nifti import find_volumes, read_series, read_volume, write_volume

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
ZOO = SHARED / "zoo"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not ZOO.is_dir(), reason="the real volumes are not beside the project"),
]

REFUSED = {
    "NIF-003": ["nifti_jl/empty.nii.gz"],
    "NIF-005": ["babybrain/*._*"],
    "NIF-006": [
        "*/*.mnc", "*/*.mha", "*/*.nrrd", "nifti_clib/*.mod.hdr", "nibabel/invalid.*",
        "nibabel/someones_anatomy.nii.gz",
    ],
    "NIF-007": ["*/*.dscalar.nii", "*/*.dtseries.nii", "*/*.ptseries.nii", "*/*.dlabel.nii",
                "*/*.dconn.nii"],
    "NIF-008": ["nibabel/analyze.hdr"],
    "NIF-009": ["nibabel/nifti1.hdr", "nibabel/nifti2.hdr"],
    "NIF-010": ["nifti_reader_js/not-nifti.nii", "nifti_rs/fuzz_artifacts__*"],
    "NIF-016": ["nifti_rs/rgb__4D.nii", "niivue/cABCD3_roi.nii.gz", "niivue/ct_perfusion.nii.gz",
                "rnifti/example_rgb.nii.gz"],
    "NIF-017": ["*/complex*"],
    "NIF-018": ["nifti_clib/Testing__Data__ATest*", "nifti_reader_js/5D_*"],
    "NIF-023": ["dipy/func_discrete.nii.gz", "nifti_rs/27__*"],
    "NIF-025": ["nibabel/resampled_anat_moved.nii", "sct/fmri__fmri_tsnr.nii.gz",
                "sct/mt__mtr.nii.gz"],
}  # fmt: skip
"""Why the files that are refused are refused; every other file must read."""


@cache
def files() -> list[Path]:
    found = [p for p in ZOO.rglob("*") if p.is_file() and p.name != "index.tsv"]
    return sorted(p.relative_to(ZOO) for p in found)


def expected_code(path: Path) -> str | None:
    codes = [code for code, patterns in REFUSED.items() if any(path.match(p) for p in patterns)]
    assert len(codes) < 2, path
    return codes[0] if codes else None


def readable() -> list[Path]:
    return [path for path in files() if expected_code(path) is None]


def test_there_are_246_files():
    assert len(files()) == 246


@pytest.mark.parametrize("path", files(), ids=str)
def test_every_file_reads_as_nibabel_reads_it_or_is_refused_by_name(path):
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    start = time.perf_counter()
    code = expected_code(path)
    if code is not None:
        with pytest.raises(VolumeFileError) as caught:
            read_series(ZOO / path)
        assert caught.value.code == code
        assert time.perf_counter() - start < 5
        return
    values, first = read_series(ZOO / path)
    assert time.perf_counter() - start < 5
    image = nib.load(ZOO / path)
    np.testing.assert_allclose(first.affine, image.affine, atol=1e-9)
    theirs = np.asarray(image.dataobj, dtype=np.float64).reshape(values.shape)
    theirs[~np.isfinite(theirs)] = 0
    np.testing.assert_allclose(values, theirs, rtol=2e-7, atol=1e-6 * np.abs(theirs).max())


def test_48_axis_orders_look_and_measure_identical():
    paths = find_volumes(ZOO / "nifti_space_48")
    assert len(paths) == 48
    reference = read_volume(paths[0]).canonical()
    assert reference.data.std() > 1
    for path in paths:
        volume = read_volume(path)
        assert volume.orientation == path.name[:3]
        canonical = volume.canonical()
        np.testing.assert_array_equal(canonical.data, reference.data)
        np.testing.assert_allclose(canonical.affine, reference.affine, atol=1e-4)


@pytest.mark.parametrize("path", readable(), ids=str)
def test_results_lie_where_the_source_lies_in_any_program(path, tmp_path):
    source = read_series(ZOO / path).first
    written = nib.load(write_volume(tmp_path / "result.nii.gz", source))
    original = nib.load(ZOO / path)
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-9 if
                               isinstance(original, nib.Nifti1Pair) else 1e-5)  # fmt: skip
    if isinstance(original, nib.Nifti1Pair):
        for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b",
                      "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):  # fmt: skip
            np.testing.assert_array_equal(written.header[field], original.header[field], field)
    again = read_volume(tmp_path / "result.nii.gz")
    np.testing.assert_array_equal(again.data, source.data)


def test_the_cohorts_read_without_a_word_but_for_one_scan():
    """Scan sub-56 was moved after scanning: its sform lies 18 mm from its qform."""
    for folder in ("ixi-t1-2mm", "ds002748-controls-t1", "open-ms-mni/patient07"):
        for path in find_volumes(SHARED / folder)[:6]:
            volume = read_volume(path)
            moved = ("sform and qform differ by up to 18.3 mm; the sform was used.",)
            assert volume.source.warnings == (moved if "sub-56" in path.name else ()), path
            np.testing.assert_allclose(volume.affine, nib.load(path).affine, atol=1e-9)
