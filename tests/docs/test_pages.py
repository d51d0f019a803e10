"""What the pages name is there: commands, options, codes, pictures; and nothing comes from afar."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys

import pytest
import typer

from napari_normative.cli import app
from tutorial_pages import DOCS

ROOT = DOCS.parent
PAGES = [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
IMAGE_KIB, IMAGES_MB = 300, 3


def commands():
    """Yield (page, words) of every command of ours in the shell blocks of the pages."""
    for name, text in TEXTS.items():
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("napari-normative "):
                    words = shlex.split(line, comments=True)[1:]
                    ours = itertools.takewhile(lambda w: w not in {"|", ">", "2>", "&&"}, words)
                    yield name, list(ours)


def test_every_command_and_option_that_is_printed_exists():
    top = typer.main.get_command(app)
    seen = 0
    for name, words in commands():
        at, rest = top, words
        while hasattr(at, "commands") and rest:
            word, *rest = rest
            if word == "COMMAND":  # stands for any
                break
            if word.startswith("-"):
                both = {o for p in at.params for o in (*p.opts, *p.secondary_opts)}
                assert word in both, f"{name}: {word}"
                continue
            assert word in at.commands, f"{name}: {word}"
            at = at.commands[word]
        known = {o for p in at.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        for word in rest:
            if word.startswith("-") and not re.fullmatch(r"-?\d+", word):
                assert word.partition("=")[0] in known, f"{name}: {' '.join(words)}"
                seen += 1
    assert seen > 40


def test_every_code_that_is_named_exists():
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py"))
    known = set(re.findall(r'"([A-Z]{3}-\d{3})"', source)) | {"BUG-000"}
    for name, text in TEXTS.items():
        for code in re.findall(r"\b[A-Z]{3}-\d{3}\b", text):
            assert code in known, f"{name}: {code}"


def test_every_module_that_is_named_exists():
    """Dotted names of ours, in code and in sentences, are importable up to their last part."""
    import importlib

    for name, text in TEXTS.items():
        if name.startswith("docs/decisions"):
            continue  # as they were when decided
        for path in set(re.findall(r"\bnapari_normative(?:\.\w+)+", text)):
            module, found = path, None
            while found is None:
                try:
                    found = importlib.import_module(module)
                except ModuleNotFoundError:
                    module, _, _ = module.rpartition(".")
            for part in path[len(module) :].split(".")[1:]:
                assert hasattr(found, part), f"{name}: {path}"
                found = getattr(found, part)


def test_pictures_are_small_and_each_is_shown():
    pictures = list((DOCS / "images").glob("*.png"))
    shown = "\n".join(TEXTS.values())
    for picture in pictures:
        assert picture.stat().st_size < IMAGE_KIB * 1024, picture.name
        assert f"images/{picture.name})" in shown, f"{picture.name} is on no page"
    assert sum(p.stat().st_size for p in pictures) < IMAGES_MB * 1e6


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("material", reason="the documentation needs the extra docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?([^\s\">]+)", text)
        loaded += re.findall(r"<link\b[^>]*\bhref=\"?([^\s\">]+)", text)
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], page.name
    for style in tmp_path.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text), style.name
