"""The table of cases: what it may say, and what follows from silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_normative.engine.cases import load_case, people_of, read_cases
from napari_normative.errors import EvaluationError, GeometryMismatchError, VolumeFileError
from napari_normative.io.nifti import write_volume
from phantoms import phantom


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_paths_are_relative_to_the_table_and_names_follow_from_files(tmp_path: Path) -> None:
    table = write(tmp_path / "t.tsv", "path\ttruth", "site-b/sub-07_T1w.nii.gz\tlesions/07.nii.gz",
                  "site-b/sub-08_T1w.nii.gz\t")  # fmt: skip
    ill, well = read_cases(table)
    assert ill.path == tmp_path / "site-b" / "sub-07_T1w.nii.gz"
    assert ill.truth == tmp_path / "lesions" / "07.nii.gz"
    assert well.truth is None
    assert (ill.subject, ill.site, ill.kind) == ("sub-07", "site-b", "lesion")
    assert [case.id for case in (ill, well)] == ["case-001", "case-002"]


def test_columns_win_over_names_and_others_are_ignored(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "path, age, subject, site, kind, truth",
                  "a.nii, 71, anna, north, stroke, n/a")  # fmt: skip
    (case,) = read_cases(table)
    assert (case.subject, case.site, case.kind, case.truth) == ("anna", "north", "stroke", None)


@pytest.mark.parametrize(
    "rows",
    [("file", "a.nii"), ("path",), ("truth\tpath", "t.nii"), ("path", "a.nii\tb\tc")],
    ids=["no path column", "no row", "a row without path", "ragged"],
)
def test_a_bad_table_is_refused(tmp_path: Path, rows: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError, match=r"\[EVA-001\] t.tsv"):
        read_cases(write(tmp_path / "t.tsv", *rows))


def test_empty_lines_blanks_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_bytes("\ufeffpath\tsite\t\r\n\r\n a.nii \t x\t\t\r\n".encode())
    (case,) = read_cases(table)
    assert (case.path, case.site, case.number) == (tmp_path / "a.nii", "x", 1)


def test_a_missing_or_binary_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="EVA-001"):
        read_cases(tmp_path / "none.tsv")
    (tmp_path / "b.tsv").write_bytes(b"path\n\xff\xfe\x00\n")
    with pytest.raises(EvaluationError, match="EVA-001"):
        read_cases(tmp_path / "b.tsv")


def test_a_truth_without_a_voxel_is_a_healthy_person(tmp_path: Path) -> None:
    scan = phantom(1)
    write_volume(tmp_path / "a.nii.gz", scan)
    write_volume(tmp_path / "t.nii.gz", scan.with_data(np.zeros(scan.shape), is_label=True))
    table = write(tmp_path / "t.tsv", "path\ttruth", "a.nii.gz\tt.nii.gz", "a.nii.gz\ta.nii.gz")
    empty, full = (load_case(case) for case in read_cases(table))
    assert empty.healthy
    assert full.truth.sum() == (scan.data > 0).sum()
    assert not full.healthy


def test_truth_and_mask_lie_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", phantom(1))
    write_volume(tmp_path / "coarse.nii.gz", phantom(1, spacing_mm=8.0))
    header = "path\ttruth\tmask"
    rows = ("a.nii.gz\tcoarse.nii.gz\t", "a.nii.gz\t\tcoarse.nii.gz", "a.nii.gz\tgone.nii.gz\t")
    truth, mask, gone = read_cases(write(tmp_path / "t.tsv", header, *rows))
    for case in (truth, mask):
        with pytest.raises(GeometryMismatchError, match="GEO-001"):
            load_case(case)
    with pytest.raises(VolumeFileError, match="NIF-001"):
        load_case(gone)


def test_people_of_two_sites_with_one_name_are_two(tmp_path: Path) -> None:
    rows = ("a.nii\ts1\tx", "b.nii\ts1\tx", "c.nii\ts1\ty")
    cases = read_cases(write(tmp_path / "t.tsv", "path\tsubject\tsite", *rows))
    assert people_of(cases) == {("x", "s1"): "person-01", ("y", "s1"): "person-02"}
