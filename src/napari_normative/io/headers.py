"""What a header promises: format, dimensions, data type, place of the voxels, intensity scale.

nibabel lays out the fields; every value is checked here before anything relies on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from napari_normative.errors import VolumeFileError
from napari_normative.io.recognise import foreign_format, is_companion

_NIFTI1_BYTES, _NIFTI2_BYTES, MGH_BYTES = 348, 540, 284
_MAGIC = {
    b"n+1\x00": (1, False),
    b"ni1\x00": (1, True),
    b"n+2\x00\r\n\x1a\n": (2, False),
    b"ni2\x00\r\n\x1a\n": (2, True),
}
_NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_MGH_TYPES = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}
_COLOUR, _COMPLEX, _QUAD = {128: "RGB", 2304: "RGBA"}, {32, 1792, 2048}, {1536}
_CIFTI_INTENTS = range(3000, 3100)
_LABEL_INTENT = 1002

_DAMAGED = "Copy the file again from its source, or write it anew with the program that made it."


@dataclass(frozen=True)
class Layout:
    """A header that was understood.

    Attributes
    ----------
    header : nibabel header
        NIfTI-1, NIfTI-2 or MGH.
    pair : bool
        True when the voxels lie in a second file (``.img``).
    shape : tuple of int
        ``(I, J, K, T)``; T is 1 for a single volume.
    dtype : numpy dtype
        As stored, with byte order.
    offset : int
        Bytes before the first voxel in the file that holds the voxels.
    slope, intercept : float
        Stored values times slope plus intercept are the intensities.
    says_label : bool
        Whether the header declares the values to be labels.
    warnings : tuple of str
    """

    header: nib.spatialimages.SpatialHeader
    pair: bool
    shape: tuple[int, int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float = 1.0
    intercept: float = 0.0
    says_label: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def volume_bytes(self) -> int:
        """Stored bytes of one volume."""
        return math.prod(self.shape[:3]) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Bytes up to the end of the last voxel."""
        return self.offset + self.volume_bytes * self.shape[3]


def parse(head: bytes, name: str) -> Layout:
    """Understand the first bytes of a file.

    Parameters
    ----------
    head : bytes
        The first 1024 bytes (inflated), or fewer if the file has no more.
    name : str
        File name for messages.

    Raises
    ------
    VolumeFileError
        If this is another format, or a header that cannot be trusted.
    """
    if len(head) >= _NIFTI1_BYTES:
        for order in ("<", ">"):
            size = int(np.frombuffer(head, f"{order}i4", 1)[0])
            magic = head[344:348] if size == _NIFTI1_BYTES else head[4:12]
            version, pair = _MAGIC.get(magic, (0, False))
            if (size, version) in ((_NIFTI1_BYTES, 1), (_NIFTI2_BYTES, 2)):
                return _parse_nifti(head, version, pair, order, name)
    if (mgh := _parse_mgh(head, name)) is not None:
        return mgh
    raise _not_a_volume(head, name)


def _not_a_volume(head: bytes, name: str) -> VolumeFileError:
    if name.startswith("._") or is_companion(head):
        return VolumeFileError(
            "NIF-005",
            "this is an AppleDouble companion file of macOS, not a volume",
            "Choose the file of the same name without the leading dot and underscore.",
            subject=name,
        )
    if kind := foreign_format(head):
        remedy = "Convert it to NIfTI first (dcm2niix for DICOM, 3D Slicer for most others)."
        if "pointer" in kind:
            remedy = "Fetch the volume itself (git lfs pull, datalad get)."
        return VolumeFileError(
            "NIF-006", f"this is {kind}, not a NIfTI or MGH volume", remedy, subject=name
        )
    sizes = {head[:4]} & {n.to_bytes(4, "little") for n in (348, 540)}
    sizes |= {head[:4]} & {n.to_bytes(4, "big") for n in (348, 540)}
    if sizes and len(head) >= _NIFTI1_BYTES and not head[344:348].strip(b"\x00"):
        return VolumeFileError(
            "NIF-008",
            "this is an Analyze 7.5 file, which does not say which side is left",
            "Convert it to NIfTI with a program that knows how it was made (SPM, FSL).",
            subject=name,
        )
    nifti_like = sizes or head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")
    if nifti_like or name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")):
        what = "the header is damaged or cut short, or this is not a volume at all"
        return VolumeFileError("NIF-010", what, _DAMAGED, subject=name)
    return VolumeFileError(
        "NIF-006",
        "this is not a NIfTI or MGH volume",
        "Convert it to NIfTI first.",
        subject=name,
    )


def _parse_nifti(head: bytes, version: int, pair: bool, order: str, name: str) -> Layout:
    kind = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    length = _NIFTI1_BYTES if version == 1 else _NIFTI2_BYTES
    if len(head) < length:
        raise VolumeFileError("NIF-010", "the header is cut short", _DAMAGED, subject=name)
    header = kind(binaryblock=head[:length], endianness=order, check=False)
    intent = int(header["intent_code"])
    if intent in _CIFTI_INTENTS:
        raise VolumeFileError(
            "NIF-007",
            "this is a CIFTI file (values on a cortical surface), not a volume",
            "Export the volume part with wb_command -cifti-separate.",
            subject=name,
        )
    dtype = _nifti_dtype(header, order, name)
    shape = _nifti_shape(header, name)
    least = 0 if pair else length + 4
    offset = float(header["vox_offset"])
    if offset == 0 and not pair:  # a common slip; there is only one place they can be
        offset = float(least)
    if not math.isfinite(offset) or offset < least or offset != int(offset):
        raise VolumeFileError(
            "NIF-010",
            f"the header places the voxels at byte {offset:g}, which cannot be",
            _DAMAGED,
            subject=name,
        )
    slope, intercept, warnings = _scale(header, name)
    return Layout(
        header,
        pair,
        shape,
        dtype,
        int(offset),
        slope,
        intercept,
        intent == _LABEL_INTENT,
        warnings,
    )


def _nifti_dtype(header: nib.Nifti1Header, order: str, name: str) -> np.dtype[np.generic]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _COLOUR:
        raise VolumeFileError(
            "NIF-016",
            f"the voxels are {_COLOUR[code]} colours, not intensities",
            "Use the grey-level scan it was drawn from, or split the channels (fslsplit, Slicer).",
            subject=name,
        )
    if code in _COMPLEX:
        raise VolumeFileError(
            "NIF-017",
            "the voxels are complex numbers",
            "Save the magnitude as a volume of its own, for instance with fslmaths or numpy.abs.",
            subject=name,
        )
    if code in _QUAD:
        raise VolumeFileError(
            "NIF-015",
            "the voxels are 128-bit numbers, which differ between machines",
            "Save the volume as float32.",
            subject=name,
        )
    if code not in _NIFTI_TYPES:
        raise VolumeFileError(
            "NIF-015", f"the data type code {code} is unknown", _DAMAGED, subject=name
        )
    dtype = np.dtype(order + _NIFTI_TYPES[code])
    if bits not in (0, 8 * dtype.itemsize):
        raise VolumeFileError(
            "NIF-010",
            f"the header contradicts itself: data type {dtype.name} with {bits} bits per voxel",
            _DAMAGED,
            subject=name,
        )
    return dtype


def _nifti_shape(header: nib.Nifti1Header, name: str) -> tuple[int, int, int, int]:
    dims = [int(n) for n in header["dim"]]
    rank = dims[0]
    if not 1 <= rank <= 7 or min(dims[1 : rank + 1]) < 1:
        raise VolumeFileError(
            "NIF-011",
            f"the dimensions {dims[: max(rank, 0) + 1]} cannot be",
            _DAMAGED,
            subject=name,
        )
    return _four(dims[1 : rank + 1], name)


def _four(dims: list[int], name: str) -> tuple[int, int, int, int]:
    while len(dims) > 4 and dims[-1] == 1:
        dims = dims[:-1]
    if len(dims) > 4:
        size = " × ".join(map(str, dims))
        raise VolumeFileError(
            "NIF-018",
            f"this array has {len(dims)} dimensions ({size}), like a vector or tensor field",
            "Save one of its components as a 3D volume.",
            subject=name,
        )
    i, j, k, t = dims + [1] * (4 - len(dims))
    return i, j, k, t


def _scale(header: nib.Nifti1Header, name: str) -> tuple[float, float, tuple[str, ...]]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0, (
            f"The header gives no intensity scale (slope {slope:g}); "
            "stored values were taken as they are.",
        )  # fmt: skip
    if not math.isfinite(intercept):
        raise VolumeFileError(
            "NIF-024",
            f"the intensity scale is damaged (slope {slope:g}, intercept {intercept:g})",
            _DAMAGED,
            subject=name,
        )
    return slope, intercept, ()


def _parse_mgh(head: bytes, name: str) -> Layout | None:
    if len(head) < MGH_BYTES or head[:4] != b"\x00\x00\x00\x01":
        return None
    header = MGHHeader(binaryblock=head[:MGH_BYTES], check=False)
    dims, code = [int(n) for n in header["dims"]], int(header["type"])
    if code not in _MGH_TYPES or min(dims) < 1:
        raise VolumeFileError(
            "NIF-011",
            f"the dimensions {dims} or the data type {code} cannot be",
            _DAMAGED,
            subject=name,
        )
    warnings: tuple[str, ...] = ()
    if head[28:30] == b"\x00\x00":  # the flag "directions are given"; nibabel assumes LSP then
        header["Mdc"] = [[-1, 0, 0], [0, 0, -1], [0, 1, 0]]
        warnings = (
            "Orientation assumed: the file does not say how it lies; FreeSurfer's default "
            "(coronal, LIA) was taken. Left and right may be swapped.",
        )
    dtype = np.dtype(">" + _MGH_TYPES[code])
    return Layout(header, False, _four(dims, name), dtype, MGH_BYTES, warnings=warnings)
