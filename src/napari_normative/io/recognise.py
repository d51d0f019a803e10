"""Tell what a file is from its first bytes, so that a refusal can name it."""

from __future__ import annotations

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "a DICOM file"),
    (0, b"NRRD000", "an NRRD file"),
    (0, b"ObjectType", "a MetaImage (MHA/MHD) file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (MINC2 or other)"),
    (0, b"CDF\x01", "a NetCDF file (MINC1 or other)"),
    (0, b"CDF\x02", "a NetCDF file (MINC1 or other)"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (0, b"II+\x00", "a BigTIFF picture"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"BZh", "a bzip2-compressed file"),
    (0, b"\xfd7zXZ\x00", "an xz-compressed file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd-compressed file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x93NUMPY", "a NumPy array file"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x80\x04\x95", "a Python pickle"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"<?xml", "an XML file (GIfTI or other)"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the volume itself"),
    (0, b"/annex/objects/", "a git-annex pointer, not the volume itself"),
)

_TEXT_BYTES = frozenset(range(32, 127)) | {9, 10, 12, 13}


def is_companion(head: bytes) -> bool:
    """Whether this is an AppleDouble file, which macOS puts beside the real one."""
    return head.startswith((b"\x00\x05\x16\x07", b"\x00\x05\x16\x00"))


def foreign_format(head: bytes) -> str | None:
    """Return what a file that is not a volume seems to be, such as ``a PNG picture``.

    Parameters
    ----------
    head : bytes
        The first bytes of the file (512 or more where the file has them),
        decompressed.

    Returns
    -------
    str or None
        None when nothing was recognised.
    """
    for offset, mark, name in _SIGNATURES:
        if head[offset : offset + len(mark)] == mark:
            return name
    if head and not head.strip(b"\x00"):
        return "a file of zero bytes, perhaps a copy that broke off"
    if head and _is_text(head):
        return "a text file"
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head[:512].decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        if error.start < min(len(head), 512) - 4:  # not merely a character cut in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(ord(c) in _TEXT_BYTES or ord(c) > 159 for c in text)
