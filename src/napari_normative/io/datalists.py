"""Cohorts as other programs list them: MONAI data lists, nnU-Net datasets.

Paths in a list are relative to its file. ``PATH#NAME`` chooses among several images of a case:
a channel of nnU-Net (``T1w``), or the key of an entry (``t1``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_normative.errors import CohortError
from napari_normative.io.names import SUFFIXES, stem

SECTIONS = {
    "training": "",  # split by person, like a table without the column
    "validation": "calibration",
    "test": "test",
    "testing": "test",
}
"""What a list calls its parts, and what they are here."""

DATASET = "dataset.json"
CHANNELS = ("channel_names", "modality")
"""Keys of nnU-Net's ``dataset.json``, version 2 and 1, for what the images of a case are."""

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
Row = dict[str, str]


def read_data_list(source: str | Path) -> list[Row] | None:
    """Return the scans of a data list, or None where ``source`` is none.

    Parameters
    ----------
    source : path
        A ``.json`` file or a folder with a ``dataset.json``; ``#NAME`` behind it chooses among
        several images of a case.

    Returns
    -------
    list of dict
        ``path``, ``subject``, ``site``, ``split`` and other columns, as a table has them.

    Raises
    ------
    CohortError
        ``COH-020`` no list or an empty one, ``COH-021`` several images a case and none chosen,
        ``COH-022`` no such image, ``COH-023`` a part or an entry that is not understood.
    """
    file, chosen = _split(source)
    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_list(file, "the file is not readable JSON") from error
    if not isinstance(found, dict):
        raise _no_list(file, "the file holds no object with the parts of a data list")
    channels = _channels(found, file)
    if "channel_names" in found or (channels and "training" not in found):
        rows = list(_second_version(found, file, channels, chosen))
    else:
        rows = list(_listed(found, file, channels, chosen))
    if not rows:
        raise _no_list(file, "the list names no scan")
    return _calibrating(rows)


def _split(source: str | Path) -> tuple[Path | None, str]:
    """Return the list's file, or None, and what was chosen behind ``#``."""
    path, chosen = Path(source), ""
    if not path.exists() and "#" in str(source):
        before, _, chosen = str(source).rpartition("#")
        path = Path(before)
    if path.is_dir():
        inside = path / DATASET
        return (inside if inside.is_file() else None), chosen
    return (path if path.is_file() and path.suffix.lower() == ".json" else None), chosen


def _second_version(
    found: Mapping[str, Any], file: Path, channels: Sequence[str], chosen: str
) -> Iterator[Row]:
    """Yield the cases of an nnU-Net raw dataset, version 2: by ``dataset`` or by folders."""
    ending = str(found.get("file_ending", ".nii.gz"))
    if ending.lower() not in SUFFIXES:
        raise CohortError(
            "COH-023",
            f"its images end in {ending}, which cannot be read",
            "Convert them to .nii.gz and change file_ending.",
            subject=file.name,
        )
    site = str(found.get("name") or file.parent.name)
    number = _place(channels, chosen, file)
    listed = found.get("dataset")
    if isinstance(listed, dict):
        for case, entry in listed.items():
            images = entry.get("images") if isinstance(entry, dict) else None
            if not isinstance(images, list) or len(images) <= number:
                raise _odd(file, f"the case {case} has no image of channel {number}")
            yield _row(file.parent / str(images[number]), case, site, "")
        return
    for folder, split in (("imagesTr", ""), ("imagesTs", "test")):
        for path in sorted((file.parent / folder).glob(f"*_{number:04d}{ending}")):
            match = _NUMBERED.fullmatch(stem(path))
            if match is not None and not path.name.startswith("."):
                yield _row(path, match["case"], site, split)


def _listed(
    found: Mapping[str, Any], file: Path, channels: Sequence[str], chosen: str
) -> Iterator[Row]:
    """Yield the entries of a list with parts: MONAI's, the Decathlon's, nnU-Net's version 1."""
    for name, entries in found.items():
        if name in SECTIONS or not _is_part(entries):
            continue
        raise _odd(file, f"the part {name!r} is none of {', '.join(SECTIONS)}")
    for name, split in SECTIONS.items():
        entries = found.get(name, [])
        if not isinstance(entries, list):
            raise _odd(file, f"the part {name!r} is no list")
        for entry in entries:
            given = {"image": entry} if isinstance(entry, str) else entry
            if not isinstance(given, dict):
                raise _odd(file, f"an entry of {name!r} is neither a path nor an object")
            path = _image(given, file, channels, chosen)
            more = {
                key: str(value)
                for key, value in given.items()
                if isinstance(value, str | int | float) and key not in {"label", "path", "split"}
                and not _looks_like_a_volume(value)
            }  # fmt: skip
            subject = more.pop("subject", "") or _subject(path)
            site = more.pop("site", "") or str(found.get("name") or path.parent.name)
            yield {**_row(path, subject, site, split), **more}


def _image(entry: Mapping[str, Any], file: Path, channels: Sequence[str], chosen: str) -> Path:
    """Return the image of an entry: the only one, or the one that was chosen."""
    by_key = bool(chosen) and not channels
    key = chosen if by_key else "image"
    if key not in entry:
        raise _no_such_image(entry, file, chosen if by_key else "")
    image, chosen = entry[key], "" if by_key else chosen
    if isinstance(image, list):
        if len(image) == 1:
            return file.parent / str(image[0])
        if len(channels) != len(image):
            raise CohortError(
                "COH-021",
                f"its entries have {len(image)} images each and no names for them",
                f"Give each a key of its own, such as t1, and choose one: {file.name}#t1.",
                subject=file.name,
            )
        return file.parent / str(image[_place(channels, chosen, file)])
    if not isinstance(image, str):
        raise _odd(file, "an image is no path")
    return _of_first_version(file.parent / image, channels, chosen, file)


def _no_such_image(entry: Mapping[str, Any], file: Path, chosen: str) -> CohortError:
    keys = [key for key, value in entry.items() if _looks_like_a_volume(value)]
    if chosen:
        names = ", ".join(keys) or "none"
        return CohortError(
            "COH-022",
            f"its entries have no image {chosen!r}",
            f"Choose one of these: {names}.",
            subject=file.name,
        )
    return CohortError(
        "COH-021",
        "its entries have no key image",
        f"Choose one of {', '.join(keys)}: {file.name}#{keys[0]}."
        if keys
        else "Name the scan of every entry under the key image.",
        subject=file.name,
    )


def _of_first_version(path: Path, channels: Sequence[str], chosen: str, file: Path) -> Path:
    """Return the file of a case: version 1 of nnU-Net lists CASE and stores CASE_0000."""
    suffix = path.name[len(stem(path)) :]
    if path.exists() and len(channels) > 1:
        raise CohortError(
            "COH-021",
            f"its scans hold {len(channels)} channels ({', '.join(channels)}) in one file each",
            "Write the wanted channel to files of its own, and list these.",
            subject=file.name,
        )
    numbered = path.with_name(f"{stem(path)}_{_place(channels, chosen, file):04d}{suffix}")
    return path if path.exists() or not numbered.exists() else numbered


def _place(channels: Sequence[str], chosen: str, file: Path) -> int:
    """Return the number of the chosen channel; the only one needs no choice."""
    lower = [name.casefold() for name in channels]
    if chosen and chosen.casefold() in lower:
        return lower.index(chosen.casefold())
    if len(channels) <= 1 and not chosen:
        return 0
    names = ", ".join(channels)
    if chosen:
        raise CohortError(
            "COH-022",
            f"it has no channel {chosen!r}",
            f"Choose among its channels: {names or 'it names none, leave out the choice'}.",
            subject=file.name,
        )
    raise CohortError(
        "COH-021",
        f"its cases have {len(channels)} channels: {names}",
        f"Choose the one the model is for: {file.name}#{channels[0]}.",
        subject=file.name,
    )


def _channels(found: Mapping[str, Any], file: Path) -> list[str]:
    """Return the names of the channels in order."""
    for key in CHANNELS:
        named = found.get(key)
        if isinstance(named, dict):
            if not all(str(number).isdigit() for number in named):
                raise _odd(file, f"{key} does not number its channels")
            return [str(named[number]) for number in sorted(named, key=int)]
    return []


def _calibrating(rows: list[Row]) -> list[Row]:
    """Give the people of the validation part to both calibration splits in turn."""
    people = sorted({row["subject"] for row in rows if row["split"] == "calibration"})
    parts = {subject: f"calibration-{'ab'[n % 2]}" for n, subject in enumerate(people)}
    for row in rows:
        if row["split"] == "calibration":
            row["split"] = parts[row["subject"]]
    return rows


def _subject(path: Path) -> str:
    """Return who it is: ``sub-07`` of a BIDS name, else the case, which is the whole name."""
    name = stem(path)
    return name.split("_")[0] if name.startswith("sub-") else name


def _row(path: Path, subject: str, site: str, split: str) -> Row:
    return {"path": str(path), "subject": subject, "site": site, "split": split}


def _looks_like_a_volume(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(SUFFIXES)


def _is_part(entries: object) -> bool:
    """Whether something is a list of scans; lists of references and the like are not."""
    if not isinstance(entries, list):
        return False
    return any(
        _looks_like_a_volume(e)
        or (isinstance(e, dict) and any(_looks_like_a_volume(v) for v in e.values()))
        for e in entries
    )


def _no_list(file: Path, what: str) -> CohortError:
    return CohortError(
        "COH-020",
        what,
        'A data list is a JSON object such as {"training": [{"image": "a.nii.gz"}]}; an nnU-Net '
        "dataset has dataset.json beside imagesTr.",
        subject=file.name,
    )


def _odd(file: Path, what: str) -> CohortError:
    return CohortError(
        "COH-023",
        what,
        "Mend the list, or pass a folder or a table (TSV) instead.",
        subject=file.name,
    )
