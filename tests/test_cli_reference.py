"""Every command, option and argument is documented, and the page is the program's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import typer

from napari_normative.cli import app

SCRIPT = Path(__file__).parents[1] / "scripts" / "cli_reference.py"


@pytest.fixture(scope="module")
def reference():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("cli_reference", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_option_and_argument_has_a_help_text(reference) -> None:  # type: ignore[no-untyped-def]
    assert reference.undocumented() == []


def test_the_page_is_up_to_date(reference) -> None:  # type: ignore[no-untyped-def]
    written = reference.PAGE.read_text(encoding="utf-8")
    assert written == reference.page(), "run: python scripts/cli_reference.py"


def test_every_command_has_json_and_quiet(reference) -> None:  # type: ignore[no-untyped-def]
    for path, command in reference.commands(typer.main.get_command(app)):
        options = {name for param in command.params for name in param.opts}
        assert {"--json", "--quiet"} <= options, " ".join(path)
