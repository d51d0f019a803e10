"""What a review is made of: scans, candidates, passes through them, and events.

All of it is plain and JSON-ready, so that a store keeps it and a chain of digests covers it.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Decision = Literal["accept", "reject", "uncertain"]
DECISIONS: tuple[Decision, ...] = ("accept", "reject", "uncertain")

Action = Literal[
    "open", "accept", "reject", "uncertain", "skip", "flag", "label", "comment",
    "edit_mask", "add", "split", "merge", "undo", "redo", "submit",
]  # fmt: skip
ACTIONS: tuple[Action, ...] = (
    "open", "accept", "reject", "uncertain", "skip", "flag", "label", "comment",
    "edit_mask", "add", "split", "merge", "undo", "redo", "submit",
)  # fmt: skip

Order = Literal["evidence", "random", "list"]
ORDERS: tuple[Order, ...] = ("evidence", "random", "list")


@dataclass(frozen=True)
class Image:
    """A scan under review.

    Attributes
    ----------
    id : str
        ``case-001``; what every output calls it.
    path : str
        Where it lies, relative to the review's folder if it can be. Never exported.
    digest : str
        SHA-256 of the file, checked before a scan is shown.
    volume : int or None
        Which volume of a 4D file, from 0.
    shape : tuple of int
    affine : tuple of 4 tuples of 4 float
        Voxel to world mm (RAS+).
    folder : str
        Folder of the detection, relative as ``path``; empty without one.
    score, score_p : float or None
        Scan score of the detection; hidden while reading is blind.
    foreground_ml : float or None
    """

    id: str
    path: str
    digest: str
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    folder: str = ""
    volume: int | None = None
    score: float | None = None
    score_p: float | None = None
    foreground_ml: float | None = None


@dataclass(frozen=True)
class Run:
    """A detection whose candidates are reviewed.

    Attributes
    ----------
    image : str
    model, model_digest : str
    software : str
    created_utc : str
    threshold_z : float
    """

    image: str
    model: str
    model_digest: str
    software: str
    created_utc: str
    threshold_z: float


@dataclass(frozen=True)
class ReviewCandidate:
    """A candidate as the model made it; what became of it is in the events.

    Attributes
    ----------
    id : str
        Unique in the project.
    image : str
    value : int
        In the labels of its image.
    sign : int
        +1 brighter, -1 darker than expected, 0 unknown.
    peak_z, mean_z, volume_ml : float
    centroid_mm : tuple of 3 float
        World (RAS+).
    p : float or None
    mask : str
        Digest of its mask (:mod:`napari_normative.review.masks`).
    """

    id: str
    image: str
    value: int
    sign: int
    peak_z: float
    mean_z: float
    volume_ml: float
    centroid_mm: tuple[float, float, float]
    p: float | None
    mask: str


@dataclass(frozen=True)
class Assignment:
    """One pass of the reader through one scan.

    Attributes
    ----------
    number : int
        Place in the reader's queue, from 1.
    image : str
    repeat : bool
        A second look at a scan, for the reader's consistency with themself.
    candidates : tuple of str
        Ids in the order in which they are read.
    """

    number: int
    image: str
    repeat: bool
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class EarlierRead:
    """What another reader decided of a candidate; known to an adjudicator alone.

    Attributes
    ----------
    reader : str
        Code of the reader.
    candidate : str
    decision : str
        Empty where none was made.
    label, comment : str
    mask : str
        Digest.
    """

    reader: str
    candidate: str
    decision: str
    label: str = ""
    comment: str = ""
    mask: str = ""


@dataclass(frozen=True)
class Project:
    """Everything that is fixed when a review begins.

    Attributes
    ----------
    id : str
        Shared by the files of all its readers.
    title : str
    reader : str
        Name of the reader of this file; never exported.
    role : str
        ``reader`` or ``adjudicator``.
    order : str
    seed : int
    blind : bool
        Scores and others' reads are hidden until the reader submits.
    labels : tuple of str
        Words that may be given to a finding.
    created_utc : str
    images, runs, candidates, assignments, reads
    """

    id: str
    title: str
    reader: str
    role: Literal["reader", "adjudicator"]
    order: Order
    seed: int
    blind: bool
    labels: tuple[str, ...]
    created_utc: str
    images: tuple[Image, ...]
    runs: tuple[Run, ...]
    candidates: tuple[ReviewCandidate, ...]
    assignments: tuple[Assignment, ...]
    reads: tuple[EarlierRead, ...] = ()

    @property
    def reader_code(self) -> str:
        """What exports call the reader."""
        return reader_code(self.id, self.reader)


def reader_code(project: str, name: str) -> str:
    """Return a code for a reader of a project; the name cannot be read from it."""
    return "reader-" + hashlib.sha256(f"{project}:{name}".encode()).hexdigest()[:8]


@dataclass(frozen=True)
class NewEvent:
    """Something a reader did, before it is stored.

    Attributes
    ----------
    action : str
    assignment : int
        Number of the pass; 0 for the whole review.
    candidate : str
        Empty for the whole scan or review.
    details : mapping
        JSON-ready; what each action holds is said in ``docs/formats.md``.
    reverts : str
        Id of the event that an undo takes back, or of the undo that a redo takes back.
    id : str
    at : str
        UTC, ISO 8601 with milliseconds.
    """

    action: Action
    assignment: int = 0
    candidate: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    reverts: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: str = field(default_factory=lambda: utc_now())


@dataclass(frozen=True)
class Event(NewEvent):
    """A stored event: a link of a chain.

    Attributes
    ----------
    number : int
        From 1, without gaps.
    reader : str
        Code of the reader.
    previous : str
        Digest of the event before; of the project for the first.
    digest : str
        SHA-256 over everything above.
    """

    number: int = 0
    reader: str = ""
    previous: str = ""
    digest: str = ""


def link(event: NewEvent, number: int, reader: str, previous: str) -> Event:
    """Return an event as the next link of a chain."""
    facts = {f.name: getattr(event, f.name) for f in dataclasses.fields(NewEvent)}
    facts |= {"number": number, "reader": reader, "previous": previous}
    return Event(**facts, digest=digest_of(facts))


def intact(event: Event) -> bool:
    """Whether an event is what its digest was taken of."""
    return link(event, event.number, event.reader, event.previous).digest == event.digest


def digest_of(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical JSON."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def canonical(record: object) -> str:
    """Return JSON with sorted keys and nothing that could be written in two ways."""
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def project_digest(project: Project) -> str:
    """Return the digest that the first event of a review follows.

    Equal projects have equal digests: whole numbers are written alike as int and float.
    An attribute with its default is left out, so that one which a later version adds does not
    change the digest of a review that began without it. Defaults must therefore stay as they are.
    """
    return digest_of(_facts(project))


def _facts(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        items = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {f.name: _facts(item) for f, item in items if item != f.default}
    if isinstance(value, tuple):
        return [_facts(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def utc_now() -> str:
    """Return the time now, UTC, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
