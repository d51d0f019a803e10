"""Weights of other programs, as safetensors: no file of theirs is unpickled."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from napari_normative.errors import ModelFileError
from napari_normative.io.checkpoint import Tensors

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


def read_weights(path: str | Path) -> tuple[Tensors, str]:
    """Return the tensors of a safetensors file in single precision, and its SHA-256.

    Raises
    ------
    ModelFileError
        ``MOD-033`` a pickle, ``MOD-034`` unreadable or no safetensors, ``MOD-035`` NaN or infinity.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if path.suffix.lower() in PICKLES or data[:4] == b"PK\x03\x04":
        raise ModelFileError(
            "MOD-033",
            "weights that were saved with torch.save are a pickle, which can run code when opened",
            "Where you trust the file, convert it yourself to .safetensors: three lines under "
            "'Import weights of MONAI' in the documentation.",
            subject=path.name,
        )
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found = load(data)
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise _unreadable(path, "it is damaged, or no safetensors file") from error
    tensors: Tensors = {name: value.float().numpy() for name, value in found.items()}
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ModelFileError(
                "MOD-035",
                f"the weight {name} holds NaN or infinity",
                "Use weights of an earlier step of that training.",
                subject=path.name,
            )
    return tensors, hashlib.sha256(data).hexdigest()


def _unreadable(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        "MOD-034",
        f"the weights cannot be read ({why})",
        "Pass a .safetensors file with the state dict of the network.",
        subject=path.name,
    )
