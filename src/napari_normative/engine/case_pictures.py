"""Key images of one detection: scan, pseudo-healthy and anomaly map, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.candidates import Candidate
from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.limits import image_limits, signed_limit
from napari_normative.engine.planes import AXIAL, SAGITTAL, VIEWS, Frame, View, sample
from napari_normative.volume import Mask, Volume

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    from napari_normative.engine.detection import Detection

Picture = NDArray[np.uint8]
"""RGB, shape (rows, columns, 3)."""

BRIGHTER, DARKER = (235, 50, 30), (50, 115, 255)
MARKED, OTHERS = (255, 210, 0), (190, 190, 190)
OPACITY = 0.8
KEY_PX, TILE_PX = 300, 260
OVERVIEW_ROWS, OVERVIEW_COLUMNS = 3, 4
SKIPPED = 0.14
"""Share of the frame above and below that the overview leaves out: little lies there."""
COLUMNS = ("scan", "pseudo-healthy", "scan with z")

_GAP, _STRIP, _TICK = 4, 22, 7


@dataclass(frozen=True, eq=False)
class Shown:
    """What pictures of a detection have in common.

    Attributes
    ----------
    scan, reconstruction, z, labels : Volume
    frame : Frame
    window : (low, high)
        Grey values from black to white.
    limit_z : float
        ``|z|`` of full colour.
    """

    scan: Volume
    reconstruction: Volume
    z: Volume
    labels: Volume
    frame: Frame
    window: tuple[float, float]
    limit_z: float

    @classmethod
    def of(cls, detection: Detection, longest_px: int = KEY_PX) -> Shown:
        """Choose frame and limits as the window does."""
        return cls(
            detection.scan,
            detection.reconstruction,
            detection.anomaly_z,
            detection.candidate_labels,
            Frame.around(detection.scan, detection.mask, longest_px),
            image_limits(detection.scan.data),
            max(signed_limit(detection.anomaly_z.data), own_threshold(detection)),
        )

    def row(self, view: View, place_mm: NDArray[np.float64], label: int | None) -> list[Picture]:
        """Return scan, reconstruction and scan with z in one plane, without any marks but outlines.

        Parameters
        ----------
        view : View
        place_mm : array, shape (3,)
            The plane passes through it.
        label : int or None
            The candidate whose outline is yellow; all are where it is None.
        """
        points = self.frame.plane(view, float(place_mm[view.normal]))
        scan = grey(sample(self.scan, points, outside=self.window[0]), self.window)
        healthy = grey(sample(self.reconstruction, points), self.window)
        over = overlaid(scan, sample(self.z, points), self.limit_z)
        labels = np.rint(sample(self.labels, points, order=0)).astype(int)
        over[outline(labels > 0)] = MARKED if label is None else OTHERS
        if label is not None:
            over[outline(labels == label)] = MARKED
        return [scan, healthy, over]


def grey(values: NDArray[np.float32], window: tuple[float, float]) -> Picture:
    """Return values as grey levels, from black at the window's low end to white."""
    low, high = window
    level = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=-1)


def overlaid(under: Picture, signed: NDArray[np.float32], limit: float) -> Picture:
    """Return a picture with signed values over it: red above 0, blue below, full at ``limit``."""
    amount = OPACITY * np.clip(np.abs(signed) / limit, 0, 1)[..., None]
    colour = np.where(signed[..., None] > 0, BRIGHTER, DARKER)
    return np.rint(under * (1 - amount) + colour * amount).astype(np.uint8)


def own_threshold(detection: Detection) -> float:
    """Return the model's threshold, whatever a reader set since.

    A lower one must not make the colours of a healthy scan stronger.
    """
    parameters = detection.provenance.get("parameters", {})
    return float(parameters.get("threshold_z", detection.threshold_z))


def key_image(shown: Shown, candidate: Candidate) -> Picture:
    """Return the three planes through a candidate's centroid, one below the other.

    Columns are the scan, its pseudo-healthy reconstruction, and the scan with the signed z and
    the candidate's outline; all at one scale.
    """
    place = np.array(candidate.centroid_mm)
    shown = replace(shown, frame=shown.frame.square())
    rows = []
    for view in VIEWS:
        panels = shown.row(view, place, candidate.label)
        rows.append([marked(p, shown.frame, view, place, ticks=True) for p in panels])
    width = rows[0][0].shape[1]
    body = stack([beside(row) for row in rows])
    return framed(body, [(n * (width + _GAP) + width / 2, name) for n, name in enumerate(COLUMNS)])


def overview(shown: Shown) -> Picture:
    """Return twelve axial slices with the signed z and all outlines, from below to above."""
    low, high = shown.frame.low_mm[2], shown.frame.high_mm[2]
    inset = SKIPPED * (high - low)
    heights = np.linspace(low + inset, high - inset, OVERVIEW_ROWS * OVERVIEW_COLUMNS)
    tiles = []
    for height in heights:
        place = np.array([0.0, 0.0, height])
        panel = shown.row(AXIAL, place, None)[2]
        tiles.append(marked(panel, shown.frame, AXIAL, place, ticks=False))
    rows = [beside(tiles[n : n + OVERVIEW_COLUMNS]) for n in range(0, len(tiles), OVERVIEW_COLUMNS)]
    return framed(stack(rows), [])


def colour_bar(limit_z: float, threshold_z: float) -> Picture:
    """Return the colours of z with its numbers; the threshold is marked on both sides."""
    width, height, edge = 560, 16, 40
    z = np.linspace(-limit_z, limit_z, width - 2 * edge)
    amount = OPACITY * np.abs(z)[:, None] / limit_z
    strip = 110 * (1 - amount) + np.where(z[:, None] > 0, BRIGHTER, DARKER) * amount
    bar = np.full((58, width, 3), 255, dtype=np.uint8)
    bar[20 : 20 + height, edge : width - edge] = np.rint(strip)
    image, draw = _canvas(bar)
    for value in (-limit_z, 0.0, limit_z):
        x = edge + (value / limit_z + 1) / 2 * (width - 2 * edge)
        _write(draw, (x, 46), f"{value:+.1f}" if value else "0", 13, dark=True)
    for sign in (-1, 1):
        x = edge + (sign * threshold_z / limit_z + 1) / 2 * (width - 2 * edge)
        draw.line([(x, 16), (x, 38)], fill=(0, 0, 0), width=2)
    _write(
        draw, (width / 2, 8), f"z; the marks are the threshold ±{threshold_z:.1f}", 13, dark=True
    )
    return np.asarray(image)


def outline(region: Mask) -> Mask:
    """Return the pixels around a region, so that what lies inside stays seen."""
    grown: Mask = ndimage.binary_dilation(region)
    return grown & ~region


def marked(
    panel: Picture, frame: Frame, view: View, place_mm: NDArray[np.float64], *, ticks: bool
) -> Picture:
    """Return a picture with its sides, height, scale and, with ``ticks``, the place."""
    image, draw = _canvas(panel)
    rows, columns = panel.shape[:2]
    left, right, top, bottom = tuple(view.edges)
    inset = 14
    _write(draw, (inset, rows / 2), left, 15)
    _write(draw, (columns - inset, rows / 2), right, 15)
    _write(draw, (columns / 2, inset + 2), top, 15)
    _write(draw, (columns / 2, rows - inset), bottom, 15)
    at = float(place_mm[view.normal])
    _write(draw, (6, 11), f"{'xyz'[view.normal]} {round(at)} mm", 12, anchor="lm")
    if view is SAGITTAL:  # its edges do not say which side of the patient it is
        aside = round(at - frame.middle_mm[0])
        side = f"{abs(aside)} mm {'R' if aside >= 0 else 'L'} of middle"
        _write(draw, (6, 27), side, 12, anchor="lm")
    _scale(draw, frame.pixel_mm, rows, columns)
    if ticks:
        row, column = frame.pixel_of(view, place_mm)
        for line in (
            [(column, 0), (column, _TICK)],
            [(column, rows - 1 - _TICK), (column, rows - 1)],
            [(0, row), (_TICK, row)],
            [(columns - 1 - _TICK, row), (columns - 1, row)],
        ):
            draw.line(line, fill=MARKED, width=1)
    return np.asarray(image)


def _scale(draw: ImageDraw, pixel_mm: float, rows: int, columns: int) -> None:
    """Draw a bar of a round number of mm at the bottom right."""
    most = 0.35 * columns * pixel_mm
    power = 10.0 ** np.floor(np.log10(most))
    length = float(max(f * power for f in (1, 2, 5) if f * power <= most))
    end, start = columns - 8, columns - 8 - length / pixel_mm
    draw.rectangle([start - 1, rows - 9, end + 1, rows - 5], fill=(0, 0, 0))
    draw.rectangle([start, rows - 8, end, rows - 6], fill=(255, 255, 255))
    _write(draw, ((start + end) / 2, rows - 18), f"{length:g} mm", 11)


def framed(body: Picture, names: list[tuple[float, str]]) -> Picture:
    """Return a picture with column names above and the research-use notice below."""
    blank = np.full((_STRIP, body.shape[1], 3), 255, dtype=np.uint8)
    image, draw = _canvas(stack([blank, body, blank] if names else [body, blank], gap=0))
    for x, name in names:
        _write(draw, (x, _STRIP / 2), name, 14, dark=True)
    notice = f"{RESEARCH_USE} Patient's right is on the left in axial and coronal planes."
    _write(draw, (2, image.height - _STRIP / 2), notice, 12, anchor="lm", dark=True)
    return np.asarray(image)


def beside(panels: list[Picture]) -> Picture:
    """Return pictures of one height side by side."""
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    parts = [part for panel in panels for part in (panel, gap)][:-1]
    return np.concatenate(parts, axis=1)


def stack(rows: list[Picture], gap: int = _GAP) -> Picture:
    """Return pictures of one width one below the other."""
    blank = np.full((gap, rows[0].shape[1], 3), 255, dtype=np.uint8)
    parts = [part for row in rows for part in (row, blank)][:-1]
    return np.concatenate(parts, axis=0)


def _canvas(picture: Picture) -> tuple[Any, ImageDraw]:
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(picture))
    return image, ImageDraw.Draw(image)


def _write(
    draw: ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    *,
    anchor: str = "mm",
    dark: bool = False,
) -> None:
    """Write white text with a black edge, readable on any grey, or dark text on paper."""
    ink, edge = ((20, 20, 20), 0) if dark else ((255, 255, 255), 1)
    draw.text(
        at,
        text,
        fill=ink,
        font=_font(size),
        anchor=anchor,
        stroke_width=edge,
        stroke_fill=(0, 0, 0),
    )


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
