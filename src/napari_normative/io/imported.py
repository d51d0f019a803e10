"""Small files from elsewhere, read whole and never beyond a size that was set beforehand."""

from __future__ import annotations

from pathlib import Path

from napari_normative.errors import RegionsFileError


def file_bytes(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : Path
    most : int
        More bytes than these are refused before anything is read.

    Raises
    ------
    RegionsFileError
        ``IMP-001`` if it cannot be read, ``IMP-002`` if it is too large.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("this is no regular file")
        size = path.stat().st_size
        if size <= most:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise RegionsFileError(
            "IMP-001",
            f"the file cannot be read ({reason})",
            "Check the path and its permissions.",
            subject=path.name,
        ) from error
    raise RegionsFileError(
        "IMP-002",
        f"the file has {size:,} bytes; more than {most:,} cannot be meant or do not fit in memory",
        "Choose the file with the regions.",
        subject=path.name,
    )
