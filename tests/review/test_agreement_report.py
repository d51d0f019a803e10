"""The report of an agreement: safe to share, complete, and whole or not there."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from napari_normative.errors import OutputError
from napari_normative.review.agreement import Agreement, Ratings, agreement, disagreements
from napari_normative.review.agreement_report import MOST_SHOWN, save_agreement_report

READERS = ("reader-0a1b2c3d", "reader-4e5f6a7b", "reader-8c9d0e1f")
FACTS = {"software": "napari-normative 0.1.0", "project": "5 & <b>", "created_utc": "2025-01-01"}


def example(units: int = 12) -> Ratings:
    """Three readers; the second accepts one candidate in three that the others reject."""
    rows = [("reject", "accept" if n % 3 == 0 else "reject", "") for n in range(units)]
    rows[1] = ("accept", "accept", "accept")
    rows[2] = ("uncertain", "accept", "reject")
    images = tuple(f"case-{n // 2:03}" for n in range(units))
    return Ratings(READERS, images, tuple(f"c{n}" for n in range(units)), tuple(rows))


def made_of(read: Ratings) -> Agreement:
    """Agreement with the Dice of one pair."""
    return agreement(read, {READERS[:2]: {"case-000": 0.5, "case-001": math.nan}}, draws=200)


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)


def test_five_files_and_every_column_is_in_a_dictionary(tmp_path: Path) -> None:
    read = example()
    made = made_of(read)
    files = save_agreement_report(tmp_path / "new", made, disagreements(read), FACTS)
    names = ["agreement.tsv", "agreement.json", "disagreements.tsv", "disagreements.json"]
    assert [path.name for path in files] == [*names, "agreement.html"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in files
    )
    for table, record in ((files[0], files[1]), (files[2], files[3])):
        told = json.loads(record.read_text())
        assert list(told["columns"]) == list(read_table(table).columns)
        assert all(column["Description"] for column in told["columns"].values())
        assert told["notice"] == "Research use only, not for diagnosis."
        assert told["made"]["software"] == FACTS["software"]
        assert (told["made"]["seed"], told["made"]["bootstrap draws"]) == (0, 200)
        assert told["made"]["uncertain counts as"] == "not accepted"
    figures = json.loads(files[1].read_text())["columns"]["figure"]["Levels"]
    assert set(read_table(files[0])["figure"]) == set(figures)


def test_the_tables_hold_what_was_computed(tmp_path: Path) -> None:
    read = example()
    made, split = made_of(read), disagreements(read)
    files = save_agreement_report(tmp_path, made, split, FACTS)
    table = read_table(files[0])
    for name in ("value", "low", "high"):
        assert table[name].tolist() == pytest.approx(
            made.table()[name].tolist(), rel=1e-5, nan_ok=True
        )
    assert table["readers"].tolist() == [row.readers for row in made.rows]
    rows = read_table(files[2])
    assert rows.loc[1].tolist() == ["case-001", "c2", 1.0, "uncertain", "accept", "reject"]
    assert rows["candidate"].tolist() == ["c0", "c2", "c3", "c6", "c9"]
    assert rows[READERS[2]].isna().tolist() == [True, False, True, True, True]


def test_the_page_shows_figures_and_disagreements_and_needs_nothing_else(tmp_path: Path) -> None:
    read = example()
    made = made_of(read)
    html = save_agreement_report(tmp_path, made, disagreements(read), FACTS)[-1].read_text()
    assert "Research use only, not for diagnosis." in html
    assert not re.search(r"<script|<img|<link|https?:|src=|url\(", html)
    assert len(html) < 40_000
    for row in made.rows:
        assert f"<td>{row.in_words()}</td>" in html
    assert html.count("<table>") == 4  # all readers, pairs, disagreements, facts
    assert html.count("<tr class=first>") == 3  # above the pairs after the first, and masks
    assert "5 &amp; &lt;b&gt;" in html and "<b>" not in html.split("</style>")[1]
    assert "<td class=t>c2</td><td class=t>uncertain</td><td class=t>accept</td>" in html
    assert "uncertain counts as: not accepted." in html


def test_a_page_of_one_reader_or_of_full_agreement_says_so(tmp_path: Path) -> None:
    read = Ratings(READERS[:1], ("case-001",), ("c1",), (("accept",),))
    files = save_agreement_report(tmp_path, agreement(read), disagreements(read), {})
    html = files[-1].read_text()
    assert "Two readers" not in html
    assert "nothing to compare" in html
    assert "No candidate was answered differently." in html
    assert list(read_table(files[2]).columns) == ["image", "candidate", "split", READERS[0]]


def test_a_long_list_goes_on_in_the_table(tmp_path: Path) -> None:
    read = example(3 * MOST_SHOWN + 21)
    split = disagreements(read)
    files = save_agreement_report(tmp_path, made_of(read), split, FACTS)
    more = len(split) - MOST_SHOWN
    assert more > 0
    assert f"{more} more are in disagreements.tsv" in files[-1].read_text()
    assert len(read_table(files[2])) == len(split)


def test_what_is_no_fact_is_refused_and_an_older_report_stays(tmp_path: Path) -> None:
    read = example()
    save_agreement_report(tmp_path, made_of(read), disagreements(read), FACTS)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        save_agreement_report(tmp_path, made_of(read), (), {"file": Path("/home/jane/scan.nii")})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failing_disk_leaves_the_older_report(tmp_path: Path, monkeypatch) -> None:
    read = example()
    save_agreement_report(tmp_path, made_of(read), disagreements(read), FACTS)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    written = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_normative.io.atomic.os.fsync", full)
    with pytest.raises(OutputError, match="OUT-002"):
        save_agreement_report(tmp_path, agreement(read, draws=9), (), {})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
