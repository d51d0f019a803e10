"""What MONAI's autoencoder, trained for a few minutes elsewhere, is worth as a normative model.

    python benchmarks/monai_import.py FOLDER [--steps 300] [--keep WORK]

FOLDER holds small crops (Medical Segmentation Decathlon, task 4: the hippocampus). An AutoencoderKL
is trained on the training people by MONAI and torch alone, with MONAI's own transforms; its weights
and configuration are imported, calibrated on the others, compared with MONAI's module and with the
baselines of the cohort, and asked to detect simulated lesions in people whom it never saw.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from napari_normative.core.lesions import drawn_shape, simulate
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.monai_import import import_autoencoder
from napari_normative.io.nifti import read_volume
from napari_normative.volume import Volume

OUT = Path(__file__).parent / "results" / "monai_import.md"
SHAPE = (48, 64, 48)
NETWORK = {
    "_target_": "monai.networks.nets.AutoencoderKL",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [8, 16, 32],
    "num_res_blocks": 1,
    "attention_levels": [False, False, False],
    "latent_channels": 4,
    "norm_num_groups": 8,
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
KL_WEIGHT = 1e-3


def data_list(folder: Path, place: Path) -> Path:
    """Write a list as MONAI has it; every file is a person."""
    files = sorted(p for p in folder.glob("*.nii*") if not p.name.startswith("."))
    entries = [{"image": os.path.relpath(p, place)} for p in files]
    listed = place / "healthy.json"
    listed.write_text(json.dumps({"name": "hippocampus", "training": entries}))
    return listed


def train(paths: list[Path], steps: int) -> torch.nn.Module:
    """Train as a user of MONAI would; 1 is the 90 % quantile of a crop."""
    from monai.networks.nets import AutoencoderKL
    from monai.transforms import (
        Compose,
        LoadImage,
        Orientation,
        ResizeWithPadOrCrop,
        ScaleIntensityRangePercentiles,
    )

    read = Compose([
        LoadImage(ensure_channel_first=True),
        Orientation("RAS", labels=None),
        ScaleIntensityRangePercentiles(0, 90, 0, 1),
        ResizeWithPadOrCrop(SHAPE),
    ])  # fmt: skip
    images = torch.stack([read(path).as_tensor().float() for path in paths])
    torch.manual_seed(0)
    net = AutoencoderKL(**{k: v for k, v in NETWORK.items() if k != "_target_"})
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(steps):
        batch = images[torch.randint(len(images), (2,))]
        made, mean, sigma = net(batch)
        kl = 0.5 * (mean**2 + sigma**2 - 1 - 2 * torch.log(sigma)).mean()
        loss = (made - batch).abs().mean() + KL_WEIGHT * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def detections(model: NormativeModel, scans: list[Volume]) -> tuple[int, int, int]:
    """Return simulated lesions, those that the strongest candidate hits, and all candidates."""
    lesions = hits = count = 0
    for n, scan in enumerate(scans):
        clean = scan.with_data(scan.data)
        mask = scan.data > 0
        spacing = float(scan.spacing_mm[0])
        shape = drawn_shape(mask, 1.0, spacing, seed=n)
        ill = simulate(scan.data, mask, shape, spacing, "hypointense", strength=0.7, seed=n)
        found = model.detect(clean.with_data(ill.image))
        lesions += 1
        count += len(found.candidates)
        if found.candidates:
            first = found.candidate_labels.data == 1
            hits += bool((first & ill.truth).any())
    return lesions, hits, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="Keep weights, configuration and model here.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = chosen.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        listed = data_list(chosen.folder.resolve(), place.resolve())
        people = read_cohort(listed)
        begun = time.process_time()
        net = train([p.path for p in people if p.split == "train"], chosen.steps)
        minutes = (time.process_time() - begun) / 60
        weights, config = place / "weights.safetensors", place / "network.json"
        save_file(net.state_dict(), weights)
        config.write_text(json.dumps(NETWORK))
        start = time.perf_counter()
        model = import_autoencoder(
            weights, config, listed, place / "monai.safetensors", title="Hippocampus, MONAI",
            license_text="CC BY-SA 4.0", credit="Medical Segmentation Decathlon, task 4",
        )  # fmt: skip
        spent = time.perf_counter() - start
        tests = [p.path for p in people if p.split == "test"]
        image = torch.from_numpy(model.prepare(tests[0]).data[None, None])
        with torch.inference_mode():
            wanted = net.decode(net.encode(image)[0])
            apart = float((model.network("cpu").reconstruct(image) - wanted).abs().max())
        lesions, hits, count = detections(model, [read_volume(p) for p in tests])
    card = model.card
    (site,) = card.held_out
    sizes = {split: sum(n.values()) for split, n in card.training.people.items()}
    lines = [
        "# A MONAI autoencoder as a normative model",
        "",
        f"`AutoencoderKL`, channels {NETWORK['channels']}, {NETWORK['latent_channels']} latent "
        f"channels on a grid of {np.array(SHAPE) // 4} cells, "
        f"{sum(p.numel() for p in net.parameters()) / 1e3:.0f} thousand weights, trained by MONAI "
        f"{metadata.version('monai')} on {sizes['train']} crops of the hippocampus for "
        f"{chosen.steps} steps ({minutes:.1f} min of CPU, KL weight {KL_WEIGHT:g}); imported, "
        f"calibrated on {card.calibration.people} others in {spent:.0f} s. Machine: "
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}.",
        "",
        "| | |",
        "|---|---|",
        f"| largest difference from MONAI's own module, same input | {apart:.1e} model units |",
        f"| mean absolute error, {site.people} people never seen | {site.mae:.4f} "
        f"(mean image {site.mae_mean_image:.4f}) |",
        f"| {card.calibration.latents_line()} | {card.calibration.rate_line()} |",
        f"| simulated dark lesions of 1 ml hit by the strongest candidate | {hits} of {lesions} "
        f"({count} candidates) |",
        "",
        "| simulated lesions, average precision | people | this model | baseline |",
        "|---|---:|---:|---:|",
    ]
    for row in card.comparison:
        if row.figure == "ap":
            lines.append(
                f"| {row.stratum}, against {row.against} | {row.people} | {row.model:.3f} | "
                f"{row.baseline:.3f} |"
            )
    lines += ["", card.verdict(), "", "Written by `benchmarks/monai_import.py`.", ""]
    OUT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
