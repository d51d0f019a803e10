"""Every example runs on a fresh folder and makes what its first lines promise."""

from __future__ import annotations

import functools
import re
import runpy
import sys
from pathlib import Path

import pytest

from napari_normative.engine import model
from napari_normative.io import samples

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9]*.py"))
WINDOWS = {"04_window_and_pictures", "13_in_a_notebook"}
SLOW = {"11_train_a_small_model", "12_evaluate"}
"""Minutes; the tutorial *A model of your own* and the examples of the reference do the same."""
MODEL = "brain-t1"


def promised(path: Path) -> list[str]:
    """Files that an example says it makes."""
    text = re.search(r'"""(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None, path.name
    makes = text[1].partition("\nMakes:")[2]
    return [name.strip() for name in makes.replace("\n", " ").split(",") if name.strip()]


make_once = functools.cache(samples.make_sample)
load_once = functools.cache(model.load_model)


@pytest.fixture
def quick(monkeypatch):
    """The sample scan is smaller, and it and the model are made once for all examples."""
    monkeypatch.setattr(model, "load_model", load_once)
    monkeypatch.setattr(samples, "make_sample", lambda key: make_once(key, spacing_mm=2))


@pytest.fixture
def window(request, monkeypatch):
    """A display for those that open a window; heavy work in a thread: torch is loaded here."""
    from napari_normative.plugin import session
    from napari_normative.plugin.jobs import ThreadRunner

    request.getfixturevalue("qapp")
    monkeypatch.setattr(session, "runners_for", lambda viewer: (ThreadRunner(), ThreadRunner()))
    yield
    import napari

    napari.Viewer.close_all()


@pytest.mark.skipif(
    MODEL not in {entry.name for entry in model.available_models()}, reason="no packaged model"
)
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW))
        for path in EXAMPLES
    ],
)
def test_an_example_makes_what_it_promises(request, path, tmp_path, monkeypatch, capsys):
    pytest.importorskip("nilearn", reason="the sample scans need the extra demo")
    request.getfixturevalue("window") if path.stem in WINDOWS else None
    request.getfixturevalue("quick") if path.stem not in SLOW else None
    out = tmp_path / "output"
    monkeypatch.setattr(sys, "argv", [path.name, "--out", str(out)])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    names = promised(path)
    assert names, "an example says what it makes"
    for name in names:
        assert (out / name).stat().st_size > 0
    assert {p.name for p in tmp_path.iterdir()} <= {"output", "napari"}, "it keeps to its folder"
    assert capsys.readouterr().out or path.stem in WINDOWS


def test_examples_are_short_and_there_are_ten():
    assert len(EXAMPLES) >= 10
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name


def test_the_gallery_says_what_the_examples_say():
    gallery = runpy.run_path(str(EXAMPLES[0].parents[1] / "scripts" / "gallery.py"))
    page = (gallery["PAGE"] / "index.md").read_text(encoding="utf-8")
    for path in EXAMPLES:
        assert gallery["entry"](path) in page, f"run scripts/gallery.py --no-run: {path.name}"
    pictures = list(gallery["PAGE"].glob("*.png"))
    assert {"04_window_and_pictures", "13_in_a_notebook"} <= {p.stem for p in pictures}
    assert all(p.stat().st_size < 150_000 for p in pictures)
