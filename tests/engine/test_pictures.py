"""Pictures and plots of a report: the sides are right, the values are where the axes say."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_normative.engine.pictures import (
    Axis,
    Line,
    Span,
    forest_plot,
    line_plot,
    png_address,
    row_picture,
)

SVG = "{http://www.w3.org/2000/svg}"


def decoded(address: str) -> np.ndarray:
    from PIL import Image

    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_a_png_holds_exactly_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(png_address(image)), image)


def test_the_map_is_blue_where_darker_and_red_where_brighter() -> None:
    picture = np.full((3, 8, 8), 100, np.uint8)
    picture[2] = 128
    picture[2, 1, 1], picture[2, 6, 6] = 0, 255
    outline = np.zeros((8, 8), bool)
    outline[2:6, 2:6] = True
    image = decoded(row_picture(picture, outline)).astype(int)
    assert image.shape == (8, 3 * 8 + 4, 3)
    z = image[:, 20:]
    red, _, blue = z[1, 1]
    assert blue > red + 100
    red, _, blue = z[6, 6]
    assert red > blue + 100
    assert (z[3, 3] == 100).all(), "where z is ordinary the scan shows"
    assert (image[2, 2] == (255, 210, 0)).all()
    assert (image[3, 3] == 100).all(), "inside the outline the scan shows"


def points(svg: str) -> list[tuple[float, float]]:
    (path,) = [
        p for p in ElementTree.fromstring(svg).iter(f"{SVG}path") if p.get("class") == "line"
    ]
    pairs = path.get("d", "").replace("M", "L").strip("L").split("L")
    return [(float(a), float(b)) for a, b in (pair.split() for pair in pairs)]


def test_points_lie_where_the_axes_put_them() -> None:
    line = Line("a", np.array([0.0, 5.0, np.nan, 10.0]), np.array([0.0, 1.0, 3.0, 2.0]), 0)
    axes = Axis("x", 0, 10, (0, 10)), Axis("y", 0, 2, (0, 2))
    (x0, y0), (x1, y1), (x2, y2) = points(line_plot("t", [line], *axes))
    assert x1 == pytest.approx((x0 + x2) / 2)
    assert y1 == pytest.approx((y0 + y2) / 2)
    assert y2 < y0, "more is higher"


def test_a_logarithmic_axis_gives_every_power_the_same_room() -> None:
    line = Line("a", np.array([0.01, 0.1, 1.0]), np.ones(3), 0)
    x = Axis("x", 0.01, 1, (0.01, 1), logarithmic=True)
    (a, _), (b, _), (c, _) = points(line_plot("t", [line], x, Axis("y", 0, 2, (0,))))
    assert b - a == pytest.approx(c - b, abs=0.11)


def test_names_cannot_break_out_of_a_drawing() -> None:
    name = '<script>"&'
    line = Line(name, np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0)
    unit = Axis(name, 0, 1, (0, 1))
    span = Span(name, 0.1, -0.1, 0.3, name, sure=True)
    for svg in (line_plot(name, [line], unit, unit), forest_plot(name, [span], name)):
        assert "<script" not in svg
        ElementTree.fromstring(svg)


def test_only_a_sure_interval_off_zero_has_a_colour() -> None:
    def colours(span: Span) -> set[str | None]:
        root = ElementTree.fromstring(forest_plot("t", [span], "d"))
        return {circle.get("fill") for circle in root.iter(f"{SVG}circle")}

    better = Span("s", 0.2, 0.1, 0.3, "", sure=True)
    worse = Span("s", -0.2, -0.3, -0.1, "", sure=True)
    open_ = Span("s", 0.1, -0.1, 0.3, "", sure=True)
    few = Span("s", 0.2, 0.1, 0.3, "", sure=False)
    assert colours(open_) == colours(few) == {"#666"}
    assert len(colours(better) | colours(worse) | colours(open_)) == 3
