"""A volume file whose header was read and understood: its voxels, checked and scaled.

What is accepted, repaired with a warning, or refused stands in ``docs/formats.md``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
from nibabel.freesurfer.mghformat import MGHHeader
from numpy.typing import NDArray

from napari_normative.errors import VolumeFileError
from napari_normative.io.gzipped import SLACK_BYTES, StoredFile, Window
from napari_normative.io.headers import Layout, parse
from napari_normative.io.names import other_half, stem, suffix_of
from napari_normative.io.transforms import Trust, choose_affine
from napari_normative.volume import Affine, FloatArray, Source

NON_FINITE_SHARE = 0.01
"""More voxels than this that are NaN or infinite, and a volume is refused."""

_MEMORY_SHARE = 0.8
_LABEL_NAME = re.compile(r"(?:^|[^a-z])(?:dseg|seg|mask|labels?|labelmap)$")
_LARGEST_EXACT = 2**24  # float32 counts in whole numbers up to here


class VolumeFile:
    """A volume file whose header was read and understood.

    Attributes
    ----------
    path, voxel_path : Path
        As it was named; where the voxels lie.
    layout : Layout
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.header_path: Path | None = None
        self.voxel_path = path
        with StoredFile(path) as stored:
            head = stored.head
        is_image = suffix_of(path) in (".img", ".img.gz") and not path.name.startswith("._")
        if is_image and not _is_single_nifti(head):
            path = other_half(path, ".hdr")
            with StoredFile(path) as stored:
                head = stored.head
        self.layout: Layout = parse(head, path.name)
        if self.layout.pair:
            self.header_path, self.voxel_path = path, self.path
            if suffix_of(self.path) not in (".img", ".img.gz"):
                self.voxel_path = other_half(path, ".img")

    def load(
        self,
        first: int,
        count: int,
        *,
        trust: Trust | None,
        any_size: bool,
        keep_gaps: bool = False,
    ) -> tuple[FloatArray, Affine, Source]:
        """Read ``count`` volumes from ``first`` on; shape (I, J, K, count).

        With ``keep_gaps`` what is no finite number stays so.
        """
        layout = self.layout
        i, j, k, _ = layout.shape
        start = layout.offset + first * layout.volume_bytes
        window_bytes = count * layout.volume_bytes

        def keep() -> Window:
            self._check_memory(window_bytes + 4 * i * j * k * count)
            return Window(start, start + window_bytes)

        window, affine, source = self.pour(keep, trust=trust, any_size=any_size)
        raw = window.buffer.view(layout.dtype).reshape((i, j, k, count), order="F")
        data = _intensities(raw, layout)
        repaired: tuple[str, ...] = ()
        if not keep_gaps and (raw.dtype.kind == "f" or _scaled(layout)):
            data, repaired = masked(data, self.name)
        source = dataclasses.replace(
            source, warnings=(*source.warnings, *repaired), is_label=self._is_label(raw, data)
        )
        return data, affine, source

    def pour(
        self, keep: Callable[[], Window], *, trust: Trust | None, any_size: bool
    ) -> tuple[Window, Affine, Source]:
        """Read the file once, to its end, and check it.

        Parameters
        ----------
        keep : callable
            Makes the window of bytes to keep, once the file is known to be long enough.
        trust, any_size
            As for :func:`read_volume`.

        Returns
        -------
        window : Window
        affine : array, shape (4, 4)
        source : Source
            With the SHA-256, and warnings of all but the values.
        """
        layout = self.layout
        i, j, k, _ = layout.shape
        affine, place = choose_affine(
            layout.header, (i, j, k), self.name, trust=trust, any_size=any_size
        )
        digest = hashlib.sha256()
        if self.header_path is not None:
            with StoredFile(self.header_path) as header:
                header.pour(Window(0, 0), SLACK_BYTES, digest)
        with StoredFile(self.voxel_path) as stored:
            if stored.capacity < layout.end:
                raise self._too_short(stored.capacity)
            window = keep()
            stored.pour(window, layout.end + SLACK_BYTES, digest)
            oddities = self._oddities(stored, window.position)
        if window.position < layout.end:
            raise self._too_short(window.position)
        source = Source(
            name=stem(self.path),
            path=self.path,
            digest=digest.hexdigest(),
            orientation="".join(str(c) for c in nib.aff2axcodes(affine)),
            warnings=(*place, *layout.warnings, *oddities),
            header=layout.header,
        )
        return window, affine, source

    def which(self, volume: int | None) -> int:
        """Return which volume to read.

        Raises
        ------
        VolumeFileError
            ``NIF-019`` when there are several and none was chosen, ``NIF-020`` when there is no
            such volume.
        """
        count = self.layout.shape[3]
        if volume is None:
            if count > 1:
                raise VolumeFileError(
                    "NIF-019",
                    f"the file holds {count} volumes and none was chosen",
                    f"Choose one with --volume N, counted from 0 (0 to {count - 1}).",
                    subject=self.name,
                )
            return 0
        if not 0 <= volume < count:
            raise VolumeFileError(
                "NIF-020",
                f"there is no volume {volume}; the file holds {count}",
                f"Choose one with --volume N, counted from 0 (0 to {count - 1}).",
                subject=self.name,
            )
        return volume

    def _check_memory(self, needed: int) -> None:
        free = int(psutil.virtual_memory().available * _MEMORY_SHARE)
        if needed > free:
            size = " × ".join(map(str, self.layout.shape))
            raise VolumeFileError(
                "NIF-014",
                f"the header promises {size} voxels, which need {needed / 2**30:,.1f} GiB of "
                f"memory; {free / 2**30:,.1f} GiB may be used",
                "If that size is right, use a machine with more memory, or crop or split the file.",
                subject=self.name,
            )

    def _too_short(self, found: int) -> VolumeFileError:
        return VolumeFileError(
            "NIF-013",
            f"the file is cut short: its header describes {self.layout.end:,} bytes, "
            f"it cannot hold more than {found:,}",
            "Copy the file again from its source.",
            subject=self.voxel_path.name,
        )

    def _oddities(self, stored: StoredFile, content: int) -> tuple[str, ...]:
        found = []
        wanted = stored.name.lower().endswith((".gz", ".mgz"))
        if stored.compressed and not wanted:
            found.append("The file is gzip-compressed although its name does not say so.")
        if wanted and not stored.compressed:
            found.append("The file is not compressed although its name says so.")
        is_mgh = isinstance(self.layout.header, MGHHeader)
        usual: tuple[str, ...]
        if is_mgh:
            kind, usual = "an MGH volume", (".mgh", ".mgz")
        elif self.header_path is None:
            kind, usual = "a NIfTI volume in one file", (".nii", ".nii.gz")
        else:
            kind, usual = "a NIfTI pair", (".hdr", ".img", ".hdr.gz", ".img.gz")
        if suffix_of(self.path) not in usual:
            found.append(f"The content is {kind} although the name does not say so.")
        surplus = stored.trailing + (0 if is_mgh else content - self.layout.end)
        if surplus > 0:
            found.append(f"{surplus:,} bytes behind the voxels were passed over.")
        return tuple(found)

    def _is_label(self, raw: NDArray[np.generic], data: FloatArray) -> bool:
        layout = self.layout
        if not layout.says_label and not _LABEL_NAME.search(stem(self.path).lower()):
            return False
        if layout.slope != 1 or layout.intercept != 0:
            return False
        if raw.dtype.kind == "f":
            return bool((data == np.rint(data)).all())
        if max(abs(int(raw.max())), abs(int(raw.min()))) > _LARGEST_EXACT:
            if not layout.says_label:
                return False
            raise VolumeFileError(
                "NIF-027",
                f"a label is larger than {_LARGEST_EXACT:,}, more than can be told apart",
                "Number the labels anew.",
                subject=self.name,
            )
        return True


def _scaled(layout: Layout) -> bool:
    return layout.slope != 1 or layout.intercept != 0


def _intensities(raw: NDArray[np.generic], layout: Layout) -> FloatArray:
    """Scale stored values to float32; rounding happens once, at the end."""
    with np.errstate(over="ignore", invalid="ignore"):
        if _scaled(layout):
            data = np.empty(raw.shape, np.float32, order="F")
            for k in np.ndindex(raw.shape[2:]):
                exact = raw[(..., *k)].astype(np.float64)
                data[(..., *k)] = exact * layout.slope + layout.intercept
        else:
            data = raw.astype(np.float32, order="F")
    return data


def masked(data: FloatArray, name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """Return values with 0 for what is no finite number, and a warning where there was any.

    Raises
    ------
    VolumeFileError
        ``NIF-025`` if more than ``NON_FINITE_SHARE`` of the voxels are concerned.
    """
    finite = np.isfinite(data)
    bad = finite.size - int(np.count_nonzero(finite))
    if bad == 0:
        return data, ()
    warning = repaired_share(bad, finite.size, name)
    repaired = data.copy(order="K")  # the values may be those of a script
    repaired[~finite] = 0
    return repaired, (warning,)


def repaired_share(bad: int, voxels: int, name: str) -> str:
    """Return the warning that so many voxels were no finite numbers and are 0 now.

    Raises
    ------
    VolumeFileError
        ``NIF-025`` if they are more than ``NON_FINITE_SHARE``.
    """
    share = f"{bad:,} of {voxels:,} voxels ({bad / voxels:.2%})"
    if bad > NON_FINITE_SHARE * voxels:
        raise VolumeFileError(
            "NIF-025",
            f"{share} are not numbers or infinite, more than {NON_FINITE_SHARE:.0%}",
            "Find out where they come from; fill them on purpose if they are background "
            "(fslmaths -nan).",
            subject=name,
        )
    return f"{share} were not numbers or infinite; they were set to 0."


def _is_single_nifti(head: bytes) -> bool:
    return head[344:348] == b"n+1\x00" or head[4:8] == b"n+2\x00"
