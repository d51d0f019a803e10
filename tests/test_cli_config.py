"""Defaults from a file and from the environment: who wins, what is refused, what is shown."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.cli.configuration import NAME, options_of


def run(*arguments: object, code: int = 0, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=env)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a user without a configuration."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NAPARI_NORMATIVE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("platformdirs.user_config_path", lambda *a, **k: tmp_path / "home")
    return folder


def in_force(*before: object, env: dict[str, str] | None = None) -> dict[str, tuple[object, str]]:
    facts = json.loads(run(*before, "config", "--json", env=env).stdout)
    named = {f"{s['command']} {s['option']}": s for s in facts["settings"]}
    return {name: (s["value"], s["from"]) for name, s in named.items()}


def test_typed_goes_before_variable_before_file_before_default(here: Path) -> None:
    (here / NAME).write_text('[detect]\nmodel = "of-the-file"\n')
    (here / "scan.nii").touch()
    words = ("detect", "scan.nii", "--out", "o")
    env = {"NAPARI_NORMATIVE_DETECT_MODEL": "of-the-variable"}
    for result, name in (
        (run(*words, "--model", "typed", env=env, code=1), "typed"),
        (run(*words, env=env, code=1), "of-the-variable"),
        (run(*words, code=1), "of-the-file"),
    ):
        assert result.stderr.startswith(f"[MOD-004] {name}:")


def test_a_required_option_may_come_from_the_file(here: Path) -> None:
    assert "Missing option" in run("detect", "gone.nii", code=2).stderr
    (here / NAME).write_text('[detect]\nout = "o"\nmodel = "nothing"\n')
    assert "[MOD-004]" in run("detect", "gone.nii", code=1).stderr


def test_the_file_is_the_one_given_else_of_this_folder_else_of_the_user(
    here: Path, tmp_path: Path
) -> None:
    assert in_force()["detect samples"] == (0, "default")
    user = tmp_path / "home" / NAME
    user.parent.mkdir()
    user.write_text("[detect]\nsamples = 1\n")
    assert in_force()["detect samples"] == (1, str(user))
    (here / NAME).write_text("[detect]\nseed = 2\n")
    assert in_force()["detect seed"] == (2, NAME)
    assert in_force()["detect samples"] == (0, "default"), "files are not put together"
    (here / "mine.toml").write_text("[review.create]\nrepeats = 0.5\n")
    assert in_force("--config", "mine.toml")["review create repeats"] == (0.5, "mine.toml")


def test_a_switch_of_the_file_is_taken_back_by_its_variable(here: Path) -> None:
    (here / NAME).write_text("[inspect]\njson = true\n[detect]\nany-size = true\n")
    (here / "no.nii").write_text("no volume")
    assert json.loads(run("inspect", "no.nii", code=1).stdout)["code"].startswith("NIF-")
    env = {"NAPARI_NORMATIVE_INSPECT_JSON": "0"}
    assert run("inspect", "no.nii", code=1, env=env).stdout == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[detct]", "[CFG-003] mine.toml: there is no command detct. Nothing was done. Did you"),
        ("[review.crate]", "Did you mean create?"),
        ('[detect]\ndevise = "cpu"', "[CFG-004] mine.toml: detect has no option devise."),
        ('[detect]\ndevise = "cpu"', "Did you mean device?"),
        ('[detect]\nscans = ["a.nii"]', "detect has no option scans"),
        ("offline = false", "outside of a table there is no option offline"),
        ('[detect]\nsamples = "3"', '[CFG-005] mine.toml: detect.samples takes a whole number, '),
        ("[detect]\nsamples = true", "takes a whole number, not true"),
        ("[detect]\nsamples = -1", "detect.samples does not take it"),
        ('[detect]\njson = "yes"', "detect.json takes true or false"),
        ("[detect]\ndevice = 0", "takes a text in quotes, not 0"),
        ('[detect]\ntrust = "sfrm"', "detect.trust does not take it"),
        ('[train]\nset = "steps=3"', "train.set takes a list in brackets"),
        ('[train]\nset = ["steps=3", 4]', "train.set takes a text in quotes, not 4"),
        ("[detect]\nseed = [1]", "detect.seed takes one value, not a list"),
        ("[detect", "[CFG-002] mine.toml: it is no TOML"),
    ],
)  # fmt: skip
def test_what_fits_nothing_is_refused_with_the_nearest(here: Path, content: str, says: str) -> None:
    (here / "mine.toml").write_text(content)
    result = run("--config", "mine.toml", "sample", "--out", "o", code=2)
    (line,) = result.stderr.splitlines()
    assert says in line
    assert not (here / "o").exists()


def test_a_file_that_is_not_there_is_one_line() -> None:
    assert run("--config", "gone.toml", "config", code=2).stderr.startswith("[CFG-001] gone.toml")


def test_a_whole_number_is_a_number(here: Path) -> None:
    (here / NAME).write_text("[sample]\ntemperature = 1\n")
    assert in_force()["sample temperature"] == (1, NAME)


def test_init_writes_every_option_and_never_overwrites(here: Path) -> None:
    run("config", "--init")
    text = (here / NAME).read_text()
    assert set(tomllib.loads(text)) == {s.split()[0] for s in in_force()}
    assert all(origin == "default" for _, origin in in_force().values())
    # Every default of the file is a value that the option takes.
    live = re.sub(r"(?m)^# ([a-z-]+ = (?!\.\.\.).*)$", r"\1", text)
    options = list(options_of(typer.main.get_command(app)))
    assert live.count(" = ") == text.count(" = ") == len(options)
    (here / NAME).write_text(live)
    given = {o.key for o in options if o.default is not None}
    assert {name.split()[-1] for name, (_, origin) in in_force().items() if origin == NAME} == given
    (here / NAME).write_text("mine")
    assert "[CFG-006]" in run("--config", "/dev/null", "config", "--init", code=1).stderr
    assert (here / NAME).read_text() == "mine"


def test_config_shows_what_differs_and_where_it_comes_from(here: Path) -> None:
    (here / NAME).write_text('[train]\nset = ["steps=3"]\n')
    shown = run("config", env={"NAPARI_NORMATIVE_DETECT_DEVICE": "cpu"}).stdout
    assert f"file: {NAME}" in shown
    assert 'detect.device = "cpu"  (NAPARI_NORMATIVE_DETECT_DEVICE)' in shown
    assert f'train.set = ["steps=3"]  ({NAME})' in shown
