"""The tutorials, run as they stand on their pages."""

from __future__ import annotations

import pytest

from tutorial_pages import AsUser, InProcess, blocks_of, run_page, user_environment

PAGES = ("quick-start", "scripting", "train-a-model")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A fresh folder to work in, with a home beside it."""
    environment = user_environment(tmp_path / "home")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(work)
    return environment


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(page, home, capsys):
    steps = {b.text: (lambda: None) for b in blocks_of(page) if b.kind == "step"}
    left_out = list(run_page(page, InProcess(page), steps))
    with capsys.disabled():
        print(*(f"\n  not run: {line}" for line in left_out), sep="", end="")
