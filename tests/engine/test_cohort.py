"""Who trains a model, and the split between people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from napari_normative.engine.cohort import SPLITS, counts, read_cohort
from napari_normative.errors import CohortError


def table(folder: Path, rows: list[str], header: str = "path\tsubject\tsite\tsplit") -> Path:
    path = folder / "cohort.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def people_of(folder: Path, n: int, site: str = "a") -> list[str]:
    return [f"scans/sub-{i:03d}_{site}.nii.gz\tsub-{i:03d}-{site}\t{site}\t" for i in range(n)]


def test_everybody_gets_one_split_alike_within_each_site(tmp_path: Path) -> None:
    people = read_cohort(table(tmp_path, people_of(tmp_path, 100) + people_of(tmp_path, 20, "b")))
    found = counts(people)
    assert {split: found[split]["a"] for split in SPLITS} == {
        "train": 70, "calibration-a": 10, "calibration-b": 10, "test": 10,
    }  # fmt: skip
    assert {split: found[split]["b"] for split in SPLITS} == {
        "train": 14, "calibration-a": 2, "calibration-b": 2, "test": 2,
    }  # fmt: skip


def test_ten_people_are_enough(tmp_path: Path) -> None:
    people = read_cohort(table(tmp_path, people_of(tmp_path, 10)))
    assert Counter(p.split for p in people) == {
        "train": 4, "calibration-a": 2, "calibration-b": 2, "test": 2,
    }  # fmt: skip


def test_nine_people_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"COH-004.*needed.*ten people"):
        read_cohort(table(tmp_path, people_of(tmp_path, 9)[:3]))


def test_scans_of_a_person_stay_together(tmp_path: Path) -> None:
    rows = [f"s{i}_{v}.nii\tsub-{i}\ta\t" for i in range(30) for v in range(3)]
    splits: dict[str, set[str]] = {}
    for person in read_cohort(table(tmp_path, rows)):
        splits.setdefault(person.subject, set()).add(person.split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_split_depends_on_the_seed_and_nothing_else(tmp_path: Path) -> None:
    path = table(tmp_path, people_of(tmp_path, 60))
    first = {p.subject: p.split for p in read_cohort(path, seed=1)}
    shuffled = table(tmp_path, people_of(tmp_path, 60)[::-1])
    assert {p.subject: p.split for p in read_cohort(shuffled, seed=1)} == first
    assert {p.subject: p.split for p in read_cohort(path, seed=2)} != first


def test_a_given_split_is_kept_also_for_the_persons_other_scans(tmp_path: Path) -> None:
    rows = [*people_of(tmp_path, 40), "x_1.nii\tsub-x\ta\ttest", "x_2.nii\tsub-x\ta\t"]
    people = read_cohort(table(tmp_path, rows))
    assert [p.split for p in people if p.subject == "sub-x"] == ["test", "test"]


def test_one_person_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = ["x_1.nii\tsub-x\ta\ttest", "x_2.nii\tsub-x\ta\ttrain"]
    with pytest.raises(CohortError, match=r"COH-003.*sub-x"):
        read_cohort(table(tmp_path, rows))


@pytest.mark.parametrize(
    ("header", "row", "why"),
    [
        ("file\tsite", "a.nii\tx", "column path"),
        ("path\tsplit", "a.nii\tvalidation", "validation"),
        ("path\tsplit", "\ttrain", "rows without"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, header: str, row: str, why: str) -> None:
    with pytest.raises(CohortError, match=f"COH-002.*{why}"):
        read_cohort(table(tmp_path, [row], header))


def test_a_folder_names_person_and_site(phantom_cohort: Path) -> None:
    people = read_cohort(phantom_cohort)
    assert {p.site for p in people} == {"site-a"}
    assert sorted(p.subject for p in people) == [f"sub-{i:02d}" for i in range(14)]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="COH-001"):
        read_cohort(tmp_path)
