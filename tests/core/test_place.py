"""World positions in words."""

from __future__ import annotations

import pytest

from napari_normative.core.place import describe_place


@pytest.mark.parametrize(
    ("world_mm", "words"),
    [
        ((-40.2, 3.4, 12.0), "left 40, anterior 3, superior 12 mm"),
        ((40.2, -3.4, -12.0), "right 40, posterior 3, inferior 12 mm"),
        ((-0.4, -0.4, -0.4), "right 0, anterior 0, superior 0 mm"),
    ],
)
def test_a_position_is_told_by_patient_sides(world_mm, words):
    assert describe_place(world_mm) == words
