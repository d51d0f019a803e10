"""The scans of a cohort run: found, named, and shared out among shards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.core.condition import Covariates, Value
from napari_normative.engine.cohort import scans_table
from napari_normative.engine.manifest import Shard
from napari_normative.engine.result_place import BidsFiles, ResultFolder, ResultPlace
from napari_normative.errors import ClusterError, CohortError
from napari_normative.io.bids_dataset import find_scans, is_dataset, read_participants
from napari_normative.io.folders import another_name
from napari_normative.io.names import stem

if TYPE_CHECKING:
    import pandas as pd

SCANS = "scans"
"""Folder of the result folders."""

_NAMED = ("path", "subject", "session", "site", "name", "split")


@dataclass(frozen=True, slots=True)
class CohortScan:
    """A scan with who, where and under which name its results lie.

    Attributes
    ----------
    name : str
        Unique in the cohort.
    path : str
    subject, session, site : str
        Session and site may be empty.
    entities : str
        Of the file's name in a BIDS dataset, else empty.
    known : tuple of (name, value)
        What the table tells a model of the person.
    """

    name: str
    path: str
    subject: str
    session: str
    site: str
    entities: str = ""
    known: tuple[tuple[str, Value], ...] = ()

    def within(self, shard: Shard) -> bool:
        """Whether a shard has this scan.

        It follows from the name alone, so that shards that start at other times agree although
        scans were added; all of a session's BIDS images belong together.
        """
        key = f"{self.subject}/{self.session}" if self.entities else self.name
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        return number % shard.count == shard.number - 1

    def place(self, out: Path, *, bids: bool) -> ResultPlace:
        """Return where its results lie."""
        if not bids:
            return ResultFolder(out / SCANS / self.name)
        session = (f"ses-{self.session}",) if self.session else ()
        anat = out.joinpath(f"sub-{self.subject}", *session, "anat")
        return BidsFiles(anat, self.entities, self.name.rpartition("_")[2])


@dataclass(frozen=True, eq=False)
class CohortScans:
    """All scans of a cohort, and the further columns of its table.

    Attributes
    ----------
    scans : list of CohortScan
    more : DataFrame
        A row for each scan, in their order; text.
    dataset : Path or None
        Root of the BIDS dataset they come from.
    """

    scans: list[CohortScan]
    more: pd.DataFrame
    dataset: Path | None = None

    def told(self, covariates: Covariates) -> CohortScans:
        """Return the scans with what the table says of each person that a model can be told."""
        if not covariates.each:
            return self
        cells = (dict(zip(self.more.columns, row, strict=True)) for row in self.more.to_numpy())
        scans = [
            replace(scan, known=tuple(covariates.read_row({**row, "site": scan.site}).items()))
            for scan, row in zip(self.scans, cells, strict=True)
        ]
        return replace(self, scans=scans)


def list_scans(source: str | Path, *, leave_out: Path, suffix: str = "T1w") -> CohortScans:
    """Return the scans of a folder, pattern, table or BIDS dataset.

    Parameters
    ----------
    source : path
        A folder with ``dataset_description.json`` is a BIDS dataset; else as for
        :func:`~napari_normative.engine.cohort.read_cohort`. Nobody is split.
    leave_out : Path
        The output folder.
    suffix : str
        Of the BIDS images that are wanted.

    Raises
    ------
    CohortError
        ``COH-001``, ``COH-002``, ``COH-008``, ``COH-009``.
    """
    if is_dataset(source):
        return _of_dataset(Path(source), suffix)
    try:
        table = scans_table(source, leave_out=leave_out)
    except CohortError as error:
        error.consequence = ClusterError.consequence_default
        raise
    taken: set[str] = set()
    names = [another_name(stem(Path(path)), taken) for path in table["path"]]
    sessions = table["session"] if "session" in table else [""] * len(table)
    rows = zip(names, table["path"], table["subject"], sessions, table["site"], strict=True)
    return CohortScans(
        [CohortScan(*row) for row in rows],
        table.drop(columns=[c for c in table if c in _NAMED]),
    )


def _of_dataset(root: Path, suffix: str) -> CohortScans:
    import pandas as pd  # late: it takes a third of a second

    found = find_scans(root, suffix)
    people = read_participants(root)
    if people is None:
        people = pd.DataFrame(index=pd.Index([], name="subject"))
    more = people.reindex([scan.subject for scan in found]).fillna("").reset_index(drop=True)
    sites = more["site"] if "site" in more else [""] * len(found)
    scans = [
        CohortScan(
            f"{scan.entities}_{suffix}", str(scan.path), scan.subject, scan.session, site,
            scan.entities,
        )
        for scan, site in zip(found, sites, strict=True)
    ]  # fmt: skip
    return CohortScans(scans, more.drop(columns=[c for c in more if c in _NAMED]), root)
