"""Points for 3D Slicer: one control point in the middle of each region."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.segments import Segment
from napari_normative.errors import RegionsFileError
from napari_normative.io.imported import file_bytes
from napari_normative.io.tables import json_bytes

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
"""Slicer knows the version of a file by this text; nothing is fetched."""
_SIGNS = {"LPS": (-1.0, -1.0, 1.0), "RAS": (1.0, 1.0, 1.0)}
_MOST_BYTES = 1 << 24
_FARTHEST_MM = 1e6


@dataclass(frozen=True)
class MarkupPoint:
    """A control point.

    Attributes
    ----------
    id : str
        Of the candidate, in files of this program.
    label, description : str
    position_mm : tuple of 3 float
        World (RAS+), mm.
    """

    id: str
    label: str
    description: str
    position_mm: tuple[float, float, float]


def markups_bytes(segments: Sequence[Segment]) -> bytes:
    """Return a point list (``.mrk.json``) with a point at the centroid of each segment.

    Positions are LPS, mm: what lies to the right has a negative x. The point is called what
    the segment is called; its description is the decision and the label.
    """
    points = [_control_point(s) for s in sorted(segments, key=lambda s: s.value)]
    markup = {
        "type": "Fiducial",
        "name": "candidates",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
    }
    return json_bytes({"@schema": _SCHEMA, "notice": RESEARCH_USE, "markups": [markup]})


def _control_point(segment: Segment) -> dict[str, Any]:
    x, y, z = segment.centroid_mm
    return {
        "id": segment.id or str(segment.value),
        "label": segment.name,
        "description": ", ".join(filter(None, (segment.decision, segment.label))),
        "associatedNodeID": "",
        "position": [-x, -y, z],
        "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1],
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }


def read_markups(path: str | Path) -> tuple[MarkupPoint, ...]:
    """Read the points of a Slicer markups file, in order.

    Control points of every markup in the file are taken; those that have not been placed are
    left out.

    Raises
    ------
    RegionsFileError
        ``IMP-020`` if this is no markups file, ``IMP-021`` if its coordinate system is neither
        LPS nor RAS or its unit not mm, ``IMP-022`` if a point has no usable position;
        ``IMP-001`` and ``IMP-002`` as in every import.
    """
    path = Path(path)
    block = file_bytes(path, _MOST_BYTES)
    try:
        content = json.loads(block)
    except (ValueError, RecursionError) as error:  # ValueError: text, JSON, or endless digits
        raise _foreign(path) from error
    points: list[MarkupPoint] = []
    for markup in _mappings(content, "markups", path):
        signs = _signs(markup, path)
        for point in _mappings(markup, "controlPoints", path):
            if point.get("positionStatus", "defined") == "defined":
                position_mm = _position(point, signs, path)
                text = {key: _text(point.get(key)) for key in ("id", "label", "description")}
                points.append(MarkupPoint(**text, position_mm=position_mm))
    return tuple(points)


def _mappings(record: object, key: str, path: Path) -> list[Mapping[str, Any]]:
    found = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise _foreign(path)
    return found


def _signs(markup: Mapping[str, Any], path: Path) -> tuple[float, float, float]:
    """Return by what a position is multiplied to be RAS+."""
    system, unit = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
    unit = unit[0] if isinstance(unit, list) and unit else unit
    if not isinstance(system, str) or system not in _SIGNS or unit != "mm":
        raise RegionsFileError(
            "IMP-021",
            "its coordinate system is neither LPS nor RAS, or its unit is not mm",
            "Save it from 3D Slicer in LPS and mm.",
            subject=path.name,
        )
    return _SIGNS[system]


def _position(
    point: Mapping[str, Any], signs: tuple[float, float, float], path: Path
) -> tuple[float, float, float]:
    numbers = point.get("position")
    if isinstance(numbers, list) and len(numbers) == 3 and all(map(_is_place, numbers)):
        x, y, z = (sign * float(number) for sign, number in zip(signs, numbers, strict=True))
        return x, y, z
    raise RegionsFileError(
        "IMP-022",
        "a point has no usable position (three numbers, within a kilometre)",
        "Place the point again in 3D Slicer and save the file anew.",
        subject=path.name,
    )


def _is_place(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return abs(number) <= _FARTHEST_MM  # which NaN is not


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _foreign(path: Path) -> RegionsFileError:
    return RegionsFileError(
        "IMP-020",
        "this is not a markups file of 3D Slicer, or it is damaged",
        "Save the point list from 3D Slicer as .mrk.json.",
        subject=path.name,
    )
