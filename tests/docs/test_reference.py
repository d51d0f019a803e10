"""The reference of the Python interface: complete, and its examples do what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re

import numpy as np
import pytest

import napari_normative as nn
from napari_normative.review.assign import Plan
from napari_normative.review.create import create_reviews
from napari_normative.review.material import find_detections, gather
from tutorial_pages import DOCS

PAGE = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
NAMED = re.findall(r"^::: (\S+)$", PAGE, re.M)
PLAIN = {"available_models", "load_model"}
"""Functions that need no example."""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def resolve(path):
    """Return what a dotted path of the page names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def parts_of(thing):
    """Return a name with those of its parent classes that the page does not name."""
    if not inspect.isclass(thing):
        return [thing]
    named = [resolve(path) for path in NAMED]
    parents = [parent for parent in inspect.getmro(thing)[1:] if parent not in named]
    return [thing, *(p for p in parents if p.__module__.startswith(nn.__name__))]


def test_every_public_name_is_on_the_page():
    named = {path.removeprefix("napari_normative.") for path in NAMED}
    assert set(nn.__all__) - {"__version__"} <= named


@pytest.fixture(scope="module")
def names():
    """What examples may use: a model, a sample scan and its detection."""
    model, scan = nn.load_model(), nn.make_sample("brain-with-lesion", spacing_mm=2)
    return {"nn": nn, "np": np, "model": model, "scan": scan, "detection": model.detect(scan)}


@pytest.fixture(scope="module")
def files(names, tmp_path_factory):
    """The folder in which examples run: the scan, its truth, a table of cases, a review."""
    root = tmp_path_factory.mktemp("examples")
    path = nn.write_volume(root / "scan.nii.gz", names["scan"])
    nn.write_volume(root / "truth.nii.gz", nn.sample_truth("brain-with-lesion", spacing_mm=2))
    (root / "cases.tsv").write_text("path\ttruth\nscan.nii.gz\ttruth.nii.gz\n")
    found = names["model"].detect(path)
    found.save(root / "detections" / "scan")
    listed, alone = find_detections(root / "detections", [root])
    made = gather(listed, root / "study", refused=alone)
    create_reviews(root / "study", ["anna"], made, Plan(repeats=0))
    return root


@pytest.mark.parametrize("path", NAMED)
def test_the_examples_of_a_public_name_run(path, names, files, monkeypatch):
    monkeypatch.chdir(files)
    thing = resolve(path)
    home = importlib.import_module(thing.__module__)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    tests = [test for part in parts_of(thing) for test in doctest.DocTestFinder().find(part, path)]
    report = []
    for test in tests:
        test.globs = {**vars(home), **names}
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    if inspect.isroutine(thing) and thing.__name__ not in PLAIN:
        assert any(test.examples for test in tests), f"{path} has no example"
