"""What a reader's events add up to: what is held of each candidate, and what is left to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from napari_normative.errors import ReviewError
from napari_normative.review.records import ACTIONS, DECISIONS, Action, NewEvent, Project

Origin = Literal["model", "added", "split"]
Show = Literal["all", "open", "accept", "reject", "uncertain", "skipped", "flagged", "edited"]
SHOWS: tuple[Show, ...] = (
    "all", "open", "accept", "reject", "uncertain", "skipped", "flagged", "edited",
)  # fmt: skip

UNDOABLE: frozenset[Action] = frozenset(
    {"accept", "reject", "uncertain", "flag", "label", "comment", "edit_mask", "add", "split",
     "merge"}
)  # fmt: skip


@dataclass(frozen=True)
class Read:
    """What a reader holds of one candidate in one pass.

    Attributes
    ----------
    candidate, image : str
    assignment : int
    value : int
        In the labels of the scan.
    mask : str
        Digest of its present mask.
    origin : str
        Who made it: ``model``, or the reader, who ``added`` it or ``split`` it off.
    decision : str
        Empty while there is none.
    skipped, flagged, edited : bool
    label, comment : str
    seconds : float
        Spent on it.
    merged_into : str
        The candidate that took its voxels; empty as a rule.
    """

    candidate: str
    image: str
    assignment: int
    value: int
    mask: str
    origin: Origin = "model"
    decision: str = ""
    skipped: bool = False
    flagged: bool = False
    edited: bool = False
    label: str = ""
    comment: str = ""
    seconds: float = 0.0
    merged_into: str = ""

    def fits(self, show: Show) -> bool:
        """Whether a filter lets it through."""
        if show == "all":
            return True
        if show == "open":
            return not self.decision
        if show in DECISIONS:
            return self.decision == show
        return bool(getattr(self, show))


@dataclass(frozen=True)
class Pass:
    """A reader's pass through one scan.

    Attributes
    ----------
    number : int
    image : str
    repeat : bool
    reads : tuple of Read
        In reading order; what was merged into another is left out.
    closed : bool
        The reader said that the scan is done.
    flagged : bool
        The scan as a whole.
    comment : str
        On the scan as a whole.
    merged : mapping of str to str
        Which candidate has the voxels of one that is gone.
    """

    number: int
    image: str
    repeat: bool
    reads: tuple[Read, ...]
    closed: bool = False
    flagged: bool = False
    comment: str = ""
    merged: Mapping[str, str] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether nothing is left to decide."""
        return self.closed or (bool(self.reads) and all(read.decision for read in self.reads))

    def read(self, candidate: str) -> Read | None:
        """Return the read of a candidate; None when there is none."""
        return next((read for read in self.reads if read.candidate == candidate), None)


@dataclass(frozen=True)
class Place:
    """A candidate in a pass; an empty candidate is the scan as a whole."""

    assignment: int
    candidate: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a reader is.

    Attributes
    ----------
    decided, candidates : int
    done, passes : int
    seconds : float
        Spent so far.
    """

    decided: int
    candidates: int
    done: int
    passes: int
    seconds: float


class Reading:
    """The present state of a review; events change it and nothing else does.

    Parameters
    ----------
    project : Project
    events : iterable of Event
        In their order.
    """

    def __init__(self, project: Project, events: Iterable[NewEvent] = ()) -> None:
        self.project = project
        self.place: Place | None = None
        self.submitted = False
        self._candidates = {candidate.id: candidate for candidate in project.candidates}
        self._done: list[NewEvent] = []
        self._undone: list[tuple[NewEvent, NewEvent]] = []
        self._by_pass: dict[int, list[NewEvent]] = {a.number: [] for a in project.assignments}
        self._assignments = {a.number: a for a in project.assignments}
        self.passes = {number: self._fold(number) for number in self._assignments}
        for event in events:
            self.apply(event)

    def apply(self, event: NewEvent) -> None:
        """Take in the next event.

        Raises
        ------
        ReviewError
            ``REV-020`` if it fits nothing that is there; the state is as before.
        """
        self.check(event)
        if event.action == "undo":
            reverted = self._done.pop()
            self._undone.append((event, reverted))
            self._by_pass[reverted.assignment].remove(reverted)
            self._refresh(reverted)
        elif event.action == "redo":
            _, again = self._undone.pop()
            self._done.append(again)
            self._by_pass[again.assignment].append(again)
            self._refresh(again)
        elif event.action == "submit" and not event.assignment:
            self.submitted = True
        elif event.action == "open":
            self.place = Place(event.assignment, event.candidate)
        else:
            self._by_pass[event.assignment].append(event)
            if event.action in UNDOABLE:
                self._done.append(event)
                self._undone.clear()
            self.passes[event.assignment] = self._fold(event.assignment)

    def check(self, event: NewEvent) -> None:
        """Raise ReviewError unless the event can follow what is there."""
        if event.action not in ACTIONS:
            raise _misfit(f"there is no action {event.action!r}")
        if self.submitted and event.action != "open":
            raise _misfit("the review is submitted, and its decisions are final")
        if event.action in {"undo", "redo"}:
            expected = self.undoable if event.action == "undo" else self.redoable
            if expected is None or event.reverts != expected.id:
                raise _misfit(f"there is nothing that this {event.action} could take back")
            return
        if event.action == "submit" and not event.assignment:
            return
        at = self.passes.get(event.assignment)
        if at is None:
            raise _misfit(f"there is no pass number {event.assignment}")
        new = event.action == "add"
        known = at.read(event.candidate) is not None
        if event.candidate and known == new:
            word = "is there already" if new else "is not in this pass"
            raise _misfit(f"the candidate {event.candidate} {word}")
        if not event.candidate and event.action not in {"open", "flag", "comment", "submit"}:
            raise _misfit(f"{event.action} needs a candidate")

    @property
    def undoable(self) -> NewEvent | None:
        """The event that an undo would take back."""
        return self._done[-1] if self._done else None

    @property
    def redoable(self) -> NewEvent | None:
        """The undo that a redo would take back."""
        return self._undone[-1][0] if self._undone else None

    def walk(self, show: Show = "all") -> Iterator[Place]:
        """Yield the places that a filter lets through, in reading order."""
        for number, at in self.passes.items():
            if not at.reads and (show == "all" or (show == "open" and not at.closed)):
                yield Place(number)
            for read in at.reads:
                if read.fits(show):
                    yield Place(number, read.candidate)

    def after(self, place: Place | None, show: Show = "all", by: int = 1) -> Place | None:
        """Return the next place that a filter lets through, from the ends round again.

        Parameters
        ----------
        place : Place or None
            None: before the first.
        show : str
        by : int
            +1 the next, -1 the one before.
        """
        everything = list(self.walk())
        wanted = set(self.walk(show))
        if not wanted:
            return None
        start = everything.index(place) if place in everything else (-1 if by > 0 else 0)
        for step in range(1, len(everything) + 1):
            found = everything[(start + by * step) % len(everything)]
            if found in wanted:
                return found
        return None

    def progress(self) -> Progress:
        """Return how far the reader is."""
        reads = [read for at in self.passes.values() for read in at.reads]
        return Progress(
            decided=sum(bool(read.decision) for read in reads),
            candidates=len(reads),
            done=sum(at.done for at in self.passes.values()),
            passes=len(self.passes),
            seconds=sum(read.seconds for read in reads),
        )

    def first_passes(self) -> dict[str, Pass]:
        """Return the pass that counts of each scan: the first."""
        return {at.image: at for at in self.passes.values() if not at.repeat}

    def repeats(self) -> list[tuple[Pass, Pass]]:
        """Return first and second pass of every scan that was read twice."""
        first = self.first_passes()
        return [
            (first[at.image], at) for at in self.passes.values() if at.repeat and at.image in first
        ]

    def free_value(self, assignment: int) -> int:
        """Return a value for the labels of a pass that none of its candidates has."""
        image = self._assignments[assignment].image
        used = [c.value for c in self.project.candidates if c.image == image]
        for event in self._by_pass[assignment]:
            used += [int(part["value"]) for part in event.details.get("parts", ())]
            if event.action == "add":
                used.append(int(event.details["value"]))
        return max(used, default=0) + 1

    def _refresh(self, event: NewEvent) -> None:
        self.passes[event.assignment] = self._fold(event.assignment)
        self.place = Place(event.assignment, event.candidate)

    def _fold(self, number: int) -> Pass:
        assignment = self._assignments[number]
        reads: dict[str, Read] = {}
        for name in assignment.candidates:
            made = self._candidates[name]
            reads[name] = Read(name, assignment.image, number, made.value, made.mask)
        flagged, closed, comment = False, False, ""
        for event in self._by_pass[number]:
            if event.action == "submit":
                closed = True
            elif event.candidate:
                _change(reads, event, assignment.image)
            elif event.action == "flag":
                flagged = bool(event.details["on"])
            elif event.action == "comment":
                comment = str(event.details["comment"])
        kept = tuple(read for read in reads.values() if not read.merged_into)
        merged = {name: _end(reads, name) for name, read in reads.items() if read.merged_into}
        return Pass(
            number, assignment.image, assignment.repeat, kept, closed, flagged, comment, merged
        )


def _change(reads: dict[str, Read], event: NewEvent, image: str) -> None:
    """Let one event about a candidate change the reads of a pass."""
    name, details = event.candidate, event.details
    if event.action == "add":
        reads[name] = Read(
            name, image, event.assignment, int(details["value"]), str(details["mask"]), "added",
            decision="accept",
        )  # fmt: skip
    read = reads[name]
    changed: dict[str, object] = {"seconds": read.seconds + float(details.get("seconds", 0.0))}
    if event.action in DECISIONS:
        changed |= {"decision": event.action, "skipped": False}
    elif event.action == "skip":
        changed["skipped"] = True
    elif event.action == "flag":
        changed["flagged"] = bool(details["on"])
    elif event.action in {"label", "comment"}:
        changed[event.action] = str(details[event.action])
    elif event.action in {"split", "merge"}:
        changed |= {"mask": str(details["mask"]), "edited": True}
    reads[name] = dataclasses.replace(read, **changed)  # type: ignore[arg-type]
    for part in details.get("parts", ()):
        reads[part["id"]] = dataclasses.replace(
            reads[name], candidate=part["id"], value=int(part["value"]), mask=str(part["mask"]),
            origin="split", seconds=0.0, comment="",
        )  # fmt: skip
    for other in details.get("with", ()):
        reads[other] = dataclasses.replace(reads[other], merged_into=name)
    for other, digest in details.get("masks", {}).items():
        reads[other] = dataclasses.replace(reads[other], mask=str(digest), edited=True)


def _end(reads: Mapping[str, Read], name: str) -> str:
    """Return the candidate that has a merged one's voxels now, however often it was merged."""
    while reads[name].merged_into:
        name = reads[name].merged_into
    return name


def _misfit(why: str) -> ReviewError:
    return ReviewError("REV-020", why, "Reload the review and look at what it holds.")
