"""Which files are volumes by their names, and which belong together."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from napari_normative.errors import VolumeFileError

SUFFIXES = (
    ".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".mgz", ".mgh",
)  # fmt: skip
"""Names the reader accepts; the content decides in the end."""


def stem(path: str | Path) -> str:
    """Return a file's name without folder and volume suffix.

    Examples
    --------
    >>> stem("x/sub-07_T1w.nii.gz")
    'sub-07_T1w'
    """
    name = Path(path).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def suffix_of(path: Path) -> str:
    """Return the volume suffix of a name in lower case, or nothing."""
    name = path.name.lower()
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), "")


def find_volumes(folder_or_glob: str | Path) -> list[Path]:
    """Return the volume files in a folder (and the folders in it) or that fit a pattern.

    Hidden files and folders, which include macOS's ``._*`` companions, are skipped;
    a ``.hdr`` and its ``.img`` count once, as the ``.hdr``. Sorted by path.

    Raises
    ------
    VolumeFileError
        If there is no such folder or file, and it is not a pattern.
    """
    root = Path(folder_or_glob)
    if root.is_dir():
        found = [(p, p.relative_to(root)) for p in root.rglob("*")]
    elif root.is_file():
        return [root]  # named on purpose: its content decides
    elif glob.has_magic(str(folder_or_glob)):
        matches = glob.glob(str(folder_or_glob), recursive=True)  # noqa: PTH207 (absolute patterns)
        found = [(Path(p), Path(Path(p).name)) for p in matches]
    else:
        raise VolumeFileError(
            "NIF-001", "there is no such folder or file", "Check the path.", subject=root.name
        )
    kept = {
        path
        for path, below in found
        if not any(part.startswith(".") for part in below.parts)
        and below.name.lower().endswith(SUFFIXES)
        and path.is_file()
    }
    headers = {p.parent / stem(p) for p in kept if suffix_of(p).startswith(".hdr")}
    return sorted(
        p for p in kept
        if not suffix_of(p).startswith(".img") or p.parent / stem(p) not in headers
    )  # fmt: skip


def other_half(path: Path, suffix: str) -> Path:
    """Return the ``.hdr`` of an ``.img`` or the reverse, compressed or not."""
    base = stem(path)
    for ending in (suffix, suffix + ".gz", suffix.upper(), suffix.upper() + ".GZ"):
        candidate = path.with_name(base + ending)
        if candidate.is_file():
            return candidate
    raise VolumeFileError(
        "NIF-009",
        f"its other half {base}{suffix} is missing",
        "Put both files of the pair into the same folder.",
        subject=path.name,
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 that the reader of volumes takes: of a pair, header and then image."""
    parts = [path]
    if suffix_of(path).startswith(".hdr"):
        parts.append(other_half(path, ".img"))
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
