"""Scans and people of a BIDS dataset, as far as a cohort needs them.

References
----------
.. [1] Brain Imaging Data Structure 1.10, common principles: entities, participants file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import CohortError
from napari_normative.io.names import stem

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = "dataset_description.json"
_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")
_VOLUMES = (".nii.gz", ".nii")


@dataclass(frozen=True, slots=True)
class BidsScan:
    """One image of a dataset.

    Attributes
    ----------
    path : Path
    subject, session : str
        Values of the entities ``sub`` and ``ses``; session may be empty.
    entities : str
        The file's name up to its suffix, such as ``sub-01_ses-2_run-1``.
    """

    path: Path
    subject: str
    session: str
    entities: str


def is_dataset(folder: str | Path) -> bool:
    """Whether a folder is the root of a BIDS dataset."""
    return (Path(folder) / DESCRIPTION).is_file()


def find_scans(root: Path, suffix: str = "T1w") -> list[BidsScan]:
    """Return the anatomical images of a suffix, by subject, session and name.

    Raises
    ------
    CohortError
        ``COH-008`` if there is none.
    """
    found: dict[str, BidsScan] = {}
    for anat in sorted([*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")]):
        for path in sorted(anat.iterdir()):
            base = stem(path)
            if path.name.startswith(".") or not path.name.endswith(_VOLUMES):
                continue
            entities, _, kind = base.rpartition("_")
            matches = map(_ENTITY.fullmatch, entities.split("_"))
            parts = {m[1]: m[2] for m in matches if m}
            if kind == suffix and "sub" in parts:  # .nii beside .nii.gz is the same image
                scan = BidsScan(path, parts["sub"], parts.get("ses", ""), entities)
                found.setdefault(entities, scan)
    if not found:
        raise CohortError(
            "COH-008",
            f"the BIDS dataset has no image sub-*/[ses-*/]anat/*_{suffix}.nii.gz",
            "Choose another --suffix, such as T2w or FLAIR, or check the dataset with the BIDS "
            "validator.",
            consequence="Nothing was started.",
            subject=root.resolve().name,
        )
    return list(found.values())


def read_participants(root: Path) -> pd.DataFrame | None:
    """Return ``participants.tsv`` as text, by subject without ``sub-``; None without one.

    Raises
    ------
    CohortError
        ``COH-009`` if it cannot be read, or names a person twice or not at all.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        return None
    import pandas as pd  # late: it takes a third of a second

    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        people = table.pop("participant_id").str.strip().str.removeprefix("sub-")
    except (OSError, ValueError, KeyError) as error:
        raise _bad_participants("cannot be read, or has no column participant_id") from error
    if people.duplicated().any():
        raise _bad_participants(f"has two rows for sub-{people[people.duplicated()].iloc[0]}")
    return table.replace("n/a", "").set_index(pd.Index(people, name="subject"))


def description(root: Path) -> dict[str, Any]:
    """Return ``dataset_description.json``; empty where it cannot be read."""
    try:
        found = json.loads((root / DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _bad_participants(why: str) -> CohortError:
    return CohortError(
        "COH-009",
        f"the table {why}",
        "Mend it (tab-separated UTF-8, one row a person), or take it away.",
        consequence="Nothing was started.",
        subject="participants.tsv",
    )
