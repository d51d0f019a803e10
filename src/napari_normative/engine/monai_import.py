"""Weights of MONAI's AutoencoderKL as a normative model: nothing is trained, all is calibrated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_normative.core.card import TrainingFacts
from napari_normative.core.config import AutoencoderConfig
from napari_normative.engine.align import aligned_cohort, places, reporter
from napari_normative.engine.assemble import Label
from napari_normative.engine.cohort import counts
from napari_normative.engine.device import choose_device
from napari_normative.engine.finish import finish
from napari_normative.engine.infer import versions
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.presets import Preset, preset_named
from napari_normative.engine.progress import TrainProgress
from napari_normative.engine.ranks import Ranks
from napari_normative.errors import ModelFileError
from napari_normative.io.checkpoint import Tensors
from napari_normative.io.weights import read_weights

if TYPE_CHECKING:
    from napari_normative.core.autoencoder import Autoencoder

TARGETS = ("AutoencoderKL", "monai.networks.nets.AutoencoderKL")
WITHIN = ("network_def", "autoencoder_def", "network", "autoencoder")
"""Keys under which MONAI's bundles keep a network, for a configuration that holds more."""
FIXED = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1}
WITHOUT_EFFECT = {"use_checkpoint", "use_flash_attention", "_target_", *FIXED}
"""Of these the weights do not depend; or they are checked by themselves."""
MOST_NAMED = 3

FOREIGN = (
    " The network was trained elsewhere, on scans that this program knows nothing of: if people of "
    "the calibration were among them, healthy people it has not seen get more false candidates "
    "than is said here. How well such an autoencoder takes lesions out of a scan depends on how "
    "strongly its latents compress; many give lesions back."
)


def import_autoencoder(
    weights: str | Path,
    network: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    preset: str | Preset = "crop-1mm",
    changes: Mapping[str, object] | None = None,
    scale: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    template: str | Path | None = None,
    workdir: str | Path | None = None,
    title: str | None = None,
    license_text: str = "not stated",
    credit: str = "not stated",
    progress: Callable[[TrainProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> NormativeModel:
    """Make a normative model of MONAI's weights and a cohort of healthy scans.

    The cohort gives template, latents, thresholds and the comparison with baselines, as in
    :func:`napari_normative.engine.train.fit`; the network stays as it is.

    Parameters
    ----------
    weights : path
        ``.safetensors`` with the state dict.
    network : path
        MONAI's configuration (JSON) of an ``AutoencoderKL`` in three dimensions with one channel,
        alone or under ``network_def`` or ``autoencoder_def``.
    cohort, out, seed, device, template, workdir, title, license_text, credit, progress, cancel
        As for :func:`napari_normative.engine.train.fit`.
    preset : str or Preset
        Grid, alignment and score; its network is not used.
    changes : mapping, optional
        Values of the preset to replace, such as ``preprocess.shape``.
    scale : float
        What 1 in model units (the 90 % quantile of the foreground) is for the network.

    Raises
    ------
    ModelFileError
        ``MOD-030`` to ``MOD-037``: MONAI is missing, or weights and network do not fit.
    CohortError, TrainingError, DeviceError, OutputError
    """
    chosen = preset_named(preset).changed(changes or {})
    out, folder = places(out, workdir)
    tensors, digest = read_weights(weights)
    config = read_network(network, chosen.preprocess.shape, scale, digest)
    built = with_weights(config, tensors, Path(weights).name)
    tell = progress or (lambda state: None)
    report = reporter(tell, cancel)
    choice = choose_device(device)
    report("check", 0.0, f"{choice.device} ({choice.reason})")
    with contextlib.ExitStack() as held:
        prepared = aligned_cohort(
            cohort, chosen, folder, seed, template, Ranks(), held, tell, report
        )
        model = finish(
            built,
            prepared,
            chosen,
            Label(out.stem, title or chosen.title, chosen.modality, license_text, credit),
            TrainingFacts(
                preset=preset if isinstance(preset, str) else "custom",
                command=f"napari-normative import-monai WEIGHTS --scale {scale:g} --seed {seed}",
                seed=seed,
                steps=0,
                minutes=0.0,
                device=choice.device,
                precision="fp32",
                people=counts(prepared.people),
                cohort_digest=prepared.digest,
                versions={**versions(), "monai": _monai_version()},
                curves=(),
            ),
            choice.device,
            folder=folder,
            report=report,
            objective=None,
            half=False,  # the same numbers as in MONAI, not nearly the same
        )
        model.card = model.card.model_copy(update={"limits": model.card.limits + FOREIGN})
        model.save(out)
        tell(TrainProgress("compare", 1.0, f"saved {out.name}"))
        return model


def read_network(
    path: str | Path, shape: tuple[int, int, int], scale: float, digest: str
) -> AutoencoderConfig:
    """Return the configuration of MONAI's network in a JSON file. Nothing in it is evaluated.

    Raises
    ------
    ModelFileError
        ``MOD-031`` no such configuration, ``MOD-032`` a value that does not fit.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_network(path, "it is not readable JSON") from error
    for key in WITHIN:
        if isinstance(found, dict) and "_target_" not in found and key in found:
            found = found[key]
    if not isinstance(found, dict) or "_target_" not in found:
        raise _no_network(path, f"it holds no network (_target_), nor one under {WITHIN[0]}")
    target = str(found["_target_"])
    if target not in TARGETS and not target.endswith(".autoencoderkl.AutoencoderKL"):
        raise _no_network(path, f"its network is {target}, not MONAI's AutoencoderKL")
    for key, value in found.items():
        if any(isinstance(v, str) and v[:1] in {"$", "@", "%"} for v in _flat(value)):
            raise _misfit(path, f"{key} is an expression, which is not evaluated")
    for key, wanted in FIXED.items():
        if found.get(key, None if key == "spatial_dims" else 1) != wanted:
            raise _misfit(path, f"{key} is {found.get(key)}, it has to be {wanted}")
    given = {key: value for key, value in found.items() if key not in WITHOUT_EFFECT}
    if "channels" in given:
        given["widths"] = given.pop("channels")
    if isinstance(given.get("num_res_blocks"), int):
        levels = given.get("widths", AutoencoderConfig.model_fields["widths"].default)
        given["num_res_blocks"] = [given["num_res_blocks"]] * len(levels)
    try:
        return AutoencoderConfig.model_validate(
            {**given, "shape": shape, "scale": scale, "weights_sha256": digest}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the network"
        raise _misfit(path, f"{where}: {first['msg']}") from error


def with_weights(config: AutoencoderConfig, tensors: Tensors, name: str) -> Autoencoder:
    """Return MONAI's network with weights from elsewhere.

    Raises
    ------
    ModelFileError
        ``MOD-030`` MONAI is missing, ``MOD-036`` names, ``MOD-037`` shapes that do not fit.
    """
    import torch

    from napari_normative.core.autoencoder import Autoencoder

    network = Autoencoder(config)
    wanted = {key: tuple(value.shape) for key, value in network.net.state_dict().items()}
    wrong = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (
            ("missing", [key for key in wanted if key not in tensors]),
            ("unexpected", [key for key in tensors if key not in wanted]),
        )
        if names
    ]
    if wrong:
        raise ModelFileError(
            "MOD-036",
            f"names of the weights do not fit the network: {'; '.join(wrong)}",
            "Use the configuration that these weights were trained with. Weights of MONAI "
            "Generative Models are renamed by AutoencoderKL.load_old_state_dict first.",
            subject=name,
        )
    other = [
        f"{key} {tensors[key].shape}, wanted {shape}"
        for key, shape in wanted.items()
        if tensors[key].shape != shape
    ]
    if other:
        raise ModelFileError(
            "MOD-037",
            f"{len(other)} weights are of another shape: {_some(other)}",
            "Use the configuration that these weights were trained with.",
            subject=name,
        )
    network.net.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    return network.eval()


def _flat(value: Any) -> list[Any]:
    return [v for one in value for v in _flat(one)] if isinstance(value, list) else [value]


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")


def _monai_version() -> str:
    from importlib import metadata

    return metadata.version("monai")


def _no_network(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        "MOD-031",
        f"this is no configuration of MONAI's AutoencoderKL ({why})",
        'Pass a JSON object such as {"_target_": "monai.networks.nets.AutoencoderKL", '
        '"spatial_dims": 3, ...}.',
        subject=path.name,
    )


def _misfit(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        "MOD-032",
        f"the network's configuration does not fit ({why})",
        "Mend the value; the grid is the preset's (--preset, or --set preprocess.shape=48,64,48).",
        subject=path.name,
    )
