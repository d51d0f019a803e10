"""A model in other programs: the same answers, and what has to travel with them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_normative.engine import graphs
from napari_normative.engine.export import export
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.errors import ExportError, OutputError
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    """Dense, with a linear branch and a local level, like the shipped one."""
    made = load_model(tiny_model_path)
    assert made.network("cpu").local is not None
    return made


@pytest.fixture(scope="module")
def baseline(tiny_model_path: Path):
    folder = tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines"
    return lambda kind: load_model(folder / f"{kind}.safetensors")


@pytest.fixture(scope="module")
def scan(model: NormativeModel) -> np.ndarray:
    """A patient on the model's grid, (1, 1, I, J, K)."""
    return model.prepare(phantom(7, lesion_ml=20)).data[None, None]


def reconstruction(model: NormativeModel, scan: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.network("cpu").reconstruct(torch.from_numpy(scan)).numpy()


def names_of_this_machine(content: bytes) -> set[bytes]:
    return set(re.findall(rb"/(?:root|home|work|tmp|usr)/[\w./-]{3,}", content))


@pytest.fixture(scope="module")
def pca(baseline) -> NormativeModel:
    """The quickest to trace; the shipped model goes through ONNX in the slow part."""
    return baseline("pca")


@pytest.fixture(scope="module")
def onnx_folder(pca: NormativeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    pca.export(folder, "onnx")
    return folder


def test_onnx_encodes_decodes_and_reconstructs_as_the_model_does(
    onnx_folder: Path, pca: NormativeModel, scan: np.ndarray
) -> None:
    import onnxruntime

    def ask(name: str, **inputs: np.ndarray) -> list[np.ndarray]:
        return onnxruntime.InferenceSession(onnx_folder / f"{name}.onnx").run(None, inputs)

    three = np.concatenate([scan, 0.9 * scan, pca.template.image[None, None]])
    (made,) = ask("reconstruct", volume=three)
    assert np.abs(made - reconstruction(pca, three)).max() < 1e-4
    mean, log_variance = ask("encode", volume=scan)
    encoded = pca.encode(phantom(7, lesion_ml=20))
    assert np.abs(mean[0] - encoded.mean).max() < 1e-3
    assert np.exp(log_variance[0]) == pytest.approx(encoded.variance, rel=1e-3)
    (decoded,) = ask("decode", latent=mean)
    inside = pca.template.mask
    assert np.abs(decoded[0, 0] - pca.decode(encoded.mean).data)[inside].max() < 1e-3


def test_the_record_says_what_it_is_and_how_it_was_compared(
    onnx_folder: Path, pca: NormativeModel
) -> None:
    record = json.loads((onnx_folder / "export.json").read_text())
    assert record["model"]["sha256"] == pca.digest
    assert record["grid"]["shape"] == list(pca.card.preprocess.shape)
    assert record["input"]["reference"] == list(pca.card.preprocess.reference)
    assert record["license"] == pca.card.license
    assert record["credit"] == pca.card.credit
    assert record["intended_use"].startswith("Research use only, not for diagnosis.")
    assert record["opset"] == 18
    assert list(record["functions"]) == ["encode", "decode", "reconstruct"]
    apart = record["functions"]["reconstruct"]["largest_difference"]["reconstruction"]
    assert 0 < apart <= 1e-4
    example = nib.load(onnx_folder / "template.nii.gz")
    assert np.allclose(example.affine, pca.card.preprocess.grid.affine)


def test_a_file_on_its_own_still_names_model_and_licence(
    onnx_folder: Path, pca: NormativeModel
) -> None:
    import onnx

    found = onnx.load(onnx_folder / "encode.onnx")
    about = {prop.key: prop.value for prop in found.metadata_props}
    assert about["model_sha256"] == pca.digest
    assert about["license"] == pca.card.license
    assert about["notice"] == "Research use only, not for diagnosis."
    assert {opset.version for opset in found.opset_import if not opset.domain} == {18}
    assert found.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert names_of_this_machine((onnx_folder / "encode.onnx").read_bytes()) == set()


@pytest.fixture(scope="module")
def bundle(model: NormativeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    model.export(folder, "monai")
    return folder


def test_a_bundle_runs_through_monai_on_a_prepared_scan(
    bundle: Path, model: NormativeModel, scan: np.ndarray, tmp_path: Path
) -> None:
    from monai.bundle import run

    write_volume(tmp_path / "in" / "patient.nii.gz", model.prepare(phantom(7, lesion_ml=20)))
    run(
        run_id="run",
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
    )
    made = nib.load(tmp_path / "out" / "patient_reconstruction.nii.gz")
    assert np.allclose(made.affine, model.card.preprocess.grid.affine)
    apart = made.get_fdata() - reconstruction(model, scan)[0, 0]
    assert np.abs(apart).max() < 1e-4


def test_monai_loads_the_network_of_a_bundle_with_its_weights(
    bundle: Path, model: NormativeModel, scan: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import monai

    monkeypatch.chdir(bundle)  # its paths begin at its own folder
    network = monai.bundle.load(
        bundle.name, bundle_dir=bundle.parent, workflow_type="inference", device="cpu"
    )
    with torch.inference_mode():
        made = network(torch.from_numpy(scan)).numpy()
    assert np.abs(made - reconstruction(model, scan)).max() < 1e-4
    weights = torch.load("models/model.pt", weights_only=True)
    assert network.state_dict().keys() <= weights.keys()


def test_the_metadata_of_a_bundle_have_what_monais_schema_asks_for(
    bundle: Path, model: NormativeModel
) -> None:
    """The keys of meta_schema_20240725, which the metadata name; it is fetched by MONAI."""
    found = json.loads((bundle / "configs" / "metadata.json").read_text())
    texts = (
        "schema", "version", "monai_version", "pytorch_version", "numpy_version", "task",
        "description", "authors", "copyright", "intended_use", "data_source", "license",
    )  # fmt: skip
    assert [key for key in texts if not isinstance(found[key], str)] == []
    assert found["required_packages_version"].keys() == {"nibabel"}
    form = found["network_data_format"]
    for tensor in (form["inputs"]["image"], form["outputs"]["pred"]):
        assert (tensor["type"], tensor["format"]) == ("image", "magnitude")
        assert (tensor["num_channels"], tensor["dtype"]) == (1, "float32")
        assert tensor["spatial_shape"] == list(model.card.preprocess.shape)
        assert tensor["value_range"] == []
    assert model.card.credit in found["authors"]
    assert found["normative_model"]["model"]["sha256"] == model.digest
    assert "not for diagnosis" in found["intended_use"]


def test_a_bundle_needs_nothing_of_this_package(bundle: Path) -> None:
    assert "napari" not in (bundle / "configs" / "inference.json").read_text()
    with zipfile.ZipFile(bundle / "models" / "model.pt2") as packed:
        content = b"".join(packed.read(name) for name in packed.namelist())
    assert b"napari_normative/" not in content
    assert names_of_this_machine(content) == set()


def test_principal_components_come_back_from_torch_export(
    pca: NormativeModel, scan: np.ndarray, tmp_path: Path
) -> None:
    record = pca.export(tmp_path / "pca", "torch")
    assert record["model"]["network"] == "pca"
    again = torch.export.load(tmp_path / "pca" / "reconstruct.pt2").module()
    made = again(torch.from_numpy(scan)).numpy()
    assert np.abs(made - reconstruction(pca, scan)).max() < 1e-4


@pytest.mark.parametrize("kind", ["atlas", "threshold"])
def test_a_baseline_that_gives_one_volume_for_all_is_refused(
    baseline, kind: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=rf"EXP-003.*{kind}.*model\.decode"):
        baseline(kind).export(tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_answers_otherwise_is_never_given_away(
    pca: NormativeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight is changed on the way to the file."""
    whole = torch.export.save

    def damaged(program, path, **more):
        program.state_dict["network.scale"] = program.state_dict["network.scale"] * 1.01
        whole(program, path, **more)

    monkeypatch.setattr(torch.export, "save", damaged)
    with pytest.raises(ExportError, match=r"EXP-002.*differs from the model by"):
        export(pca, tmp_path / "out", "torch")
    assert list(tmp_path.iterdir()) == []


def test_answers_that_are_no_numbers_or_of_another_shape_differ() -> None:
    trials = torch.rand(2, 3)
    graph = graphs.Graph("decode", torch.nn.Identity(), None, trials)
    assert graph.compare(lambda x: (x + 5e-5,), "itself")["decoded"] == pytest.approx(5e-5, rel=0.1)
    for wrong in (lambda x: (x * torch.nan,), lambda x: (x[:, :2],), lambda x: (x + 2e-4,)):
        with pytest.raises(ExportError, match="EXP-002"):
            graph.compare(wrong, "somewhere")
    large = dataclasses.replace(graph, trials=100 * (trials + 1))  # relative above 1
    assert large.compare(lambda x: (x * (1 + 5e-5),), "itself")["decoded"] < 1e-4


def test_other_files_are_not_overwritten(model: NormativeModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="OUT-010"):
        export(model, tmp_path, "monai")
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_missing_package_is_said_with_the_remedy() -> None:
    told = pytest.raises(ExportError, match=r"EXP-001.*nowhere.*napari-normative\[export\]")
    with told, graphs.installed("nowhere"):
        importlib.import_module("nowhere")


def test_an_unknown_format_is_refused(model: NormativeModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"EXP-005.*onnx, torch, monai"):
        export(model, tmp_path / "out", "keras")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch", "monai"])
def test_the_shipped_model_is_the_same_everywhere(tmp_path: Path, format: str) -> None:
    record = load_model("brain-t1").export(tmp_path / format, format)
    apart = record["functions"]["reconstruct"]["largest_difference"]["reconstruction"]
    assert apart < 2e-5
