"""Which scans a command works on, and result folders that appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_normative.errors import OutputError, TrainingError, VolumeFileError
from napari_normative.io.nifti import find_volumes

_NUMBERED = re.compile(r"(sample_\d+|mean|sd|local_volume)\.nii\.gz|report\.html")
"""Results that an earlier run may have left and this one does not make."""

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}(\.old)?")
"""How the temporary folders of :func:`whole_folder` are called."""


def expand_scans(scans: Iterable[Path], *, leave_out: Path) -> list[Path]:
    """Replace folders and patterns by the volumes in them, each once, in order.

    Parameters
    ----------
    scans : paths of files, folders, or patterns such as ``data/*_T1w.nii.gz``
    leave_out : Path
        The output folder: results of an earlier run are not scans.

    Raises
    ------
    VolumeFileError
        ``NIF-040`` if a folder or pattern yields no volume.
    """
    found: list[Path] = []
    for scan in scans:
        if not (scan.is_dir() or (not scan.exists() and set("*?[") & set(str(scan)))):
            found.append(scan)
            continue
        inside = [p for p in find_volumes(scan) if leave_out.resolve() not in p.resolve().parents]
        if not inside:
            raise VolumeFileError(
                "NIF-040",
                "no volume file was found here",
                "Name a folder with .nii, .nii.gz, .hdr/.img or .mgz files.",
                subject=scan.name or str(scan),
            )
        found.extend(inside)
    return list(dict.fromkeys(found))


def another_name(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, numbered where it must be, and take it."""
    base, number = name, 1
    while name.casefold() in taken:  # Windows and macOS do not tell A from a
        number += 1
        name = f"{base}-{number}"
    taken.add(name.casefold())
    return name


@contextmanager
def whole_folder(target: Path, marker: str) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of ``target`` at the end.

    A reader sees the old results or the new ones, never a mixture; after an error or an
    interruption the old ones are still there.

    Parameters
    ----------
    target : Path
        The result folder; missing, empty, or with results of an earlier run.
    marker : str
        Name of the file by which a folder of results is known, such as ``detection.json``.

    Raises
    ------
    OutputError
        ``OUT-010`` if ``target`` holds files that are not results (they would be lost),
        ``OUT-011`` if it cannot be written.
    """
    try:
        present = require_own(target, marker)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield fresh
        _make_readable(fresh)
        made = _files(fresh)
        others = {name for name in present - made if not _NUMBERED.fullmatch(name)}
        if others:
            raise _foreign(target, others)
        _swap(fresh, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def require_own(target: Path, marker: str) -> set[str]:
    """Return the files of a result folder, none where it is missing; for work that takes long.

    Raises
    ------
    OutputError
        ``OUT-010`` if ``target`` holds files that are not results.
    """
    present = _files(target) if target.exists() else set()
    if present and marker not in present:
        raise _foreign(target, present)
    return present


def remove_unfinished(parent: Path, names: Container[str]) -> None:
    """Remove what :func:`whole_folder` left of results that a killed process was writing.

    Parameters
    ----------
    parent : Path
        Folder of the result folders.
    names : container of str
        Results that nobody is writing now; others are left alone.
    """
    for entry in os.scandir(parent) if parent.is_dir() else ():
        found = _UNFINISHED.fullmatch(entry.name)
        if found and found["name"] in names:
            shutil.rmtree(entry.path, ignore_errors=True)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a work folder; the system lets go when the process ends.

    A process may claim a folder again that it holds.

    Raises
    ------
    TrainingError
        ``TRN-008`` if another process holds it.
    OutputError
        ``OUT-011`` if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            "TRN-008",
            "another training is at work in this folder",
            "Wait for it or stop it, or choose another output file.",
            subject=folder.name,
        ) from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _swap(fresh: Path, target: Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_name(f"{fresh.name}.old")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _files(folder: Path) -> set[str]:
    """Return what would be lost with a folder: all files in it and below, and empty folders."""
    names: set[str] = set()
    for path in folder.iterdir():
        inside = _files(path) if path.is_dir() and not path.is_symlink() else set()
        names |= {f"{path.name}/{name}" for name in inside} or {path.name}
    return names


def _make_readable(folder: Path) -> None:
    """Give a private temporary folder the permissions a new folder has here."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)


def _foreign(target: Path, names: set[str]) -> OutputError:
    return OutputError(
        "OUT-010",
        f"the folder holds other files ({', '.join(sorted(names)[:3])}) that would be lost",
        "Choose another output folder, or move these files away.",
        subject=target.name,
    )


def cannot_write(target: Path, error: OSError) -> OutputError:
    """Return the error for a folder that the disk or the system refuses."""
    return OutputError(
        "OUT-011",
        f"the folder cannot be written ({error.strerror or error})",
        "Check free space and permissions, or choose another output folder.",
        subject=target.name,
    )
