"""Error codes: each has one meaning, one kind of exception and one line of documentation."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

import napari_normative
from napari_normative import errors

SOURCES = sorted(Path(napari_normative.__file__).parent.rglob("*.py"))
DOCS = Path(__file__).parents[1] / "docs"
CODE = re.compile(r"\b(?!SHA)[A-Z]{3}-\d{3}\b")
KINDS = {
    "NIF": {"VolumeFileError"},
    "SMP": {"VolumeFileError"},
    "GEO": {"GeometryMismatchError"},
    "PRE": {"PreprocessError"},
    "MOD": {"ModelFileError"},
    "COH": {"CohortError"},
    "EXP": {"ExportError"},
    "TRN": {"TrainingError"},
    "GEN": {"GenerationError"},
    "SIM": {"SimulationError"},
    "EVA": {"EvaluationError"},
    "PRB": {"ProbeError"},
    "WHY": {"ExplanationError"},
    "SEG": {"SegmentationError"},
    "DCM": {"DicomError"},
    "DEV": {"DeviceError"},
    "OUT": {"OutputError"},
    "CLU": {"ClusterError"},
    "IMP": {"RegionsFileError"},
    "REV": {"ReviewError"},
    "CFG": {"ConfigError"},
    "NET": {"NetworkError"},
    "JOB": {"NormativeError"},
    "SES": {"SessionError"},
}
IN_SEVERAL_MODULES = {
    "GEO-002",  # arrays with their affine, and nibabel images
    "MOD-004",  # by path, and by name
    "NIF-001",  # files, and folders
    "NIF-013",  # compressed, and plain
    "NIF-014",  # compressed, and plain
    "OUT-001",  # volumes, and segmentations of 3D Slicer
    "PRE-002",  # no map found, and one that does not fit
}
"""Raised in several places with one meaning. A new line here is a decision."""


def raised() -> list[tuple[str, str, Path]]:
    """Return code, exception and module of every error that is made in the source."""
    found = []
    for path in SOURCES:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            first = call.args[0]
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                continue
            if CODE.fullmatch(first.value):
                found.append((first.value, ast.unparse(call.func), path))
    return found


def documented() -> list[tuple[str, str]]:
    """Return code and meaning of every table cell that holds a code."""
    rows = []
    for page in sorted(DOCS.rglob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("| ").split("|")]
            if line.startswith("|"):
                pairs = itertools.pairwise(cells)
                rows += [(code, meaning) for code, meaning in pairs if CODE.fullmatch(code)]
    return rows


def test_every_code_in_the_source_is_documented_once_and_no_other() -> None:
    used = {code for path in SOURCES for code in CODE.findall(path.read_text(encoding="utf-8"))}
    assert len(used) > 60
    counts = Counter(code for code, _ in documented())
    assert used - set(counts) == set(), "used and not documented"
    assert set(counts) - used == set(), "documented and not used"
    assert [code for code, n in counts.items() if n > 1] == []


def test_docstrings_name_codes_that_are_raised() -> None:
    mentioned = {
        code for path in SOURCES for code in CODE.findall(path.read_text(encoding="utf-8"))
    }
    made = {code for code, _, _ in raised()}
    assert mentioned - made == {"BUG-000"}  # printed by the command line, not an exception


def test_a_code_has_one_meaning() -> None:
    meanings = Counter(meaning for _, meaning in documented())
    assert [text for text, n in meanings.items() if n > 1] == []
    modules: dict[str, set[Path]] = {}
    for code, _, path in raised():
        modules.setdefault(code, set()).add(path)
    assert {code for code, paths in modules.items() if len(paths) > 1} == IN_SEVERAL_MODULES


@pytest.mark.parametrize(("code", "kind", "path"), raised(), ids=lambda v: getattr(v, "name", v))
def test_the_kind_of_exception_follows_from_the_code(code: str, kind: str, path: Path) -> None:
    if code == "CAN-001":
        assert path.name == "errors.py"  # CancelledError itself
    else:
        assert kind in KINDS[code[:3]]


def test_the_message_is_code_subject_finding_consequence_and_remedy() -> None:
    error = errors.PreprocessError("PRE-001", "it is empty", "Look at it.", subject="a.nii")
    assert str(error) == "[PRE-001] a.nii: it is empty. The scan was not scored. Look at it."
    other = errors.OutputError("OUT-002", "no", "Go.", consequence="All was kept.")
    assert str(other) == "[OUT-002] no. All was kept. Go."
