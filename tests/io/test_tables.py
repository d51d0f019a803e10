"""Tables that a spreadsheet opens without running anything, JSON that every reader accepts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from napari_normative.io.tables import json_bytes, tsv_bytes


def cells(**columns: list[object]) -> list[list[str]]:
    text = tsv_bytes(pd.DataFrame(columns)).decode()
    assert text.endswith("\n")
    return [line.split("\t") for line in text[:-1].split("\n")]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_text_that_looks_like_a_formula_is_escaped(start: str) -> None:
    formula = f"{start}cmd|' /C calc'!A0"
    assert cells(site=[formula])[1] == [f"'{formula}"]
    assert cells(**{formula: [1]})[0] == [f"'{formula}"], "headings too"


def test_numbers_keep_their_sign_and_need_no_escape() -> None:
    assert cells(z=[-5.25, -3])[1:] == [["-5.25"], ["-3"]]
    assert cells(n=[np.int64(-3)])[1] == ["-3"]


def test_tabs_and_line_breaks_cannot_move_a_cell() -> None:
    rows = cells(site=["a\tb\nc\r\nd"], n=[1])
    assert rows == [["site", "n"], ["a b c d", "1"]]


def test_space_before_a_formula_does_not_hide_it() -> None:
    assert cells(site=[" \t=1+1"])[1] == ["'=1+1"]


def test_what_is_missing_is_said() -> None:
    assert cells(a=[None, float("nan"), "", float("inf")])[1:] == [["n/a"]] * 4


def test_numbers_have_six_digits_and_truth_is_a_word() -> None:
    assert cells(a=[0.123456789], b=[True], c=[np.bool_(False)])[1] == ["0.123457", "true", "false"]


def test_json_holds_no_nan_and_no_numpy() -> None:
    record = {"a": float("nan"), "b": np.float32(0.5), "c": (1, np.int64(2)), "d": np.array([1.5])}
    assert json.loads(json_bytes({**record, "e": {"f": float("-inf"), "g": np.bool_(True)}})) == {
        "a": None, "b": 0.5, "c": [1, 2], "d": [1.5], "e": {"f": None, "g": True},
    }  # fmt: skip


def test_json_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError):
        json_bytes({"a": object()})
