"""What a model was told of a person, in a saved session."""

from __future__ import annotations

import json

import pytest
from napari.components import ViewerModel

import napari_normative as nn
from aged import made_cohort, made_model, write_scan
from napari_normative.errors import ModelFileError


def test_a_saved_session_tells_the_model_again(tiny_preset, tmp_path):
    cohort = made_cohort(tiny_preset)
    path, scan = made_model(cohort, tiny_preset, tmp_path), write_scan(cohort, 5, tmp_path)
    with nn.open_session(viewer=ViewerModel()) as session:
        with pytest.raises(ModelFileError, match="MOD-070"):
            session.detect(scan, model=path, given={"site": "IXI"}, device="cpu")
        session.detect(scan, given={"age": 60}, device="cpu")
        session.sample(1, given={"sex": "F"}, device="cpu")
        file = session.save(tmp_path / "told.session.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["detections"][0]["given"] == {"age": 60.0}
    assert record["draw"]["given"] == {"sex": "F"}
    with nn.open_session(file, viewer=ViewerModel()) as session:
        assert session.detection.provenance["given"] == {"age": 60.0}
        assert [run.equal for run in session.reopened.runs] == [True, True]
