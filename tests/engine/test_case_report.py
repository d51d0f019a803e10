"""The report of a detection: sides, scale and numbers are right, and nothing private is in it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_normative.core.place import describe_place
from napari_normative.engine.case_pictures import (
    DARKER,
    MARKED,
    Shown,
    colour_bar,
    key_image,
    overview,
)
from napari_normative.engine.case_report import (
    MOST_PICTURED,
    case_report,
    case_sections,
    save_case_report,
    words_of_p,
)
from napari_normative.engine.detection import Detection
from napari_normative.engine.planes import AXIAL, CORONAL, SAGITTAL, VIEWS, View
from napari_normative.errors import OutputError
from planted import LESION_MM, SECRETS, planted, turned


def dark_place(found: Detection, view: View) -> tuple[float, float]:
    """Row and column of the lesion in the scan's picture, in mm from the head's middle."""
    shown = Shown.of(found)
    place = np.array(found.candidates[0].centroid_mm)
    scan, healthy, _ = shown.row(view, place, 1)
    row, column = np.argwhere((scan[..., 0] < 150) & (healthy[..., 0] > 250)).mean(axis=0)
    rows, columns = shown.frame.pixel_of(view, np.array(shown.frame.middle_mm))
    return (row - rows) * shown.frame.pixel_mm, (column - columns) * shown.frame.pixel_mm


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_letters_are_those_of_the_world(view: View) -> None:
    points = Shown.of(planted()).frame.plane(view, 0.0)
    left, right, top, bottom = tuple(view.edges)
    for start, end, letters in (
        (points[0, 0], points[0, -1], left + right),
        (points[0, 0], points[-1, 0], top + bottom),
    ):
        axis = int(np.argmax(abs(end - start)))
        negative, positive = ("LR", "PA", "IS")[axis]
        falling = end[axis] < start[axis]
        assert letters == (positive + negative if falling else negative + positive)


SOME_ORDERS = ("RAS", "LAS", "LPS", "PSR", "SAL", "IRP", "ASL")


@pytest.mark.parametrize("codes", SOME_ORDERS)
def test_a_lesion_of_the_left_lies_on_the_right_of_the_picture(codes: str) -> None:
    found = planted(codes=codes)
    x, y, z = LESION_MM
    assert found.scan.orientation == codes
    assert dark_place(found, AXIAL) == pytest.approx((-y, -x), abs=4)
    assert dark_place(found, CORONAL) == pytest.approx((-z, -x), abs=4)
    assert dark_place(found, SAGITTAL) == pytest.approx((-z, -y), abs=4)


@pytest.mark.parametrize("tilt", [turned(0, 25), turned(1, -20), turned(2, 30) @ turned(0, 15)])
@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_an_oblique_scan_is_shown_in_the_world(tilt: np.ndarray, codes: str) -> None:
    found = planted(codes=codes, tilt=tilt)
    assert found.scan.tilt_deg > 10
    x, y, z = LESION_MM
    assert dark_place(found, AXIAL) == pytest.approx((-y, -x), abs=4)
    assert dark_place(found, SAGITTAL) == pytest.approx((-z, -y), abs=4)


def test_thick_slices_are_not_squashed() -> None:
    found = planted(spacing_mm=(2.0, 2.0, 10.0))
    shown = Shown.of(found)
    grey = shown.row(CORONAL, np.zeros(3), None)[0][..., 0]
    head = np.argwhere(grey > 128)
    high, wide = (np.ptp(head, axis=0) + 1) * shown.frame.pixel_mm
    assert wide == pytest.approx(140, abs=4)
    assert high == pytest.approx(120, abs=3), "the outermost planes inside lie at 55 mm"


def test_the_overlay_is_blue_on_the_lesion_and_outlined() -> None:
    found = planted()
    shown = Shown.of(found)
    place = np.array(found.candidates[0].centroid_mm)
    scan, healthy, over = shown.row(AXIAL, place, 1)
    row, column = np.rint(shown.frame.pixel_of(AXIAL, place)).astype(int)
    assert scan[row, column, 0] < 90 < 200 < healthy[row, column, 0]
    expected = 0.2 * scan[row, column] + 0.8 * np.array(DARKER)
    np.testing.assert_allclose(over[row, column], expected, atol=1)
    yellow = np.argwhere((over == MARKED).all(axis=-1)).mean(axis=0)
    assert yellow == pytest.approx((row, column), abs=3)
    assert not (scan == MARKED).all(axis=-1).any()


def test_ticks_at_the_edges_point_at_the_centroid() -> None:
    shown = Shown.of(planted())
    picture = key_image(shown, planted().candidates[0]).astype(int)
    scan = picture[22:322, :300]
    row, column = shown.frame.square().pixel_of(
        AXIAL, np.array(planted().candidates[0].centroid_mm)
    )
    assert column > 150, "left of the patient is right in the picture"
    ticks = np.argwhere((scan[:3] == MARKED).all(axis=-1))
    assert ticks[:, 1].mean() == pytest.approx(column, abs=1)
    ticks = np.argwhere((scan[:, :3] == MARKED).all(axis=-1))
    assert ticks[:, 0].mean() == pytest.approx(row, abs=1)


def test_the_scale_bar_has_its_length() -> None:
    shown = Shown.of(planted())
    picture = key_image(shown, planted().candidates[0])
    bar = (picture[22 + 300 - 7, :300] == 255).all(axis=-1)
    assert bar.sum() * shown.frame.square().pixel_mm == pytest.approx(50, abs=1.5)


def test_the_colour_bar_marks_the_threshold_where_its_z_is() -> None:
    bar = colour_bar(10.0, 5.0).astype(int)
    black = np.flatnonzero((bar[36] < 10).all(axis=-1))
    middle = (bar.shape[1] - 1) / 2
    assert np.abs(black - middle) == pytest.approx(120, abs=2), "half of 240 on either side"


def test_words_of_a_place_hold_for_any_origin() -> None:
    """Left of the scan's origin is not left of the patient where the origin is a corner."""
    found = planted(origin_mm=(-120.0, 100.0, 90.0))
    assert found.candidates[0].centroid_mm[0] == pytest.approx(-160, abs=1)
    page = case_report(found)
    words = describe_place(LESION_MM)
    near = re.findall(r"left (\d+), anterior (\d+), superior (\d+) mm", page)
    assert near, words
    for place in near:
        assert [int(v) for v in place] == pytest.approx(abs(LESION_MM), abs=3)
    assert "-160.0, 120.0, 100.0" in page


def test_every_number_is_that_of_the_detection() -> None:
    found = planted(candidates=8)
    page = case_report(found)
    for c in found.candidates:
        x, y, z = c.centroid_mm
        cells = [f"{x:.1f}, {y:.1f}, {z:.1f}", f"{c.peak_z:+.2f}", f"{c.mean_z:+.2f}"]
        cells += [f"{c.volume_mm3 / 1000:.2f}", f"{c.p:.3g}"]
        row = re.search(rf"<tr><td class=t>{c.rank}</td>.*?</tr>", page)
        assert row is not None
        for cell in cells:
            assert f">{cell}<" in row.group(), cell
    assert page.count('alt="Candidate') == MOST_PICTURED
    assert "strongest have key images, 2 not" in page
    for text in ("7.5", "0.0303", "5.7", "45 × 52 × 45", "4 × 4 × 4 mm", "RAS", "31%", "4.25"):
        assert text in page, text
    assert "at least 45%" in page
    assert "Use a model of this modality." in page
    assert "doubtful" in page


def test_nothing_private_and_nothing_from_outside() -> None:
    found = planted()
    header = nib.Nifti1Image(found.scan.data, found.scan.affine).header
    header["descrip"] = SECRETS[0].encode()
    path = Path("/home") / SECRETS[2] / f"{SECRETS[1]}.nii.gz"
    source = dataclasses.replace(found.scan.source, header=header, path=path)
    scan = dataclasses.replace(found.scan, source=source)
    found = dataclasses.replace(found, scan=scan)
    page = case_report(found, notes=["Threshold changed to <4.2>."])
    for secret in (*SECRETS, "/home", ".nii", "jane"):
        assert secret.lower() not in re.sub(r'"data:[^"]*"', "", page).lower(), secret
    assert found.scan.source.digest[:12] in page
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^"\s>)]{5})', page)
    assert sources
    assert set(sources) == {"data:"}
    assert "http" not in re.sub(r'"data:[^"]*"', "", page)
    assert "<script" not in page
    assert "&lt;4.2&gt;" in page
    assert "Tiny &lt;brain&gt;" in page
    assert page.index("Research use only, not for diagnosis.") < page.index("<h1>")
    assert "My name" in case_report(found, name="My name")


def test_a_scan_without_candidates_has_no_pictures_of_any() -> None:
    found = dataclasses.replace(planted(), candidates=())
    titles = [s.title for s in case_sections(found)]
    assert "Overview" in titles
    assert not [t for t in titles if t.startswith("Candidate ")]
    assert "no proof of health" in case_report(found)


def test_the_overview_goes_from_below_to_above() -> None:
    """A cone: wide below, narrow above."""
    found = planted()
    index = np.indices(found.scan.shape)
    z = (index[2] - 22) * 4.0
    x, y = (index[0] - 22) * 4.0, (index[1] - 26) * 4.0
    cone = x**2 + y**2 < (40 - z / 2) ** 2
    scan = found.scan.with_data(np.where(cone & (abs(z) < 70), 100.0, 0.0))
    mask = scan.data > 0
    blank = found.scan.with_data(np.zeros(scan.shape))
    found = dataclasses.replace(
        found, scan=scan, mask=mask, anomaly_z=blank, candidate_labels=blank, candidates=()
    )
    picture = overview(Shown.of(found, 200))
    tall, wide = (picture.shape[0] - 22) // 3, picture.shape[1] // 4
    areas = [
        (picture[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide, 0] > 150).sum()
        for r in range(3)
        for c in range(4)
    ]
    assert areas[0] > 1.5 * areas[5] > 2 * areas[10]


def test_a_lower_threshold_is_said_and_makes_no_colour_stronger() -> None:
    found = planted()
    own = {**found.provenance, "parameters": {"threshold_z": 5.7}}
    calm = found.scan.with_data(found.anomaly_z.data * 0.1)
    found = dataclasses.replace(found, provenance=own, anomaly_z=calm, threshold_z=3.5)
    assert Shown.of(found).limit_z == 5.7
    page = case_report(found)
    assert "3.5 (the model's own is 5.7)" in page
    assert "full colour at |z| = 5.7" in page
    assert "calibrated at |z| &gt; 5.7 and do not hold at 3.5" in page
    assert "do not hold" not in case_report(planted())


@pytest.mark.parametrize(
    ("p", "words"),
    [(0.0303, "about 3 in 100"), (0.515, "about 52 in 100"), (0.004, "fewer than 1 in 100")],
)
def test_p_in_words(p: float, words: str) -> None:
    assert words_of_p(p).startswith(words)


def test_the_file_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = save_case_report(planted(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OutputError, match=r"OUT-016.*\.html"):
        save_case_report(planted(), tmp_path / "report.txt")
