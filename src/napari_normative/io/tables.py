"""Tables and records for people and programs: TSV that a spreadsheet opens safely, strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MISSING = "n/a"
"""What stands in a cell without a value, as in BIDS."""

_FORMULA = ("=", "+", "-", "@")


def tsv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as tab-separated UTF-8 text with a header line.

    Numbers have six significant digits. A text that a spreadsheet would take for a formula
    (``=``, ``+``, ``-`` or ``@`` in front) gets an apostrophe before it; tabs and line
    breaks in a text become spaces; what is missing is ``n/a``.
    """
    lines = ["\t".join(_cell(str(name)) for name in table.columns)]
    lines += ["\t".join(map(_cell, row)) for row in table.itertuples(index=False, name=None)]
    return ("\n".join(lines) + "\n").encode()


def json_bytes(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON that every reader accepts: NaN and infinity become null.

    Raises
    ------
    TypeError
        If a value is no number, text, list or mapping: nothing is written by its ``repr``.
    """
    text = json.dumps(_plain(record), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def json_line(record: Mapping[str, Any]) -> str:
    """Return a record as one line of JSON, as :func:`json_bytes` writes it, without its end."""
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    text = " ".join(str(value).split())
    if text in {"", "<NA>"}:  # how pandas' missing value calls itself
        return MISSING
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    return value
