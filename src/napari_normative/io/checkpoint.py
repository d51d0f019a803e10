"""Model files and training checkpoints: safetensors, one JSON string, one SHA-256.

Nothing is unpickled. A file is read whole, its digest is compared before any value is
used, and only then are names, shapes and finiteness checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from napari_normative.core.card import FORMAT, ModelCard
from napari_normative.errors import ModelFileError, TrainingError
from napari_normative.io.atomic import replace_files

Tensors = dict[str, NDArray[np.generic]]

LARGEST_HEADER = 50_000_000


def pack(tensors: Mapping[str, NDArray[np.generic]], text: str) -> bytes:
    """Return a safetensors file with ``text`` and a digest over it and all tensors."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    data = save_tensors(ordered, {"json": text, "sha256": _digest(ordered, text)})
    # The library writes metadata in any order: sorted, so that equal content is equal bytes.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def unpack(data: bytes, subject: str) -> tuple[Tensors, str, str]:
    """Return tensors, text and digest of a packed file.

    Raises
    ------
    ModelFileError
        ``MOD-001`` not such a file, ``MOD-002`` damaged.
    """
    length = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    if not 0 < length <= min(LARGEST_HEADER, len(data) - 8):
        raise _foreign(subject)
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        tensors: Tensors = load_tensors(data)
    except (SafetensorError, ValueError, AttributeError, KeyError) as error:
        raise _foreign(subject) from error
    if not isinstance(metadata, dict) or not {"json", "sha256"} <= set(metadata):
        raise _foreign(subject)
    text, digest = str(metadata["json"]), str(metadata["sha256"])
    if _digest(tensors, text) != digest:
        raise ModelFileError(
            "MOD-002",
            "the content does not match its checksum (SHA-256); the file is damaged",
            "Copy or download the file again.",
            subject=subject,
        )
    return tensors, text, digest


def save_model_file(path: Path, card: ModelCard, tensors: Tensors) -> str:
    """Write a model file and return its digest.

    Raises
    ------
    ModelFileError
        ``MOD-005`` when a tensor holds NaN or infinity: such a model is never saved.
    """
    _require_finite(tensors, path.name)
    data = pack(tensors, card.model_dump_json())
    replace_files({path: data})
    return unpack(data, path.name)[2]


def load_model_file(path: Path) -> tuple[ModelCard, Tensors, str]:
    """Read a model file: its card, tensors and digest.

    Raises
    ------
    ModelFileError
        ``MOD-001`` foreign, ``MOD-002`` damaged, ``MOD-003`` a card this version does not
        understand, ``MOD-004`` missing, ``MOD-005`` not finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            "MOD-004",
            f"the model file cannot be read ({error.strerror or error})",
            "Check the name; napari-normative inspect lists the packaged models.",
            subject=path.name,
        ) from error
    tensors, text, digest = unpack(data, path.name)
    try:
        found = json.loads(text).get("format")
        if found != FORMAT:
            raise _unknown(path.name, f"format {found!r}, this version reads {FORMAT!r}")
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unknown(path.name, f"{where}: {first['msg']}") from error
    except (ValueError, AttributeError) as error:
        raise _unknown(path.name, "the card is not JSON") from error
    _require_finite(tensors, path.name)
    return card, tensors, digest


def save_checkpoint(folder: Path, step: int, tensors: Tensors, facts: dict[str, object]) -> Path:
    """Write a training checkpoint and delete all but the newest three."""
    path = folder / f"step-{step:08d}.safetensors"
    replace_files({path: pack(tensors, json.dumps(facts))})
    for old in sorted(folder.glob("step-*.safetensors"))[:-3]:
        old.unlink(missing_ok=True)
    return path


def newest_checkpoint(folder: Path) -> tuple[Tensors, dict[str, object]] | None:
    """Return the newest undamaged checkpoint, or None."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            tensors, text, _ = unpack(path.read_bytes(), path.name)
        except (ModelFileError, OSError):
            continue  # damaged: an older one serves
        return tensors, json.loads(text)
    return None


def require_unused(folder: Path) -> None:
    """Refuse a folder that holds checkpoints.

    Raises
    ------
    TrainingError
        ``TRN-005``
    """
    if newest_checkpoint(folder) is not None:
        raise TrainingError(
            "TRN-005",
            "the work folder holds an unfinished or finished training",
            "Resume it (--resume), choose another output file (or --workdir), or delete the "
            "folder.",
            subject=folder.parent.name,
        )


def _digest(tensors: Mapping[str, NDArray[np.generic]], text: str) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        total.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _require_finite(tensors: Tensors, subject: str) -> None:
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelFileError(
                "MOD-005",
                f"the tensor {name} holds NaN or infinity",
                "Train again, with a lower learning rate if it happens twice.",
                subject=subject,
            )


def _foreign(subject: str) -> ModelFileError:
    return ModelFileError(
        "MOD-001",
        "this is no napari-normative model file",
        "Pass a .safetensors file written by napari-normative train; files of other programs "
        "and pickles are not opened.",
        subject=subject,
    )


def _unknown(subject: str, why: str) -> ModelFileError:
    return ModelFileError(
        "MOD-003",
        f"the model card does not fit this version ({why})",
        "Update napari-normative, or train the model again with this version.",
        subject=subject,
    )
