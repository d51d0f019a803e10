"""Reviewed regions as a BIDS derivatives dataset.

References
----------
.. [1] Brain Imaging Data Structure, derivatives of imaging data: discrete segmentations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_normative import __version__
from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.segments import Segment
from napari_normative.errors import OutputError
from napari_normative.io.atomic import replace_files
from napari_normative.io.folders import whole_folder
from napari_normative.io.labelfile import write_labels
from napari_normative.io.lookup import COLUMNS
from napari_normative.io.tables import json_bytes
from napari_normative.volume import Volume

_BIDS_VERSION = "1.10.0"
DICTIONARY = "desc-anomaly_dseg.json"
"""Describes the columns of every table; also the file by which our datasets are known."""
_STANDARD = ("index", "name", "color")
"""Columns that BIDS itself describes."""
_SUBJECT = re.compile("[A-Za-z0-9]{1,64}")
_FACTS = {
    "software": ("Software", re.compile(r"[A-Za-z0-9 .+-]{1,60}")),
    "model_digest": ("ModelDigest", re.compile("[0-9a-f]{64}")),
    "threshold_z": ("ThresholdZ", re.compile("[0-9.e+-]{1,24}")),
    "reader": ("Reader", re.compile("reader-[0-9a-f]{8}")),
    "created_utc": ("CreatedUTC", re.compile("[0-9]{4}-[0-9:T.+Z-]{6,28}")),
}
"""What a sidecar may say: key of the provenance, key of the sidecar, and how a value looks."""

_README = f"""# Reviewed candidates

{RESEARCH_USE}

Regions where a scan departs from what a normative model of healthy anatomy expects, found by
napari-normative and judged by a person. Each subject is one scan of the review, under its code.

- `*_desc-anomaly_dseg.nii.gz`: labels on the grid of the scan; 0 is the background.
- `*_desc-anomaly_dseg.tsv`: what each label means; `{DICTIONARY}` explains the columns.
- `*_desc-anomaly_dseg.json`: which model, software and reader (by code) they come from.

Names of files, people and readers are left out on purpose. Add authors, a licence and the
source dataset to `dataset_description.json` before you share it.
"""


@dataclass(frozen=True)
class BidsCase:
    """One scan of a dataset.

    Attributes
    ----------
    subject : str
        Letters and digits, such as ``case001``.
    labels : Volume
        On the scan's grid, with the source facts of the scan.
    segments : tuple of Segment
        One for each value but 0.
    provenance : mapping
        ``software``, ``model_digest``, ``threshold_z``, ``reader`` (a code), ``created_utc``,
        as far as they are known. Other keys are not written.
    """

    subject: str
    labels: Volume
    segments: tuple[Segment, ...]
    provenance: Mapping[str, Any]


def write_bids(folder: str | Path, cases: Iterable[BidsCase]) -> Path:
    """Write a derivatives dataset: whole or not at all.

    An older export in the same folder is replaced if all of its files are written anew.

    Parameters
    ----------
    folder : str or Path
    cases : iterable of BidsCase
        Taken one by one, so that one volume at a time is in memory.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    OutputError
        ``OUT-010`` if the folder holds other files, ``OUT-030`` if values and segments do not
        fit, ``OUT-031`` for a subject code that is no code or is there twice, or no case.
    ValueError
        If a provenance value does not look as such a value does: it could tell who it was.
    """
    target = Path(folder)
    with whole_folder(target, DICTIONARY) as fresh:
        taken: set[str] = set()
        for case in cases:
            if not _SUBJECT.fullmatch(case.subject) or case.subject.casefold() in taken:
                raise _no_subject(f"{case.subject!r} is no code of letters and digits of its own")
            taken.add(case.subject.casefold())
            _write_case(fresh, case)
        if not taken:
            raise _no_subject("there is no case to write")
        columns = {name: text for name, text in COLUMNS.items() if name not in _STANDARD}
        replace_files(dataset_files(fresh, "Reviewed candidates", columns, _README))
    return target


def dataset_files(
    folder: Path,
    name: str,
    columns: Mapping[str, Mapping[str, Any]],
    readme: str,
    sources: Mapping[str, Any] | None = None,
) -> dict[Path, bytes]:
    """Return the files at the root of a derivatives dataset.

    Parameters
    ----------
    folder : Path
        The root.
    name : str
        Of the dataset.
    columns : mapping
        What the columns of the tables beside label volumes mean.
    readme : str
    sources : mapping, optional
        ``SourceDatasets``, where they are known.
    """
    description = {
        "Name": name,
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "napari-normative", "Version": __version__}],
        **(sources or {}),
    }
    return {
        folder / "dataset_description.json": json_bytes(description),
        folder / DICTIONARY: json_bytes(columns),
        folder / "README.md": readme.encode(),
    }


def _write_case(dataset: Path, case: BidsCase) -> None:
    anat = dataset / f"sub-{case.subject}" / "anat"
    name = f"sub-{case.subject}_desc-anomaly_dseg"
    write_labels(anat / f"{name}.nii.gz", case.labels, case.segments, like=case.labels)
    replace_files({anat / f"{name}.json": json_bytes(_sidecar(case.provenance))})


def _sidecar(provenance: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "Description": "Candidates of a normative model, judged by a reader.",
        "Notice": RESEARCH_USE,
        "SpatialReference": "orig",
    }
    for key, (name, pattern) in _FACTS.items():
        value = provenance.get(key)
        if value is None:
            continue
        if not pattern.fullmatch(str(value)):
            raise ValueError(f"the value of {key!r} in the provenance does not look like one")
        record[name] = value if isinstance(value, int | float) else str(value)
    return record


def _no_subject(why: str) -> OutputError:
    return OutputError("OUT-031", why, "Give each case a code of its own, such as case001.")
