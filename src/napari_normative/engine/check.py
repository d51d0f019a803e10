"""Look at every scan of a cohort before hours are spent on it."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_normative.engine.cohort import (
    SPLITS,
    Person,
    groups,
    list_people,
    require_enough,
)
from napari_normative.engine.conditions import columns_to_tell
from napari_normative.engine.prepared import too_many_refused
from napari_normative.engine.thumbnails import three_planes
from napari_normative.errors import CancelledError, CohortError, NormativeError
from napari_normative.io.nifti import read_volume, require_signal


@dataclass(frozen=True, eq=False)
class CheckedFile:
    """What a look at one scan showed.

    Attributes
    ----------
    person : Person
        File, subject, site, split.
    shape : tuple of int
        Voxels along each stored axis; empty when the file was refused.
    spacing_mm : tuple of float
    orientation : str
        Axis codes as stored.
    warnings : tuple of str
        What was repaired or assumed, and what is odd about the file within the cohort.
    refused : str
        The error sentence when the file cannot be used; empty when it can.
    digest : str
        SHA-256 of the file's bytes.
    picture : uint8 array, shape (rows, columns), or None
        Axial, coronal and sagittal plane, patient's right on the left.
    """

    person: Person
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    orientation: str = ""
    warnings: tuple[str, ...] = ()
    refused: str = ""
    digest: str = ""
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class SplitRow:
    """How many people of a group each split gets.

    Attributes
    ----------
    group : str
    people : tuple of int
        In the order of ``SPLITS``.
    """

    group: str
    people: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CohortCheck:
    """A cohort that was looked at, as far as the look got.

    Attributes
    ----------
    files : list of CheckedFile
    problems : list of str
        Sentences that say why the cohort cannot be trained on; empty when it can.
    split : list of SplitRow
        People whose scan is usable, by group; the last row is the sum.
    columns : tuple of str
        Of the table, which a network can be told.
    """

    files: list[CheckedFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    split: list[SplitRow] = field(default_factory=list)
    columns: tuple[str, ...] = ()

    @property
    def usable(self) -> list[CheckedFile]:
        """Return the files that were not refused."""
        return [file for file in self.files if not file.refused]


def check_files(
    people: Sequence[Person], cancel: Callable[[], bool] | None = None
) -> Iterator[CheckedFile]:
    """Yield one row per scan, in order; a bad file is a row like any other.

    Raises
    ------
    CancelledError
    """
    for person in people:
        if cancel is not None and cancel():
            raise CancelledError
        yield _check_file(person)


def check_cohort(
    source: str | Path,
    *,
    seed: int = 0,
    balance_by: Sequence[str] = ("site",),
    progress: Callable[[str, float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> CohortCheck:
    """Look at every scan of a folder, pattern or table.

    Parameters
    ----------
    source : path
        See :func:`napari_normative.engine.cohort.read_cohort`.
    seed : int
        Of the split, as in training.
    balance_by : sequence of str
        Columns that make the groups of the split table.
    progress : callable of (file name, fraction), optional
    cancel : callable, optional

    Raises
    ------
    CohortError
        When there is nobody to look at (``COH-001``, ``COH-002``); whatever else is wrong is
        in ``problems``, so that the table can be shown all the same.
    CancelledError
    """
    people, found = list_people(source, seed=seed)
    files = []
    for done, file in enumerate(check_files(people, cancel), start=1):
        files.append(file)
        if progress is not None:
            progress(file.person.path.name, done / len(people))
    usable = [file.person for file in files if not file.refused]
    refused = [file.refused for file in files if file.refused]
    late: list[CohortError | None] = [too_many_refused(len(people), len(usable), refused)]
    if not found:
        late += [_caught(require_enough, usable, "the usable part of the cohort")]
    rows: list[SplitRow] = []
    try:
        rows = split_table(usable, balance_by)
    except CohortError as error:
        late.append(error)
        rows = split_table(usable, ())
    problems = [*found, *(error for error in late if error is not None)]
    told = columns_to_tell(usable)
    return CohortCheck(_with_duplicates(files), [str(e) for e in problems], rows, told)


def split_table(people: Sequence[Person], columns: Sequence[str]) -> list[SplitRow]:
    """Return the number of people by group and split, and the sum last.

    Raises
    ------
    CohortError
        ``COH-007`` for a column that the table lacks.
    """
    members: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for person, group in zip(people, groups(people, columns), strict=True):
        name = ", ".join(part or "not stated" for part in group) or "all"
        members[name][person.split].add(person.subject)
        members[""][person.split].add(person.subject)
    total = members.pop("", {})

    def row(name: str, found: dict[str, set[str]]) -> SplitRow:
        return SplitRow(name, tuple(len(found.get(split, ())) for split in SPLITS))

    rows = [row(name, members[name]) for name in sorted(members)]
    return [*rows, row("all people", total)]


def _check_file(person: Person) -> CheckedFile:
    try:
        volume = read_volume(person.path)
        require_signal(volume)
    except NormativeError as error:
        return CheckedFile(person, refused=str(error))
    except OSError as error:
        sentence = f"{person.path.name}: it cannot be read ({error.strerror or error})."
        return CheckedFile(person, refused=sentence)
    except MemoryError:
        return CheckedFile(
            person, refused=f"{person.path.name}: it does not fit into this computer's memory."
        )
    warnings = list(volume.source.warnings)
    if volume.source.is_label:
        warnings.append("These look like labels, not like a scan.")
    return CheckedFile(
        person,
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        orientation=volume.source.orientation,
        warnings=tuple(warnings),
        digest=volume.source.digest,
        picture=three_planes(volume),
    )


def _with_duplicates(files: Sequence[CheckedFile]) -> list[CheckedFile]:
    """Warn of the same content twice, and of a person on both sides of the split."""
    first: dict[str, CheckedFile] = {}
    splits: dict[str, set[str]] = defaultdict(set)
    for file in files:
        splits[file.person.subject].add(file.person.split)
    marked = []
    for file in files:
        person, notes = file.person, list(file.warnings)
        twin = first.setdefault(file.digest, file) if file.digest else file
        if twin is not file:
            notes.append(f"The same content as {twin.person.path.name}; it counts once.")
            if twin.person.subject != person.subject:
                notes.append(
                    f"One person under two names ({twin.person.subject}, {person.subject})"
                    + (", in two splits." if twin.person.split != person.split else ".")
                )
        if len(splits[person.subject]) > 1:
            where = ", ".join(s for s in SPLITS if s in splits[person.subject])
            notes.append(f"{person.subject} is in several splits ({where}).")
        marked.append(dataclasses.replace(file, warnings=tuple(notes)))
    return marked


def _caught(
    demand: Callable[[Sequence[Person], str], None], people: Sequence[Person], name: str
) -> CohortError | None:
    try:
        demand(people, name)
    except CohortError as error:
        return error
    return None
