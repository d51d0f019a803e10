"""Make docs/gallery: run every example, keep its picture small, list them by their first lines.

    xvfb-run -a -s "-screen 0 1920x1200x24" python scripts/gallery.py [--no-run]

An example is its docstring: a title, what it shows, and after "Makes:" the files. The first of
these that is a PNG is its picture; the first lines of what it prints are kept as well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
PAGE = ROOT / "docs" / "gallery"
WIDTH, COLOURS, LINES = 640, 64, 12


def main() -> None:
    """Run the examples unless told not to, and write the page."""
    PAGE.mkdir(exist_ok=True)
    if "--no-run" not in sys.argv:
        for example in EXAMPLES:
            keep(example)
    text = "\n".join([HEAD, *(entry(example) for example in EXAMPLES)])
    (PAGE / "index.md").write_text(text, encoding="utf-8")


HEAD = """# Gallery

Small scripts that run on a fresh install with nothing but made sample scans, most in seconds on a
CPU: `python examples/01_detect_one_scan.py --out somewhere`. Pictures and lines below are what they
made (`python scripts/gallery.py`). Research use only, not for diagnosis.
"""


def told(example: Path) -> tuple[str, str, list[str]]:
    """Return title, description and files of an example."""
    found = re.search(r'"""(.*?)"""', example.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, example.name
    words, _, makes = found[1].partition("\nMakes:")
    title, _, description = words.strip().partition("\n")
    names = [name.strip() for name in makes.replace("\n", " ").split(",")]
    return title.rstrip("."), description.strip(), names


def keep(example: Path) -> None:
    """Run an example; keep its picture, or what it printed."""
    print(example.name, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(example), "--out", folder],
            check=True, capture_output=True, text=True, cwd=folder,
            env={**os.environ, "NAPARI_CONFIG": f"{folder}/napari.yaml"},
        )  # fmt: skip
        picture = next((n for n in told(example)[2] if n.endswith(".png")), None)
        if picture is not None:
            shrink(Path(folder) / picture, PAGE / f"{example.stem}.png")
        lines = [line.rstrip() for line in done.stdout.splitlines()][:LINES]
        (PAGE / f"{example.stem}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def shrink(source: Path, target: Path) -> None:
    """Save a picture in few bytes."""
    image = Image.open(source).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.LANCZOS)
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


def entry(example: Path) -> str:
    """Return the part of the page about an example."""
    title, description, makes = told(example)
    picture, printed = PAGE / f"{example.stem}.png", PAGE / f"{example.stem}.txt"
    lines = [f"## {title}", "", description, ""]
    if picture.exists():
        lines += [f"![{title}]({picture.name})", ""]
    if printed.exists() and printed.read_text(encoding="utf-8").strip():
        lines += ["```text", f'--8<-- "docs/gallery/{printed.name}"', "```", ""]
    files = ", ".join(f"`{name}`" for name in makes)
    source = f'--8<-- "examples/{example.name}"'
    lines += [f"Makes {files}.", "", f'??? example "examples/{example.name}"', ""]
    lines += ["    ``` { .python }", f"    {source}", "    ```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
