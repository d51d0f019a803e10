"""Who trains a model, and the split between people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from napari_normative.engine.cohort import SPLITS, counts, groups, read_cohort
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


def balanced(tmp_path: Path, cells: list[str], column: str = "age") -> list[str]:
    """Return the band of everybody in a cohort with one more column."""
    rows = [f"s{i}.nii\tsub-{i}\ta\t\t{cell}" for i, cell in enumerate(cells)]
    people = read_cohort(table(tmp_path, rows, f"path\tsubject\tsite\tsplit\t{column}"))
    assert [person.more[column] for person in people] == cells
    return [group[0] for group in groups(people, [column])]


def test_ages_are_grouped_by_decade_and_the_unknown_apart(tmp_path: Path) -> None:
    ages = ["20", "29.9", "30", "41", "52", "63", "74", "85", "", "39", "40", "50"]
    assert balanced(tmp_path, ages) == [
        "20s", "20s", "30s", "40s", "50s", "60s", "70s", "80s", "", "30s", "40s", "50s",
    ]  # fmt: skip


def test_other_numbers_are_cut_at_their_quartiles_and_words_are_not_cut(tmp_path: Path) -> None:
    volumes = [str(1000 + i) for i in range(20)]
    assert Counter(balanced(tmp_path, volumes, "volume_ml")) == {
        f"quarter {i}": 5 for i in (1, 2, 3, 4)
    }
    words = ["f", "m"] * 10
    assert balanced(tmp_path, words, "sex") == words
    few = ["1.5", "3"] * 10
    assert balanced(tmp_path, few, "tesla") == few


def test_groups_are_those_of_all_columns_together(tmp_path: Path) -> None:
    rows = [f"s{i}.nii\tsub-{i}\t{'ab'[i % 2]}\t\t{'fm'[i // 10]}" for i in range(20)]
    people = read_cohort(table(tmp_path, rows, "path\tsubject\tsite\tsplit\tsex"))
    assert Counter(groups(people, ["site", "sex"])) == {
        ("a", "f"): 5, ("b", "f"): 5, ("a", "m"): 5, ("b", "m"): 5,
    }  # fmt: skip
    assert set(groups(people, [])) == {()}


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    rows = [f"s{i}.nii\tsub-{i}\ta\t\tf" for i in range(20)]
    people = read_cohort(table(tmp_path, rows, "path\tsubject\tsite\tsplit\tsex"))
    with pytest.raises(CohortError, match=r"COH-007.*'age'.*site, sex"):
        groups(people, ["age"])
