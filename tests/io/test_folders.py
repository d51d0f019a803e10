from pathlib import Path

import numpy as np
import pytest

from napari_normative.errors import OutputError, VolumeFileError
from napari_normative.io.folders import (
    another_name,
    expand_scans,
    remove_unfinished,
    whole_folder,
)
from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume

MARKER = "detection.json"


def write_results(target: Path, text: str, samples: int = 0) -> None:
    with whole_folder(target, MARKER) as folder:
        (folder / MARKER).write_text(text)
        (folder / "residual.nii.gz").write_text(text)
        for number in range(1, samples + 1):
            (folder / f"sample_{number}.nii.gz").write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_new_results_take_the_place_of_old_ones_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "scan"
    write_results(target, "first", samples=2)
    assert sorted(content(target)) == sorted(
        [MARKER, "residual.nii.gz", "sample_1.nii.gz", "sample_2.nii.gz"]
    )
    write_results(target, "second")
    assert content(target) == {MARKER: "second", "residual.nii.gz": "second"}
    assert [p.name for p in target.parent.iterdir()] == ["scan"], "nothing else is left behind"


@pytest.mark.parametrize("error", [ValueError("bad scan"), KeyboardInterrupt()])
def test_after_an_error_the_old_results_are_untouched(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "scan"
    write_results(target, "first")
    with pytest.raises(type(error)), whole_folder(target, MARKER) as folder:
        (folder / MARKER).write_text("half")
        raise error
    assert content(target) == {MARKER: "first", "residual.nii.gz": "first"}
    assert [p.name for p in tmp_path.iterdir()] == ["scan"]


def test_until_the_end_a_reader_sees_the_old_results(tmp_path: Path) -> None:
    target = tmp_path / "scan"
    write_results(target, "first")
    with whole_folder(target, MARKER) as folder:
        (folder / MARKER).write_text("second")
        (folder / "residual.nii.gz").write_text("second")
        assert content(target)[MARKER] == "first"
    assert content(target)[MARKER] == "second"


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.txt").write_text("years")
    with pytest.raises(OutputError, match=r"\[OUT-010\] thesis: .*chapter\.txt"):
        write_results(target, "x")
    assert content(target) == {"chapter.txt": "years"}


def test_a_file_that_somebody_put_among_the_results_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "scan"
    write_results(target, "first")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"OUT-010.*notes\.txt"):
        write_results(target, "second")
    assert content(target)["notes.txt"] == "mine"
    assert content(target)[MARKER] == "first"


def test_files_below_the_folder_count_too(tmp_path: Path) -> None:
    target = tmp_path / "scan"
    write_results(target, "first")
    (target / "mine" / "deep").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"OUT-010.*mine/deep"):
        write_results(target, "second")
    (target / "mine" / "deep" / "notes.txt").write_text("years")
    with pytest.raises(OutputError, match=r"OUT-010.*mine/deep/notes\.txt"):
        write_results(target, "second")
    assert (target / "mine" / "deep" / "notes.txt").read_text() == "years"


def test_a_file_in_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "scan").write_text("a file")
    with pytest.raises(OutputError, match=r"\[OUT-011\] scan: the folder cannot be written"):
        write_results(tmp_path / "scan", "x")
    assert (tmp_path / "scan").read_text() == "a file"


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match=r"\[OUT-011\] scan: the folder cannot be written"):
        write_results(tmp_path / "results" / "scan", "x")


def test_the_folder_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    write_results(tmp_path / "scan", "x")
    assert (tmp_path / "scan").stat().st_mode == (tmp_path / "plain").stat().st_mode


def scan_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    return write_volume(path, Volume.from_array(data, np.diag([3.0, 3, 3, 1])))


def test_folders_and_patterns_become_the_scans_in_them(tmp_path: Path) -> None:
    a, b = scan_at(tmp_path / "in" / "a.nii.gz"), scan_at(tmp_path / "in" / "b.nii.gz")
    scan_at(tmp_path / "in" / "results" / "a" / "residual.nii.gz")
    out = tmp_path / "in" / "results"
    assert expand_scans([tmp_path / "in", a], leave_out=out) == [a, b]
    assert expand_scans([tmp_path / "in" / "a*"], leave_out=out) == [a]
    missing = tmp_path / "missing.nii.gz"  # named later, with the other failures
    assert expand_scans([missing], leave_out=out) == [missing]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeFileError, match=r"empty: .*no"):
        expand_scans([tmp_path / "empty"], leave_out=tmp_path / "out")


def test_equal_names_get_distinct_folders() -> None:
    taken: set[str] = set()
    names = [another_name(name, taken) for name in ("T1", "T1", "t1", "T1-2")]
    assert names == ["T1", "T1-2", "t1-3", "T1-2-2"]


def test_results_without_optional_maps_replace_those_with_them(tmp_path: Path) -> None:
    target = tmp_path / "scan"
    write_results(target, "first")
    (target / "local_volume.nii.gz").write_text("first")
    write_results(target, "second")
    assert content(target) == {MARKER: "second", "residual.nii.gz": "second"}


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_results(tmp_path / "sub-1", "kept")
    left = (".sub-1.ab12_x9z", ".sub-1.ab12_x9z.old")
    others = (".sub-10.ab12_x9z", ".sub-1.v2.ab12_x9z", ".sub-1.short", ".git", "sub-2")
    for name in (*left, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.nii.gz").write_text("half")
    remove_unfinished(tmp_path, {"sub-1", "sub-2"})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "sub-1"])
    remove_unfinished(tmp_path / "nowhere", {"sub-1"})
