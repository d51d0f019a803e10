"""Names: stems, folders, pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_normative.errors import VolumeFileError
from napari_normative.io.nifti import SUFFIXES, find_volumes, stem


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_stem_loses_the_whole_suffix_and_nothing_else(suffix):
    assert stem(f"x/sub-07.v2_T1w{suffix}") == "sub-07.v2_T1w"
    assert stem(Path("SUB.NII" + suffix.upper())) == "SUB.NII"


def test_the_stem_of_other_names():
    assert stem("a/b.dat") == "b"
    assert stem(".nii.gz") == ".nii"


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.nii.gz", "a.nii", "._a.nii", ".hidden.nii", ".git/x.nii", "sub/deep/C.NII.GZ",
        "pair.hdr", "pair.img", "lone.img", "zip.hdr.gz", "zip.img.gz", "m.mgz",
        "notes.txt", "scan.json", "sub/._d.nii.gz",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "folder.nii").mkdir()
    return tmp_path


def test_a_folder_gives_each_volume_once_and_in_order(folder):
    found = [p.relative_to(folder).as_posix() for p in find_volumes(folder)]
    assert found == [
        "a.nii", "b.nii.gz", "lone.img", "m.mgz", "pair.hdr", "sub/deep/C.NII.GZ", "zip.hdr.gz",
    ]  # fmt: skip


def test_patterns(folder):
    assert [p.name for p in find_volumes(f"{folder}/*.nii*")] == ["a.nii", "b.nii.gz"]
    assert [p.name for p in find_volumes(f"{folder}/**/*.NII.GZ")] == ["C.NII.GZ"]
    assert find_volumes(str(folder / "none*.nii")) == []


def test_one_file_named_on_purpose(folder):
    assert find_volumes(folder / "notes.txt") == [folder / "notes.txt"]


def test_a_folder_with_brackets_in_its_name_is_a_folder(tmp_path):
    (tmp_path / "day[1]").mkdir()
    (tmp_path / "day[1]" / "a.nii").write_bytes(b"x")
    assert [p.name for p in find_volumes(tmp_path / "day[1]")] == ["a.nii"]


def test_nothing_there(tmp_path):
    with pytest.raises(VolumeFileError, match="NIF-001"):
        find_volumes(tmp_path / "nowhere")
