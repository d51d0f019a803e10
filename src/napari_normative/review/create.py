"""New reviews: one file for each reader of a project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from napari_normative.errors import ReviewError
from napari_normative.review.assign import Plan, project_for
from napari_normative.review.material import Material
from napari_normative.review.store import Store

SUFFIX = ".review"


def create_reviews(
    folder: Path,
    readers: Sequence[str],
    material: Material,
    plan: Plan,
    *,
    listed: Sequence[str] = (),
) -> list[Path]:
    """Write a review file for each reader into a folder and return the files.

    Parameters
    ----------
    folder : Path
        Made when it is missing. Without review files: a project has one folder.
    readers : sequence of str
    material : Material
    plan : Plan
    listed : sequence of str
        For the order ``list``.

    Raises
    ------
    ReviewError
        ``REV-037`` if the folder holds reviews already, ``REV-036`` if a reader has no name, or
        two have the same.
    OutputError
        If the folder cannot be written.
    """
    if review_files(folder):
        raise ReviewError(
            "REV-037",
            "the folder holds reviews already",
            "Choose another folder, or add readers to the project that is there (--add).",
            subject=folder.name,
        )
    targets = _targets(folder, readers)
    first, projects = "", []
    for reader in readers:
        made = project_for(reader, material, plan, project=first, listed=listed)
        first = made.id
        projects.append(made)
    for target, made in zip(targets, projects, strict=True):
        Store.create(target, made, material.masks).close()
    return targets


def add_readers(folder: Path, readers: Sequence[str]) -> list[Path]:
    """Give a project in a folder further readers and return their files.

    They read the same scans and candidates under the same plan; under a list, the same list.

    Raises
    ------
    ReviewError
        ``REV-038`` if the folder holds no review.
    """
    files = review_files(folder)
    if not files:
        raise ReviewError(
            "REV-038", "the folder holds no review", "Create one first.", subject=folder.name
        )
    targets = _targets(folder, readers, taken=[file.stem for file in files])
    with Store.open(files[0], read_only=True) as store:
        base = store.project
        masks = {c.mask: store.mask(c.mask) for c in base.candidates}
    first = [a.image for a in base.assignments if not a.repeat]
    names = {image: image for image in first}
    material = Material(base.images, base.runs, base.candidates, masks, names=names)
    repeats = (len(base.assignments) - len(first)) / max(len(first), 1)
    plan = Plan(base.order, base.seed, base.blind, repeats, base.labels, base.title)
    for target, reader in zip(targets, readers, strict=True):
        made = project_for(reader, material, plan, project=base.id, listed=first)
        Store.create(target, made, masks).close()
    return targets


def review_files(folder: Path) -> list[Path]:
    """Return the review files in a folder, by name."""
    return sorted(p for p in folder.glob(f"*{SUFFIX}") if p.is_file() and p.name[0] != ".")


def _targets(folder: Path, readers: Sequence[str], taken: Sequence[str] = ()) -> list[Path]:
    stems = [_stem(reader) for reader in readers]
    everyone = [stem.casefold() for stem in (*taken, *stems)]
    if not all(stems) or not stems or len(set(everyone)) < len(everyone):
        raise ReviewError(
            "REV-036",
            "a reader has no name, or two have the same",
            "Give each reader a name of letters or digits that nobody else has.",
        )
    return [folder / f"{stem}{SUFFIX}" for stem in stems]


def _stem(reader: str) -> str:
    return re.sub(r"[^\w-]+", "-", reader.strip()).strip("-")


def words(text: str) -> tuple[str, ...]:
    """Return the words of a label set that is separated by commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def listed_in(path: Path) -> tuple[str, ...]:
    """Return the scans that an assignment list names: one a line, ``#`` begins a comment.

    Raises
    ------
    ReviewError
        ``REV-039`` if it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ReviewError(
            "REV-039",
            "the assignment list cannot be read",
            "Use UTF-8 text with the file name of a scan, without .nii.gz, on each line.",
            subject=path.name,
        ) from error
    return tuple(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")
