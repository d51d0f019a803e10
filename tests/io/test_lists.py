"""Lists of paths as programs write them: lines, NUL, Windows, and as they come."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from napari_normative.errors import VolumeFileError
from napari_normative.io.lists import listed_scans, read_list


def paths(content: bytes, **more: bool) -> list[str]:
    return list(read_list(io.BytesIO(content), **more))


def test_a_line_is_a_path_however_it_ends() -> None:
    assert paths(b"a.nii\nb c.nii\r\nd.nii") == ["a.nii", "b c.nii", "d.nii"]


def test_empty_lines_and_comments_are_passed_over() -> None:
    assert paths(b"\n# scans\n  \na.nii\n./#b.nii\n") == ["a.nii", "./#b.nii"]


def test_the_mark_that_windows_writes_first_is_no_part_of_a_name() -> None:
    assert paths(b"\xef\xbb\xbfa.nii\r\n") == ["a.nii"]


def test_with_nul_every_name_is_taken_as_it_is() -> None:
    assert paths(b"#a\nb.nii\0\xc3\xa9.nii\0c", null=True) == ["#a\nb.nii", "é.nii", "c"]


@pytest.mark.skipif(os.name == "nt", reason="names there are no bytes")
def test_a_name_that_is_no_utf8_comes_through() -> None:
    (name,) = paths(b"\xff.nii\n")
    assert os.fsencode(name) == b"\xff.nii"


@pytest.mark.parametrize(("content", "null"), [(b"", False), (b"# none\n\n", False), (b"", True)])
def test_an_empty_list_is_said(content: bytes, null: bool) -> None:
    with pytest.raises(VolumeFileError, match="NIF-041"):
        paths(content, null=null)


@pytest.mark.parametrize(("end", "null"), [(b"\n", False), (b"\0", True)])
def test_a_path_is_there_before_the_next_is_written(end: bytes, null: bool) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        found = read_list(stream, null=null)
        os.write(writing, b"first" + end)
        came: list[str] = []
        first = threading.Thread(target=lambda: came.append(next(found)), daemon=True)
        first.start()
        first.join(5)
        os.write(writing, b"second" + end)
        os.close(writing)
        assert came == ["first"]
        assert list(found) == ["second"]


def test_folders_open_and_results_and_repetitions_are_left_out(tmp_path: Path) -> None:
    for name in ("in/a.nii", "in/b.nii.gz", "in/note.txt", "out/a/residual.nii.gz", "x[1].nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    names = ("x[1].nii", "in", "in/a.nii", "out/a/residual.nii.gz", "empty", "gone.nii")
    given = [str(tmp_path / name) for name in names]
    found = [path.name for path in listed_scans(given, leave_out=tmp_path / "out")]
    assert found == ["x[1].nii", "a.nii", "b.nii.gz", "empty", "gone.nii"]


def test_a_list_of_results_alone_is_no_work(tmp_path: Path) -> None:
    with pytest.raises(VolumeFileError, match="NIF-042"):
        list(listed_scans([str(tmp_path / "a.nii")], leave_out=tmp_path))
