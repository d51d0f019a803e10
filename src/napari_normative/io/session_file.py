"""Saved sessions: one JSON file that names scans, models and runs, and holds no voxel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_normative.errors import SessionError
from napari_normative.io.atomic import replace_files

FORMAT: Literal["napari-normative-session/1"] = "napari-normative-session/1"
SUFFIX = ".session.json"
NOTICE: Literal["Research use only, not for diagnosis."] = "Research use only, not for diagnosis."
MOST_BYTES = 8 << 20
"""A larger file is no session: a thousand candidates take 200 KiB."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Place = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
"""A file: seen from the folder of the session, with forward slashes."""
Name = Annotated[str, Field(max_length=200)]
Triple = tuple[float, float, float]


class Record(BaseModel):
    """What all parts have in common: no unknown key, no NaN, nothing converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScanRecord(Record):
    """A scan, or labels, by reference.

    ``id`` names it in this file, ``sha256`` is of the file's bytes, ``read`` what its reader
    was told about a doubtful header.
    """

    id: Name
    path: Place
    sha256: Digest
    kind: Literal["scan", "labels"]
    trust: Literal["sform", "qform"] | None = None
    any_size: bool = False


class ModelRecord(Record):
    """A model: by name if it came with the package, else by file; its digest."""

    name: Name
    sha256: Digest
    path: Place | None = None


class CandidateRecord(Record):
    """A candidate in numbers: sign, z, ml, world mm."""

    sign: Literal[-1, 1]
    peak_z: float
    volume_ml: float
    centroid_mm: Triple


class ResultRecord(Record):
    """What a run brought: digests of its volumes, and numbers to compare another run with.

    ``sha256`` is of float32 values in the order of the scan's stored axes, by name of the
    result; ``spread`` are percentiles of the map.
    """

    sha256: dict[Name, Digest]
    spread: tuple[float, ...]
    scan_score: float | None = None
    candidates: tuple[CandidateRecord, ...] = ()


class DetectionRecord(Record):
    """A detection: of which scan, how, what became layers, and what came out.

    ``given`` is what the model was told of the person.
    """

    scan: Name
    given: dict[Name, str | float] = {}
    volume: int | None = Field(default=None, ge=0)
    mask: Name | None = None
    model: ModelRecord
    samples: int = Field(ge=0, le=10_000)
    seed: int
    force: bool
    local_volume: bool
    device: Name
    shown: tuple[Name, ...]
    threshold_z: float | None = None
    results: ResultRecord


class DrawRecord(Record):
    """A draw of synthetic volumes."""

    kind: Literal["prior", "posterior", "interpolation"]
    scans: tuple[Name, ...] = Field(max_length=2)
    given: dict[Name, str | float] = {}
    model: ModelRecord
    count: int = Field(ge=1, le=10_000)
    seed: int
    temperature: float
    device: Name
    results: ResultRecord


class FillRecord(Record):
    """A scan whose missing parts were filled: those of ``mask``, ``slices``, or found."""

    scan: Name
    mask: Name | None = None
    slices: tuple[Name, ...] = ()
    model: ModelRecord
    device: Name
    results: ResultRecord


class LookRecord(Record):
    """How a layer looks; ``scan`` is empty for draws from the cohort. In order, bottom first."""

    scan: Name
    role: Name
    visible: bool
    opacity: float = Field(ge=0, le=1)
    contrast_limits: tuple[float, float] | None = None
    gamma: float | None = None
    colormap: Name | None = None
    contour: int | None = Field(default=None, ge=0)


class CameraRecord(Record):
    """Where the camera looks: centre in mm (S, A, R), pixels of the screen per mm, degrees."""

    center: Triple
    zoom: float = Field(gt=0)
    angles: Triple


class ViewRecord(Record):
    """What is on the screen."""

    layout: Name
    convention: Literal["radiological", "neurological"]
    letters: bool
    crosshair: bool
    in_3d: bool
    position_mm: Triple | None = None
    camera: CameraRecord
    camera_3d: CameraRecord | None = None
    scan: Name | None = None
    volume: int = Field(default=0, ge=0)
    overlay_hidden: bool = False
    compare: Literal["", "flicker", "checkerboard", "swipe"] = ""
    swipe: float = Field(default=0.5, ge=0, le=1)


class ReviewRecord(Record):
    """A review file by reference, and the project that it belongs to."""

    path: Place
    project: Name


class SessionRecord(Record):
    """A saved session."""

    format: Literal["napari-normative-session/1"] = FORMAT
    notice: Literal["Research use only, not for diagnosis."] = NOTICE
    created_utc: Name
    versions: dict[Name, Name]
    model: ModelRecord | None = None
    scans: tuple[ScanRecord, ...] = ()
    detections: tuple[DetectionRecord, ...] = ()
    draw: DrawRecord | None = None
    fills: tuple[FillRecord, ...] = ()
    looks: tuple[LookRecord, ...] = ()
    view: ViewRecord
    review: ReviewRecord | None = None

    @model_validator(mode="after")
    def _names_what_it_holds(self) -> Self:
        """Refuse a part that is about a scan which is not in the file."""
        runs: tuple[DetectionRecord | FillRecord, ...] = (*self.detections, *self.fills)
        known = [scan.id for scan in self.scans]
        if len(set(known)) < len(known):
            raise ValueError("two scans have one id")
        named = [self.view.scan, *(look.scan or None for look in self.looks)]
        named += [name for run in runs for name in (run.scan, run.mask)]
        named += self.draw.scans if self.draw is not None else ()
        if unknown := {name for name in named if name is not None} - set(known):
            raise ValueError(f"there is no scan {sorted(unknown)[0]!r}")
        labels = {scan.id for scan in self.scans if scan.kind == "labels"}
        if any(run.mask is not None and run.mask not in labels for run in runs):
            raise ValueError("a mask is no labels")
        return self


def reference(path: Path, session: Path) -> str:
    """Return a file as seen from a session file, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), session.resolve().parent)).as_posix()
    except ValueError:  # on another drive: there is no way from one to the other
        return path.resolve().as_posix()


def located(place: str, session: Path) -> Path:
    """Return where a file that a session names lies now."""
    return Path(os.path.normpath(session.resolve().parent / place))


def write_session(path: Path, record: SessionRecord) -> Path:
    """Write a session file; it appears whole or not at all."""
    text = record.model_dump_json(indent=1, exclude=_unused(record))
    replace_files({path: (text + "\n").encode()})
    return path


def read_session(path: Path) -> SessionRecord:
    """Read a session file.

    Raises
    ------
    SessionError
        ``SES-010`` if it cannot be read or is none, ``SES-011`` if it is of another version,
        ``SES-012`` if a part is missing, unknown or makes no sense.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("the file is too large")
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        if not str(found).startswith("napari-normative-session/"):
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise SessionError(
            "SES-010",
            f"this is no saved session ({reason or 'its content is something else'})",
            f"Choose a file that *Save session* wrote (*{SUFFIX}).",
            subject=path.name,
        ) from error
    if found != FORMAT:
        raise SessionError(
            "SES-011",
            f"the format is {str(found)[:60]!r}, this version reads {FORMAT!r}",
            'Open it with the version of napari-normative that wrote it (see "versions").',
            subject=path.name,
        )
    try:
        return SessionRecord.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SessionError(
            "SES-012",
            f"{where}: {first['msg']}",
            "Use the file as it was saved.",
            subject=path.name,
        ) from error


def _unused(record: SessionRecord) -> dict[str, Any]:
    """Return what is left out, so that versions before there was such a thing read the session."""
    untold = {n: {"given"} for n, run in enumerate(record.detections) if not run.given}
    unused: dict[str, Any] = {"detections": untold} if untold else {}
    if record.draw is not None and not record.draw.given:
        unused["draw"] = {"given"}
    return unused if record.fills else {**unused, "fills": True}
