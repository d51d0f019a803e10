"""Model files: what is damaged, foreign or changed is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.errors import ModelFileError, OutputError
from napari_normative.io.checkpoint import (
    load_model_file,
    newest_checkpoint,
    pack,
    save_checkpoint,
    save_model_file,
    unpack,
)

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int32)}


def test_what_is_packed_comes_back() -> None:
    tensors, text, digest = unpack(pack(TENSORS, '{"x": 1}'), "m")
    assert text == '{"x": 1}'
    assert len(digest) == 64
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array)
        assert tensors[name].dtype == array.dtype


def test_equal_content_gives_equal_bytes_in_any_order() -> None:
    assert pack(TENSORS, "{}") == pack(dict(reversed(TENSORS.items())), "{}")


def test_every_flipped_bit_of_a_file_is_noticed_or_harmless() -> None:
    data = pack(TENSORS, '{"x": 1}')
    silent = 0
    for position in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            try:
                tensors, text, _ = unpack(bytes(broken), "m")
            except ModelFileError:
                continue
            same = text == '{"x": 1}' and tensors.keys() == TENSORS.keys()
            silent += not (same and all(np.array_equal(tensors[k], v) for k, v in TENSORS.items()))
    assert silent == 0


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_model_is_refused(tiny_model_path: Path, tmp_path: Path, share: float) -> None:
    data = tiny_model_path.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFileError, match=r"MOD-00[12].*cut\.safetensors"):
        load_model(path)


def test_200_flipped_bits_of_a_real_model_are_refused(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    data = tiny_model_path.read_bytes()
    path = tmp_path / "flipped.safetensors"
    random = np.random.default_rng(0)
    for position in random.integers(0, len(data), 200):
        broken = bytearray(data)
        broken[position] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        with pytest.raises(ModelFileError):
            load_model_file(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelFileError, match="MOD-001"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


def test_somebody_elses_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"weight": np.zeros(3, np.float32)}, {"format": "pt"}))
    with pytest.raises(ModelFileError, match="MOD-001"):
        load_model(path)


def test_a_missing_model_names_what_there_is() -> None:
    with pytest.raises(ModelFileError, match=r"MOD-004.*brain-t9.*Packaged models"):
        load_model("brain-t9")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "napari-normative-model/99"}, "format"),
        ({"colour": "blue"}, "colour"),
        ({"network": {"kind": "vae", "shape": [8, 8, 8], "depth": 3}}, "network"),
        ({"network": {"kind": "oracle", "shape": [8, 8, 8]}}, "network"),
        ({"score": None}, "score"),
    ],
)
def test_a_card_that_is_not_understood_is_refused(
    tiny_model_path: Path, tmp_path: Path, change: dict[str, object], why: str
) -> None:
    card, tensors, _ = load_model_file(tiny_model_path)
    text = json.dumps({**json.loads(card.model_dump_json()), **change})
    path = tmp_path / "odd.safetensors"
    path.write_bytes(pack(tensors, text))  # undamaged: the digest is right
    with pytest.raises(ModelFileError, match=f"MOD-003.*{why}"):
        load_model(path)


def test_tensors_that_do_not_fit_the_card_are_refused(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    card, tensors, _ = load_model_file(tiny_model_path)
    tensors["template.image"] = tensors["template.image"][:-1]
    path = tmp_path / "odd.safetensors"
    path.write_bytes(pack(tensors, card.model_dump_json()))
    with pytest.raises(ModelFileError, match=r"MOD-006.*template\.image"):
        load_model(path)


def test_weights_that_do_not_fit_the_card_are_refused(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    card, tensors, _ = load_model_file(tiny_model_path)
    name = next(n for n in tensors if n.startswith("network.decoder"))
    path = tmp_path / "odd.safetensors"
    path.write_bytes(pack({n: a for n, a in tensors.items() if n != name}, card.model_dump_json()))
    with pytest.raises(ModelFileError, match=r"MOD-006.*weights"):
        load_model(path).network("cpu")


def test_nan_is_neither_saved_nor_loaded(tiny_model_path: Path, tmp_path: Path) -> None:
    card, tensors, _ = load_model_file(tiny_model_path)
    tensors["latent.mean"] = tensors["latent.mean"] * np.nan
    path = tmp_path / "nan.safetensors"
    with pytest.raises(ModelFileError, match=r"MOD-005.*latent\.mean"):
        save_model_file(path, card, tensors)
    assert not path.exists()
    path.write_bytes(pack(tensors, card.model_dump_json()))
    with pytest.raises(ModelFileError, match="MOD-005"):
        load_model(path)


def test_a_saved_model_is_the_same_model(tiny_model_path: Path, tmp_path: Path) -> None:
    model = load_model(tiny_model_path)
    again = NormativeModel.load(model.save(tmp_path / "copy.safetensors"))
    assert again.digest == model.digest
    assert again.card == model.card
    np.testing.assert_array_equal(again.sample(1)[0].data, model.sample(1)[0].data)


def test_a_failed_write_leaves_the_old_model(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    model = load_model(tiny_model_path)
    model.save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_last_three_checkpoints_stay_and_damage_falls_back(tmp_path: Path) -> None:
    for step in range(5):
        save_checkpoint(tmp_path, step, {"x": np.full(3, step, np.float32)}, {"step": step})
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == [f"step-0000000{n}.safetensors" for n in (2, 3, 4)]
    newest = bytearray(files[-1].read_bytes())
    newest[-1] ^= 1
    files[-1].write_bytes(newest)
    files[-2].write_bytes(files[-2].read_bytes()[:50])
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == {"step": 2}
    files[0].unlink()
    assert newest_checkpoint(tmp_path) is None
