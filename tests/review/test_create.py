"""New reviews: a file for each reader, or none."""

import pytest

from napari_normative.errors import ReviewError
from napari_normative.review.assign import Plan
from napari_normative.review.create import create_reviews, listed_in, review_files, words
from reviewed import material


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return material(tmp_path_factory.mktemp("review"), 2)


def test_each_reader_gets_a_file(made, tmp_path):
    files = create_reviews(tmp_path, ["Anna Müller", "b/e\\n"], made, Plan())
    assert [file.name for file in files] == ["Anna-Müller.review", "b-e-n.review"]
    assert review_files(tmp_path) == sorted(files)


@pytest.mark.parametrize("readers", [[], [""], ["anna", "Anna"], ["..", "x"], ["a b", "a-b"]])
def test_readers_without_a_name_of_their_own_are_refused(made, tmp_path, readers):
    with pytest.raises(ReviewError, match="REV-036"):
        create_reviews(tmp_path / "study", readers, made, Plan())
    assert not (tmp_path / "study").exists()


def test_a_project_has_a_folder_of_its_own(made, tmp_path):
    create_reviews(tmp_path, ["anna"], made, Plan())
    with pytest.raises(ReviewError, match="REV-037"):
        create_reviews(tmp_path, ["ben"], made, Plan())


def test_label_sets_and_assignment_lists_are_read(tmp_path):
    assert words(" infarct, other,,infarct ") == ("infarct", "other")
    path = tmp_path / "list.txt"
    path.write_text("# anna's\nsub-01_T1w\n\n sub-02_T1w \n", encoding="utf-8")
    assert listed_in(path) == ("sub-01_T1w", "sub-02_T1w")
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ReviewError, match="REV-039"):
        listed_in(path)
