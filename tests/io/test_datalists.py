"""Cohorts as MONAI and nnU-Net list them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_normative.engine.cohort import list_people, read_cohort
from napari_normative.errors import CohortError
from napari_normative.io.datalists import read_data_list


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def cases(first: int, end: int) -> list[dict[str, str]]:
    names = [f"case_{n:03d}" for n in range(first, end)]
    return [{"image": f"./scans/{n}.nii.gz", "label": f"./labels/{n}.nii.gz"} for n in names]


def splits(source: str | Path) -> dict[str, str]:
    return {p.subject: p.split for p in list_people(source)[0]}


def test_the_parts_of_a_monai_list_are_the_splits(tmp_path: Path) -> None:
    source = write(
        tmp_path / "lists" / "healthy.json",
        {"training": cases(0, 20), "validation": cases(20, 24), "test": cases(24, 27)},
    )
    people = read_cohort(source)
    assert len(people) == 27
    assert people[0].path == tmp_path / "lists" / "scans" / "case_000.nii.gz"
    found = {p.subject: p.split for p in people}
    assert [found[f"case_{n:03d}"] for n in range(20, 27)] == [
        "calibration-a", "calibration-b", "calibration-a", "calibration-b", "test", "test", "test",
    ]  # fmt: skip
    # The training part is split by person as a plain folder is: 70, 10, 10, 10 %.
    training = [found[f"case_{n:03d}"] for n in range(20)]
    counts = {split: training.count(split) for split in sorted(set(training))}
    assert counts == {"calibration-a": 2, "calibration-b": 2, "test": 2, "train": 14}


def test_labels_are_no_scans_and_other_values_are_columns(tmp_path: Path) -> None:
    entry = {"image": "a.nii.gz", "label": "b.nii.gz", "age": 61, "sex": "f", "fold": 0}
    source = write(tmp_path / "list.json", {"training": [entry]})
    (person,) = list_people(source)[0]
    assert person.path.name == "a.nii.gz"
    assert person.more == {"age": "61", "sex": "f", "fold": "0"}


def test_who_it_is_comes_from_the_entry_or_the_whole_name(tmp_path: Path) -> None:
    """``hippocampus_001`` and ``hippocampus_002`` are two people; ``sub-07_*`` is one."""
    entries = [
        {"image": "hippocampus_001.nii.gz"},
        {"image": "hippocampus_002.nii.gz"},
        {"image": "sub-07_run-1_T1w.nii.gz"},
        {"image": "sub-07_run-2_T1w.nii.gz"},
        {"image": "x.nii.gz", "subject": "anna", "site": "north"},
    ]
    people, _ = list_people(write(tmp_path / "list.json", {"training": entries}))
    assert [p.subject for p in people] == [
        "hippocampus_001", "hippocampus_002", "sub-07", "sub-07", "anna",
    ]  # fmt: skip
    assert people[-1].site == "north"


def test_one_person_in_two_parts_is_found(tmp_path: Path) -> None:
    entry = {"image": "sub-01_T1w.nii.gz"}
    _, problems = list_people(
        write(tmp_path / "list.json", {"validation": [entry], "test": [entry, *cases(0, 12)]})
    )
    assert problems[0].code == "COH-003"


def test_several_files_of_an_entry_are_channels_where_they_have_names(tmp_path: Path) -> None:
    content = {"modality": {"0": "T1", "1": "T2"}, "training": [{"image": ["a.nii", "b.nii"]}]}
    source = write(tmp_path / "list.json", content)
    assert [Path(r["path"]).name for r in read_data_list(f"{source}#T2") or []] == ["b.nii"]
    source = write(tmp_path / "list.json", {"training": [{"image": ["a.nii"]}]})
    assert [Path(r["path"]).name for r in read_data_list(source) or []] == ["a.nii"]
    with pytest.raises(CohortError, match=r"COH-022.*no image 'T2'"):
        read_data_list(f"{source}#T2")


def test_a_key_is_chosen_behind_the_hash(tmp_path: Path) -> None:
    source = write(
        tmp_path / "list.json", {"training": [{"t1": "a_t1.nii.gz", "flair": "a_fl.nii.gz"}]}
    )
    rows = read_data_list(f"{source}#flair")
    assert rows is not None
    assert Path(rows[0]["path"]).name == "a_fl.nii.gz"
    with pytest.raises(CohortError, match=r"COH-021.*list\.json#t1"):
        read_data_list(source)
    with pytest.raises(CohortError, match=r"COH-022.*'t2'.*t1, flair"):
        read_data_list(f"{source}#t2")


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    """A raw dataset of nnU-Net, version 2, with two channels."""
    root = tmp_path / "Dataset007_Heads"
    write(
        root / "dataset.json",
        {
            "channel_names": {"0": "T1w", "1": "FLAIR"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": 3,
            "file_ending": ".nii.gz",
        },
    )
    for case in ("HEAD_001", "HEAD_002", "HEAD_010"):
        touch(root, f"imagesTr/{case}_0000.nii.gz", f"imagesTr/{case}_0001.nii.gz")
        touch(root, f"labelsTr/{case}.nii.gz")
    touch(root, "imagesTs/HEAD_011_0000.nii.gz", "imagesTs/HEAD_011_0001.nii.gz")
    touch(root, "imagesTr/._HEAD_001_0000.nii.gz")
    return root


@pytest.mark.parametrize("file", ["", "/dataset.json"])
def test_a_channel_of_an_nnunet_dataset_is_chosen_by_name(nnunet: Path, file: str) -> None:
    people, _ = list_people(f"{nnunet}{file}#flair")
    assert [p.path.name for p in people] == [
        "HEAD_001_0001.nii.gz", "HEAD_002_0001.nii.gz", "HEAD_010_0001.nii.gz",
        "HEAD_011_0001.nii.gz",
    ]  # fmt: skip
    assert [p.subject for p in people] == ["HEAD_001", "HEAD_002", "HEAD_010", "HEAD_011"]
    assert {p.site for p in people} == {"Dataset007_Heads"}
    assert people[-1].split == "test"


def test_several_channels_and_none_chosen_are_refused_with_their_names(nnunet: Path) -> None:
    with pytest.raises(CohortError, match=r"COH-021.*2 channels: T1w, FLAIR.*dataset\.json#T1w"):
        list_people(nnunet)
    with pytest.raises(CohortError, match=r"COH-022.*no channel 'CT'.*T1w, FLAIR"):
        list_people(f"{nnunet}#CT")


def test_an_nnunet_dataset_may_list_its_cases(tmp_path: Path) -> None:
    source = write(
        tmp_path / "dataset.json",
        {
            "channel_names": {"0": "T1w"},
            "file_ending": ".nii.gz",
            "dataset": {"HEAD_001": {"images": ["../raw/one.nii.gz"], "label": "l.nii.gz"}},
        },
    )
    rows = read_data_list(source)
    assert rows is not None
    assert rows[0]["subject"] == "HEAD_001"
    assert Path(rows[0]["path"]) == tmp_path / "../raw/one.nii.gz"


def test_images_of_another_format_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "dataset.json", {"channel_names": {"0": "X"}, "file_ending": ".png"})
    with pytest.raises(CohortError, match=r"COH-023.*\.png"):
        read_data_list(source)


def test_version_1_lists_a_case_and_stores_its_channels(tmp_path: Path) -> None:
    """The list says imagesTr/HEAD_001.nii.gz, the folder holds HEAD_001_0000.nii.gz."""
    write(
        tmp_path / "dataset.json",
        {
            "name": "Heads",
            "modality": {"0": "T1", "1": "T2"},
            "training": [{"image": "./imagesTr/HEAD_001.nii.gz", "label": "./labelsTr/x.nii.gz"}],
            "test": ["./imagesTs/HEAD_002.nii.gz"],
            "reference": ["somebody, 2020"],
        },
    )
    for name in ("imagesTr/HEAD_001", "imagesTs/HEAD_002"):
        touch(tmp_path, f"{name}_0000.nii.gz", f"{name}_0001.nii.gz")
    rows = read_data_list(f"{tmp_path}#T2")
    assert rows is not None
    assert [Path(r["path"]).name for r in rows] == ["HEAD_001_0001.nii.gz", "HEAD_002_0001.nii.gz"]
    assert [(r["site"], r["split"]) for r in rows] == [("Heads", ""), ("Heads", "test")]
    with pytest.raises(CohortError, match=r"COH-021.*T1, T2"):
        read_data_list(tmp_path)


def test_channels_within_one_file_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz")
    source = write(
        tmp_path / "dataset.json",
        {"modality": {"0": "FLAIR", "1": "T1w"}, "training": ["imagesTr/BRATS_001.nii.gz"]},
    )
    with pytest.raises(CohortError, match=r"COH-021.*2 channels \(FLAIR, T1w\) in one file"):
        read_data_list(f"{source}#T1w")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([], "COH-020"),
        ({}, "COH-020"),
        ({"training": []}, "COH-020"),
        ({"training": {"image": "a.nii.gz"}}, "COH-023"),
        ({"training": ["a.nii.gz"], "patients": ["b.nii.gz"]}, "COH-023"),
        ({"training": [7]}, "COH-023"),
        ({"training": [{"image": 7}]}, "COH-023"),
        ({"training": [{"scan": "nothing"}]}, "COH-021"),
        ({"training": [{"image": ["a.nii.gz", "b.nii.gz"]}]}, "COH-021"),
        ({"channel_names": {"T1": 0}, "file_ending": ".nii.gz"}, "COH-023"),
        ({"channel_names": {"0": "T1"}, "dataset": {"a": {"images": []}}}, "COH-023"),
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path: Path, content: object, code: str) -> None:
    source = write(tmp_path / "list.json", content)
    with pytest.raises(CohortError) as told:
        read_data_list(source)
    assert told.value.code == code
    assert str(tmp_path) not in str(told.value)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_bytes(b"\xff{")
    with pytest.raises(CohortError, match="COH-020"):
        read_data_list(tmp_path / "list.json")


def test_folders_and_tables_are_no_lists(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "cohort.tsv", "with#hash/b.nii.gz")
    for source in (tmp_path, tmp_path / "cohort.tsv", tmp_path / "with#hash", "x/*.nii.gz"):
        assert read_data_list(source) is None


@pytest.mark.shared
def test_real_hippocampi_are_found_by_a_decathlon_list(shared_data: Path, tmp_path: Path) -> None:
    images = sorted((shared_data / "msd-hippocampus" / "images").glob("*.nii*"))
    (tmp_path / "imagesTr").symlink_to(images[0].parent)
    entries = [{"image": f"./imagesTr/{p.name}"} for p in images]
    source = write(
        tmp_path / "dataset.json",
        {"name": "Hippocampus", "modality": {"0": "MRI"}, "training": entries, "test": []},
    )
    people = read_cohort(source)
    assert len({p.subject for p in people}) == len(images)
    assert {p.site for p in people} == {"Hippocampus"}
    assert all(p.path.exists() for p in people)
    assert splits(tmp_path) == splits(source)
