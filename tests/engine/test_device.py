"""Which device computes, and what happens when it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_normative.core.vae import VAE
from napari_normative.engine import infer
from napari_normative.engine.device import DeviceChoice, choose_device, list_devices
from napari_normative.engine.model import load_model
from napari_normative.errors import DeviceError
from phantoms import phantom


def test_auto_always_finds_a_device_and_gives_a_reason() -> None:
    choice = choose_device("auto")
    assert choice.device in list_devices()
    assert choice.reason


def test_cpu_is_taken_when_asked_for() -> None:
    assert choose_device("CPU").device == "cpu"


@pytest.mark.parametrize("name", ["gpu0", "cuda:x", "tpu", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=r"DEV-001.*auto, cpu, cuda:0"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    missing = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=r"DEV-002.*--device auto"):
        choose_device(f"cuda:{missing}")


@pytest.mark.parametrize(
    ("fault", "said"),
    [(torch.OutOfMemoryError("full"), "ran out of memory"), (NotImplementedError("op"), "lacks")],
)
def test_when_the_gpu_cannot_the_cpu_does_it_and_says_so(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    """A GPU is imitated: the first pass through the network fails as a full GPU fails."""
    model, scan = load_model(tiny_model_path), phantom(7)
    wanted = model.detect(scan, device="cpu").anomaly_z.data
    honest, calls = VAE.encode, []

    def failing(self: VAE, x: torch.Tensor) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise fault
        return honest(self, x)

    monkeypatch.setattr(VAE, "encode", failing)
    monkeypatch.setattr(model, "network", lambda name: load_model(tiny_model_path).network("cpu"))
    monkeypatch.setattr(infer, "choose_device", lambda name: DeviceChoice("cuda:0", "imitated"))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: self)
    found = model.detect(scan, device="cuda:0")
    assert any(said in warning and "CPU" in warning for warning in found.warnings)
    assert found.provenance["device"] == "cpu"
    np.testing.assert_allclose(found.anomaly_z.data, wanted, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_map_of_the_cpu(tiny_model_path: Path) -> None:
    model, scan = load_model(tiny_model_path), phantom(7, lesion_ml=14)
    cpu, gpu = (model.detect(scan, device=d).anomaly_z.data for d in ("cpu", "cuda:0"))
    np.testing.assert_allclose(gpu, cpu, atol=0.05)
