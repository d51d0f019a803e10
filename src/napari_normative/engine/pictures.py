"""Plots and pictures for a page that needs nothing but itself: SVG and PNG as text."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import Mask

# Okabe and Ito's colours and dashes too, so that lines can be told apart without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "4 2", "1 2", "10 4")

LEFT, RIGHT, TOP, BOTTOM = 46, 8, 24, 38


@dataclass(frozen=True, eq=False)
class Line:
    """A series of points with its name.

    Attributes
    ----------
    name : str
    x, y : float arrays, shape (n,)
        Points that are not finite are left out.
    style : int
        Which colour and dash; equal for equal models in all plots.
    steps : bool
        Draw steps: a level holds until the next point.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    style: int
    steps: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Attributes
    ----------
    label : str
    low, high : float
    ticks : tuple of float
    logarithmic : bool
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values as shares of the axis, from 0 to 1."""
        clipped = np.clip(values, self.low, self.high)
        if self.logarithmic:
            clipped = np.log(clipped / self.low) / np.log(self.high / self.low)
        else:
            clipped = (clipped - self.low) / (self.high - self.low)
        return np.asarray(clipped, dtype=np.float64)


UNIT = (0.0, 0.25, 0.5, 0.75, 1.0)


def line_plot(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    reference: Line | None = None,
    width: int = 268,
    height: int = 230,
) -> str:
    """Return a plot as SVG; the reference is a thin grey line."""
    inner_w, inner_h = width - LEFT - RIGHT, height - TOP - BOTTOM

    def at_x(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return LEFT + inner_w * x.place(values)

    def at_y(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return TOP + inner_h * (1 - y.place(values))

    parts = [_svg(width, height, title), _text(LEFT, 14, title, "title")]
    for tick in x.ticks:
        p = float(at_x(np.array([tick]))[0])
        parts.append(f'<path class="grid" d="M{p:.1f} {TOP}V{TOP + inner_h}"/>')
        parts.append(_text(p, TOP + inner_h + 13, f"{tick:g}", "tick", "middle"))
    for tick in y.ticks:
        p = float(at_y(np.array([tick]))[0])
        parts.append(f'<path class="grid" d="M{LEFT} {p:.1f}H{LEFT + inner_w}"/>')
        parts.append(_text(LEFT - 5, p + 3.5, f"{tick:g}", "tick", "end"))
    parts.append(_text(LEFT + inner_w / 2, height - 6, x.label, "axis", "middle"))
    middle = TOP + inner_h / 2
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(11 {middle:.1f}) '
        f'rotate(-90)">{html.escape(y.label)}</text>'
    )
    if reference is not None:
        parts.append(_path(reference, at_x, at_y, 'class="reference"'))
    for line in lines:
        colour, dash = COLOURS[line.style % len(COLOURS)], DASHES[line.style % len(DASHES)]
        style = f'stroke="{colour}" stroke-dasharray="{dash}" class="line"'
        parts.append(_path(line, at_x, at_y, style))
    return "".join(parts) + "</svg>"


@dataclass(frozen=True)
class Span:
    """A value with its interval, for a forest plot; coloured when ``sure`` and off 0."""

    name: str
    value: float
    low: float
    high: float
    note: str
    sure: bool


def forest_plot(title: str, spans: Sequence[Span], label: str, *, width: int = 640) -> str:
    """Return values with their intervals, one below the other, about a line at 0, as SVG."""
    left, right, row = 190, 190, 20
    finite = [v for s in spans for v in (s.value, s.low, s.high) if np.isfinite(v)]
    reach = max(0.02, 1.1 * max((abs(v) for v in finite), default=0.02))
    height = 52 + row * len(spans)
    inner = width - left - right

    def at(value: float) -> float:
        return left + inner * (value / reach + 1) / 2

    parts = [_svg(width, height, title), _text(8, 14, title, "title")]
    bottom = 26 + row * len(spans)
    for tick in (-_nice(reach), 0.0, _nice(reach)):
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{at(tick):.1f} 22V{bottom}"/>')
        parts.append(_text(at(tick), bottom + 12, f"{tick:+g}" if tick else "0", "tick", "middle"))
    parts.append(_text(left + inner / 2, height - 2, label, "axis", "middle"))
    for n, span in enumerate(spans):
        y = 34 + row * n
        parts.append(_text(8, y + 4, span.name, "row"))
        if not np.isfinite(span.value):
            continue
        colour = "#666"
        if span.sure and (span.low > 0 or span.high < 0):
            colour = COLOURS[2] if span.low > 0 else COLOURS[1]
        if np.isfinite(span.low):
            ends = f"M{at(span.low):.1f} {y}H{at(span.high):.1f}"
            parts.append(f'<path d="{ends}" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<circle cx="{at(span.value):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(_text(width - right + 10, y + 4, span.note, "row"))
    return "".join(parts) + "</svg>"


def legend(names: Sequence[str]) -> str:
    """Return the models' lines with their names, as HTML."""
    parts = []
    for n, name in enumerate(names):
        colour, dash = COLOURS[n % len(COLOURS)], DASHES[n % len(DASHES)]
        parts.append(
            '<span class="key"><svg width="34" height="10" aria-hidden="true"><path d="M1 5H33" '
            f'class="line" stroke="{colour}" stroke-dasharray="{dash}"/></svg> '
            f"{html.escape(name)}</span>"
        )
    return f'<p class="legend">{"".join(parts)}</p>'


def row_picture(picture: NDArray[np.uint8], outline: Mask) -> str:
    """Return scan, reconstruction and z side by side as a PNG data address.

    The truth is outlined on the scan; z is blue where darker than expected, red where
    brighter, on the scan.
    """
    scan, reconstruction, z = picture
    grey = np.repeat(scan[..., None], 3, axis=-1).astype(np.float64)
    level = (z.astype(np.float64) - 127.5) / 127.5
    amount = np.clip((np.abs(level) - 0.25) / 0.5, 0, 1)[..., None]
    colour = np.where(level[..., None] > 0, (220.0, 50.0, 32.0), (40.0, 110.0, 255.0))
    over = grey * (1 - amount) + colour * amount
    padded = np.pad(outline, 1)
    whole = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    marked = grey.copy()
    marked[outline & ~whole] = (255, 210, 0)
    gap = np.full((scan.shape[0], 2, 3), 255.0)
    other = np.repeat(reconstruction[..., None], 3, axis=-1).astype(np.float64)
    full = np.concatenate([marked, gap, other, gap, over], axis=1)
    return png_address(np.rint(full).astype(np.uint8))


def png_address(image: NDArray[np.uint8]) -> str:
    """Return an RGB image, shape (rows, columns, 3), as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB image, shape (rows, columns, 3), as a PNG file.

    References
    ----------
    .. [1] Portable Network Graphics (PNG) Specification, ISO/IEC 15948.
    """
    rows, columns = image.shape[:2]

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    lines = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(image))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )


Place = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _path(line: Line, at_x: Place, at_y: Place, style: str) -> str:
    good = np.isfinite(line.x) & np.isfinite(line.y)
    x, y = at_x(line.x[good]), at_y(line.y[good])
    if not x.size:
        return ""
    points = [f"M{x[0]:.1f} {y[0]:.1f}"]
    for n in range(1, len(x)):
        points.append(f"H{x[n]:.1f}V{y[n]:.1f}" if line.steps else f"L{x[n]:.1f} {y[n]:.1f}")
    return f'<path {style} d="{"".join(points)}"><title>{html.escape(line.name)}</title></path>'


def _svg(width: int, height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">'
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )


def _nice(reach: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above ``reach``."""
    power = 10.0 ** np.floor(np.log10(reach))
    return float(max(f * power for f in (1, 2, 5) if f * power <= reach))
