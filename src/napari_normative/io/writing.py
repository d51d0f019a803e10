"""Write volumes: a fresh header on the source's exact grid, in one step or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader, header_dtype
from nibabel.nifti1 import Nifti1PairHeader
from nibabel.nifti2 import Nifti2PairHeader
from numpy.typing import NDArray

from napari_normative.errors import OutputError
from napari_normative.io.atomic import replace_files
from napari_normative.io.gzipped import gzip_bytes
from napari_normative.io.headers import MGH_BYTES
from napari_normative.io.transforms import assumed_transform, stored_transforms, unit_mm
from napari_normative.volume import GRID_TOLERANCE_MM, Affine, Volume, require_same_grid

_TRANSFORM_FIELDS = {
    "sform": ("srow_x", "srow_y", "srow_z"),
    "qform": ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
}
_SCANNER = 1
_LABEL_INTENT = 1002
_NIFTI1_MOST = 32767
_COMPRESSED = (".nii.gz", ".mgz")
_WRITABLE = (".nii.gz", ".nii", ".hdr", ".img", ".mgz", ".mgh")


def write_volume(path: str | Path, volume: Volume, *, like: Volume | None = None) -> Path:
    """Write a volume so that it lies exactly on the grid of its source.

    The header is made anew: no description, names or extensions are carried over.
    Transforms, their codes, voxel sizes and length unit are the source's own, bit for
    bit, where the volume still lies on the source's grid; otherwise sform and qform
    hold the affine with code 1 (scanner). Images are float32; labels take the smallest
    of uint8, int16 and int32. Equal volumes give equal bytes.

    Parameters
    ----------
    path : str or Path
        ``.nii``, ``.nii.gz``, ``.hdr`` or ``.img`` (both are written), ``.mgz``, ``.mgh``.
        The folder is made. An older file is replaced only when the new one is complete.
    volume : Volume
    like : Volume, optional
        Take the header facts from this volume of the same grid instead.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputError
        If the name, the values or the disk do not allow it; nothing is changed then.
    GeometryMismatchError
        If ``like`` lies on another grid.

    Examples
    --------
    >>> written = write_volume("copy.nii.gz", scan)
    >>> written.name
    'copy.nii.gz'
    """
    target = Path(path)
    replace_files(volume_parts(target, volume, like=like))
    return target


def volume_parts(target: Path, volume: Volume, *, like: Volume | None = None) -> dict[Path, bytes]:
    """Return the files that :func:`write_volume` writes, so that others can go with them."""
    suffix = next((s for s in _WRITABLE if target.name.lower().endswith(s)), None)
    if suffix is None:
        raise OutputError(
            "OUT-001",
            "the name does not end in a format that can be written",
            f"End it in one of {', '.join(_WRITABLE)}.",
            subject=target.name,
        )
    if like is not None:
        require_same_grid(volume, like)
    stored = (like or volume).source.header
    values = _values(volume, target.name)
    if suffix in (".mgz", ".mgh"):
        parts = {target: _mgh_bytes(values, volume.affine, stored)}
    elif suffix in (".hdr", ".img"):
        header, voxels = _nifti_bytes(values, volume, stored, pair=True)
        parts = {
            target.with_name(target.name[:-4] + _cased(ending, target)): block
            for ending, block in ((".img", voxels), (".hdr", header))
        }
    else:
        parts = {target: b"".join(_nifti_bytes(values, volume, stored, pair=False))}
    if suffix in _COMPRESSED:
        parts = {name: gzip_bytes(block) for name, block in parts.items()}
    return parts


def _values(volume: Volume, name: str) -> NDArray[np.generic]:
    data = volume.data
    if not np.isfinite(data).all():
        raise OutputError(
            "OUT-003",
            "the volume holds values that are not numbers or infinite",
            "This is a defect of the step that made it; replace them first (numpy.nan_to_num).",
            subject=name,
        )
    if not volume.source.is_label:
        return data
    if (data != np.rint(data)).any():
        raise OutputError(
            "OUT-004",
            "the volume is marked as labels and holds values between whole numbers",
            "Round them, or write the volume as an image.",
            subject=name,
        )
    low, high = (float(data.min()), float(data.max())) if data.size else (0.0, 0.0)
    for kind in (np.uint8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return data.astype(kind)
    raise OutputError(
        "OUT-004",
        f"a label ({max(high, -low):g}) is too large for 32 bits",
        "Number the labels anew.",
        subject=name,
    )


def _nifti_bytes(
    values: NDArray[np.generic],
    volume: Volume,
    stored: nib.spatialimages.SpatialHeader | None,
    *,
    pair: bool,
) -> tuple[bytes, bytes]:
    header = _nifti_header(values.dtype, volume, stored, pair=pair)
    block = header.binaryblock + b"\x00" * 4  # four zeros: no extension follows
    return block, values.astype(header.get_data_dtype(), copy=False).tobytes(order="F")


def nifti_start(volume: Volume) -> bytes:
    """Return what a ``.nii`` file of float32 values on a volume's grid begins with.

    The values are to follow, little-endian, the first axis fastest.
    """
    header = _nifti_header(np.dtype(np.float32), volume, volume.source.header, pair=False)
    start: bytes = header.binaryblock + b"\x00" * 4
    return start


def _nifti_header(
    dtype: np.dtype[Any],
    volume: Volume,
    stored: nib.spatialimages.SpatialHeader | None,
    *,
    pair: bool,
) -> nib.Nifti1Header:
    source = stored if isinstance(stored, nib.Nifti1Header) else None
    modern = max(volume.shape) > _NIFTI1_MOST
    if source is not None:
        modern |= isinstance(source, nib.Nifti2Header)
    if modern:
        header = (Nifti2PairHeader if pair else nib.Nifti2Header)(endianness="<")
    else:
        header = (Nifti1PairHeader if pair else nib.Nifti1Header)(endianness="<")
    header.set_data_dtype(dtype.newbyteorder("<"))
    header.set_data_shape(volume.shape)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = 0 if pair else header.single_vox_offset
    if volume.source.is_label:
        header["intent_code"] = _LABEL_INTENT
    if source is None or not _copy_grid(source, header, volume):
        _set_grid(header, volume.affine)
    return header


def _copy_grid(source: nib.Nifti1Header, header: nib.Nifti1Header, volume: Volume) -> bool:
    """Copy the stored grid bit for bit if the volume still lies on it.

    A transform that is given and damaged is written as absent.
    """
    given = [t for t in ("sform", "qform") if int(source[f"{t}_code"]) > 0]
    usable = stored_transforms(source)
    places = list(usable.values()) if given else [assumed_transform(source, volume.shape)]
    if not any(_same(place, volume) for place in places):
        return False
    header["xyzt_units"] = int(source["xyzt_units"]) & 7
    sizes = source["pixdim"][:4]
    if np.isfinite(sizes).all() and (sizes[1:] > 0).all():
        header["pixdim"][:4] = sizes
    else:  # damaged, or a picture that has no third size
        header["pixdim"][0] = -1 if sizes[0] < 0 else 1
        header["pixdim"][1:4] = np.array(volume.spacing_mm) / unit_mm(source)
    for kind, keys in _TRANSFORM_FIELDS.items():
        if kind in usable:
            header[f"{kind}_code"] = source[f"{kind}_code"]
        for key in keys:
            if np.isfinite(source[key]).all():
                header[key] = source[key]
    return True


def _same(affine: Affine, volume: Volume) -> bool:
    return volume.same_grid(Volume(volume.data, affine), GRID_TOLERANCE_MM)


def _set_grid(header: nib.Nifti1Header, affine: Affine) -> None:
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=_SCANNER)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(unit.T @ unit, np.eye(3), atol=1e-5):  # a quaternion cannot hold a shear
        header.set_qform(affine, code=_SCANNER, strip_shears=True)


def _mgh_bytes(
    values: NDArray[np.generic], affine: Affine, stored: nib.spatialimages.SpatialHeader | None
) -> bytes:
    image = nib.MGHImage(values, affine)
    header = image.header
    if isinstance(stored, MGHHeader) and np.allclose(
        stored.get_affine(), affine, atol=GRID_TOLERANCE_MM / max(values.shape)
    ):
        for key in ("goodRASFlag", "delta", "Mdc", "Pxyz_c"):
            header[key] = stored[key]
    voxels: bytes = values.astype(values.dtype.newbyteorder(">")).tobytes(order="F")
    lead: bytes = header.binaryblock[: header_dtype.itemsize]
    return lead.ljust(MGH_BYTES, b"\0") + voxels


def _cased(ending: str, target: Path) -> str:
    return ending.upper() if target.suffix.isupper() else ending
