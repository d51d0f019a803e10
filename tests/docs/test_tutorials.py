"""The tutorials, run as they stand on their pages."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from platformdirs import user_cache_dir

from tutorial_pages import DOCS, AsUser, InProcess, blocks_of, run_page, user_environment
from tutorial_steps import STEPS, Desk

PAGES = sorted({path.stem for path in (DOCS / "tutorials").glob("*.md")} - {"index"})


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A fresh folder to work in, with a home beside it."""
    environment = user_environment(tmp_path / "home")
    # napari's icons stay where the first window of this process has put them.
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path(user_cache_dir()).resolve()))
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, environment[name])
    (tmp_path / "home").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return environment


@pytest.fixture
def steps_of(request):
    """The steps of a page, bound to a window that is opened if there are any."""

    def bound(page):
        if page not in STEPS:
            return {}
        desk = Desk(request.getfixturevalue("make_napari_viewer")(show=True))
        return {name: partial(step, desk) for name, step in STEPS[page].items()}

    return bound


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(page, home, steps_of, capsys):
    left_out = list(run_page(page, InProcess(page), steps_of(page)))
    with capsys.disabled():
        print(*(f"\n  not run: {line}" for line in left_out), sep="", end="")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_person_with_a_shell_gets_the_same(page, home, steps_of):
    """Nothing is left out but installations and windows; each command is a process."""
    runner = AsUser(page, home)
    try:
        left_out = list(run_page(page, runner, steps_of(page), slow=True))
    finally:
        runner.close()
    assert all("installs" in line or "skip, opens a window" in line for line in left_out)


def test_every_step_of_a_page_is_done_and_no_other():
    for page in PAGES:
        named = [b.text for b in blocks_of(page) if b.kind == "step"]
        assert named == list(STEPS.get(page, {})), page


def test_a_page_that_says_something_else_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("tutorial_pages.DOCS", tmp_path)
    (tmp_path / "tutorials").mkdir()
    page = tmp_path / "tutorials" / "wrong.md"
    run = lambda: list(run_page("wrong", InProcess("wrong"), {}))  # noqa: E731
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n\n```sh\necho so\n```\n")
    assert run() == []
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match=r"wrong\.md:1 prints\s+2"):
        run()
    page.write_text("```sh\nls nothing-of-this-name\n```\n")
    with pytest.raises(AssertionError, match=r"wrong\.md:1"):
        run()
    page.write_text("<!-- test: fails -->\n```sh\nls nothing-of-this-name\n```\n")
    assert run() == []
    page.write_text('```sh\npip install "nothing"\n```\n')
    assert run() == ["wrong.md:1: installs"]
