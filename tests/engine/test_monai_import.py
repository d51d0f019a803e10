"""MONAI's AutoencoderKL as a normative model: its own numbers, calibrated by this program."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from napari_normative.cli import app
from napari_normative.core.config import AutoencoderConfig
from napari_normative.engine import graphs
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.monai_import import (
    import_autoencoder,
    read_network,
    with_weights,
)
from napari_normative.engine.presets import Preset
from napari_normative.errors import ModelFileError, TrainingError
from napari_normative.io.weights import read_weights
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)

NETWORK = {
    "_target_": "monai.networks.nets.AutoencoderKL",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [8, 16],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "latent_channels": 2,
    "norm_num_groups": 4,
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
SHAPE = (20, 24, 20)
SCALE = 0.5


def build():
    from monai.networks.nets import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(**{k: v for k, v in NETWORK.items() if k != "_target_"})


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tiny_model_path: Path):
    """MONAI's network after a few steps on healthy phantoms, by MONAI and torch alone."""
    model, net = load_model(tiny_model_path), build()
    images = torch.from_numpy(np.stack([model.prepare(phantom(100 + n)).data for n in range(8)]))
    images = SCALE * images[:, None]
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for step in range(30):
        batch = images[step % 2 :: 2]
        made, mean, sigma = net(batch)
        kl = 0.5 * (mean**2 + sigma**2 - 1 - 2 * torch.log(sigma)).mean()
        loss = ((made - batch) ** 2).mean() + 1e-3 * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("monai")
    save_file(trained.state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors", write_json(folder / "network.json", NETWORK)


@pytest.fixture(scope="module")
def imported(
    files: tuple[Path, Path],
    tiny_model_path: Path,
    tiny_preset: Preset,
    phantom_cohort: Path,
    phantom_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("imported") / "monai.safetensors"
    work = out.with_name(out.name + ".work")
    # The same scans on the same grid: what was aligned for the tiny model need not be again.
    shutil.copytree(tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared",
                    work / "prepared")  # fmt: skip
    import_autoencoder(
        *files, phantom_cohort, out, preset=tiny_preset, template=phantom_template, scale=SCALE,
        device="cpu", license_text="CC0", credit="phantoms",
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def model(imported: Path) -> NormativeModel:
    return load_model(imported)


def test_it_reconstructs_what_monais_own_module_does(model: NormativeModel, trained) -> None:
    """After writing, reading and scaling."""
    scan = model.prepare(phantom(7)).data[None, None]
    with torch.inference_mode():
        mean, sigma = trained.encode(SCALE * torch.from_numpy(scan))
        wanted = trained.decode(mean) / SCALE
        latent = model.network("cpu").encode(torch.from_numpy(scan))
        made = model.network("cpu").reconstruct(torch.from_numpy(scan))
    assert float((made - wanted).abs().max()) < 1e-4
    assert float((latent.mean - mean).abs().max()) < 1e-4
    assert float((torch.exp(0.5 * latent.log_variance) - sigma).abs().max()) < 1e-4


def test_it_detects_encodes_decodes_and_samples(model: NormativeModel) -> None:
    scan = phantom(7, lesion_ml=20)
    found = model.detect(scan, samples=1)
    assert found.anomaly_z.same_grid(scan)
    assert found.provenance["model"]["sha256"] == model.digest
    assert found.anomaly_z.data[found.mask].std() > 0.5
    encoded = model.encode(scan)
    assert encoded.mean.shape == (2, 10, 12, 10)
    assert model.decode(encoded.mean).shape == SHAPE
    (sample,) = model.sample(1, seed=3)
    assert sample.source.warnings == ("Synthetic.",)
    again = model.posterior_samples(scan, 1, temperature=0)[0]
    assert np.abs(again.data - found.reconstruction.data).max() < 1e-2


def test_the_card_says_where_it_comes_from(model: NormativeModel, files: tuple[Path, Path]) -> None:
    card = model.card
    assert isinstance(card.network, AutoencoderConfig)
    assert card.network.widths == (8, 16)
    assert card.network.scale == SCALE
    assert card.network.weights_sha256 == read_weights(files[0])[1]
    assert card.training.steps == 0
    assert "monai" in card.training.versions
    assert card.objective is None
    assert "trained elsewhere" in card.limits
    assert card.calibration.people >= 4
    assert {row.against for row in card.comparison} >= {"pca", "atlas"}
    assert "simple baseline (" not in card.verdict()
    assert model.people is None  # latents of a place are not those of a person


def test_its_weights_are_not_rounded(imported: Path, trained) -> None:
    network = load_model(imported).network("cpu").net
    for name, value in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_it_can_be_exported_in_turn(model: NormativeModel, tmp_path: Path) -> None:
    (graph,) = graphs.trace(model, "decode")
    apart = graphs.write_torch(graph, tmp_path / "decode.pt2", graphs.about(model))
    assert apart["decoded"] < 1e-4
    assert graph.record("decode.pt2", apart)["inputs"]["latent"] == ["batch", 2, 10, 12, 10]


def test_defaults_are_monais() -> None:
    from monai.networks.nets import AutoencoderKL

    monais = {k: p.default for k, p in inspect.signature(AutoencoderKL).parameters.items()}
    own = {k: f.default for k, f in AutoencoderConfig.model_fields.items()}
    own["channels"] = own.pop("widths")
    shared = set(monais) & set(own)
    assert len(shared) == 11
    assert {k: own[k] for k in shared} == {k: monais[k] for k in shared}


def test_a_configuration_may_lie_in_a_bundle(tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", {"lr": 1e-4, "autoencoder_def": NETWORK})
    config = read_network(path, SHAPE, 1.0, "")
    assert config.num_res_blocks == (1, 1)
    assert config.stride == 2


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"_target_": "monai.networks.nets.VQVAE"}, "MOD-031", "VQVAE"),
        ({"_target_": None}, "MOD-031", "None"),
        ({"spatial_dims": 2}, "MOD-032", "spatial_dims is 2"),
        ({"in_channels": 4}, "MOD-032", "in_channels is 4"),
        ({"latent_channels": "$__import__('os').system('true')"}, "MOD-032", "expression"),
        ({"channels": ["@width", 16]}, "MOD-032", "channels is an expression"),
        ({"norm_num_groups": 5}, "MOD-032", "multiples of norm_num_groups"),
        ({"attention_levels": [False]}, "MOD-032", "differ in length"),
        ({"colour": "blue"}, "MOD-032", "colour"),
        ({"channels": [8] * 4, "attention_levels": [False] * 4}, "MOD-032", "stride 8"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], code: str, named: str
) -> None:
    path = write_json(tmp_path / "network.json", {**NETWORK, **change})
    with pytest.raises(ModelFileError) as told:
        read_network(path, SHAPE, 1.0, "")
    assert told.value.code == code
    assert named in told.value.what


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}"])
def test_a_file_without_a_network_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "network.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"MOD-031"):
        read_network(tmp_path / "network.json", SHAPE, 1.0, "")


class Bomb:
    """Leaves a trace if somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "ran"
    torch.save({"a": Bomb(trace)}, tmp_path / name)
    with pytest.raises(ModelFileError, match=r"MOD-033.*convert it yourself to \.safetensors"):
        read_weights(tmp_path / name)
    assert not trace.exists()


def test_weights_that_are_damaged_or_not_finite_are_refused(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    content = files[0].read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match=r"MOD-034.*short\.safetensors"):
        read_weights(tmp_path / "short.safetensors")
    with pytest.raises(ModelFileError, match=r"MOD-034.*absent\.safetensors"):
        read_weights(tmp_path / "absent.safetensors")
    save_file({"a": torch.tensor([1.0, torch.nan])}, tmp_path / "nan.safetensors")
    with pytest.raises(ModelFileError, match=r"MOD-035.*weight a"):
        read_weights(tmp_path / "nan.safetensors")


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    for kind in (torch.float16, torch.bfloat16):
        save_file({"a": torch.tensor([1.5, -2.0]).to(kind)}, tmp_path / "half.safetensors")
        assert read_weights(tmp_path / "half.safetensors")[0]["a"].tolist() == [1.5, -2.0]


def test_weights_of_another_network_are_named(files: tuple[Path, Path]) -> None:
    config = read_network(files[1], SHAPE, 1.0, "")
    tensors, _ = read_weights(files[0])
    key = "encoder.blocks.0.conv.weight"
    renamed = {f"module.{k}" if k == key else k: v for k, v in tensors.items()}
    with pytest.raises(ModelFileError) as told:
        with_weights(config, renamed, "w.safetensors")
    assert told.value.code == "MOD-036"
    assert f"1 missing ({key}); 1 unexpected (module.{key})" in told.value.what
    reshaped = {**tensors, key: tensors[key][:4]}
    with pytest.raises(ModelFileError) as told:
        with_weights(config, reshaped, "w.safetensors")
    assert told.value.code == "MOD-037"
    assert f"1 weights are of another shape: {key} (4, 1, 3, 3, 3), wanted (8, 1, 3, 3, 3)" in (
        told.value.what
    )


def test_nothing_is_read_before_the_name_of_the_model_fits(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"TRN-002"):
        import_autoencoder("w", "n", "c", tmp_path / "model.pt")


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path, files: tuple[Path, Path]) -> None:
    arguments = ["import-monai", str(files[0]), "--config", str(files[1]), "--cohort"]
    arguments += [str(tmp_path), "--out", str(tmp_path / "m.safetensors"), "--quiet"]
    # The preset's grid of 48 x 64 x 48 fits; the cohort is an empty folder.
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("[COH-001]")
    assert "Traceback" not in result.stderr
