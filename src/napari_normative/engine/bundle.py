"""A model's reconstruction as a MONAI bundle that runs with MONAI and torch alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.engine.graphs import Graph, about, installed, quiet, trace, write_torch

if TYPE_CHECKING:
    from torch import Tensor

    from napari_normative.engine.model import NormativeModel

VERSION = "1.0.0"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
GRAPH = "models/model.pt2"
WEIGHTS = "models/model.pt"

INFERENCE: dict[str, Any] = {
    "imports": [
        "$import glob",
        "$import torch",
        "$from monai.data import MetaTensor",
        "$from torch.export.passes import move_to_device_pass",
    ],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/inputs'",
    "output_dir": "$@bundle_root + '/outputs'",
    "device": "$torch.device('cpu')",
    "datalist": "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.nii*'))]",
    "exported": f"$torch.export.load(@bundle_root + '/{GRAPH}')",
    "network_def": "$move_to_device_pass(@exported, str(@device)).module()",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
        ],
    },
    "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
    "inferer": {"_target_": "SimpleInferer"},
    "predict": (
        "$lambda image: MetaTensor(@inferer(image.as_tensor()[None].to(@device), "
        "@network_def)[0].cpu(), meta=image.meta)"
    ),
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {
                "_target_": "SaveImaged",
                "keys": "reconstruction",
                "output_dir": "@output_dir",
                "output_postfix": "reconstruction",
                "separate_folder": False,
                "resample": False,
            }
        ],
    },
    "run": ["$[@postprocessing({'reconstruction': @predict(item['image'])}) for item in @dataset]"],
}
"""``configs/inference.json``: only torch and MONAI are named, so that nothing else is needed."""


def write_bundle(
    model: NormativeModel,
    folder: Path,
    record: Mapping[str, Any],
    tell: Callable[[str, float], None],
) -> dict[str, Any]:
    """Write a bundle, run it through MONAI's parser and return what to record of its function.

    Raises
    ------
    ExportError
        ``EXP-001``, ``EXP-002``, ``EXP-003``, ``EXP-004``
    """
    import torch

    with installed("monai"):
        import monai
    tell("tracing", 0.0)
    (graph,) = trace(model, "reconstruct")
    for name in ("configs", "models", "docs", "inputs"):
        (folder / name).mkdir()
    tell(f"writing and comparing {GRAPH}", 0.3)
    write_torch(graph, folder / GRAPH, about(model))
    # By the names of the graph, so that MONAI's load() can put them in.
    torch.save(dict(graph.program.state_dict), folder / WEIGHTS)
    function = graph.record(GRAPH, {})
    texts = {
        "configs/inference.json": json.dumps(INFERENCE, indent=1),
        "configs/metadata.json": json.dumps(
            _metadata(record, function, monai.__version__), indent=1, ensure_ascii=False
        ),
        "docs/README.md": _readme(record),
        "LICENSE": _licence(record),
    }
    for name, text in texts.items():
        (folder / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    tell("running the bundle in MONAI", 0.7)
    return {"reconstruct": {**function, "largest_difference": _compare(graph, folder)}}


def _compare(graph: Graph, folder: Path) -> dict[str, float]:
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    with quiet():
        parser = ConfigParser()
        parser.read_config(folder / "configs" / "inference.json")
        parser["bundle_root"] = str(folder)
        predict = parser.get_parsed_content("predict")

    def run(batch: Tensor) -> tuple[Tensor, ...]:
        import torch

        return (torch.stack([predict(MetaTensor(image)).as_tensor() for image in batch]),)

    return graph.compare(run, "the MONAI bundle")


def _metadata(
    record: Mapping[str, Any], function: Mapping[str, Any], monai_version: str
) -> dict[str, Any]:
    model, known = record["model"], record["versions"]
    tensor = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR" if "MR" in model["modality"] else "n/a",
        "num_channels": 1,
        "spatial_shape": function["inputs"]["volume"][2:],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: f"exported from the model {model['sha256']}"},
        "name": model["name"],
        "monai_version": monai_version,
        "pytorch_version": known["torch"].split("+")[0],
        "numpy_version": known["numpy"],
        "required_packages_version": {"nibabel": known["nibabel"]},
        "task": f"Pseudo-healthy reconstruction, normative model of healthy scans. {RESEARCH_USE}",
        "description": f"{model['title']} ({model['modality']}). {record['input']['expected']}",
        "authors": record["credit"],
        "copyright": f"Licence of weights and statistics: {record['license']}. "
        f"Credit: {record['credit']}",
        "license": record["license"],
        "data_source": record["credit"],
        "data_type": "nibabel",
        "image_classes": record["input"]["expected"],
        "pred_classes": "the same scan as it would look if it were healthy, model units",
        "intended_use": f"{record['intended_use']} {record['limits']}",
        "references": [],
        "network_data_format": {
            "inputs": {"image": {**tensor, "channel_def": {"0": model["modality"]}}},
            "outputs": {"pred": {**tensor, "channel_def": {"0": "pseudo-healthy reconstruction"}}},
        },
        "normative_model": {
            key: record[key] for key in ("model", "grid", "input", "limits", "notice", "versions")
        },
    }


def _readme(record: Mapping[str, Any]) -> str:
    model, grid = record["model"], record["grid"]
    return f"""# {model["title"]} ({model["name"]})

Pseudo-healthy reconstruction by a normative model of healthy scans: {model["modality"]}.
{record["intended_use"]}

{record["limits"]}

## Input

{record["input"]["expected"]}
Grid: {grid["shape"]} voxels of {grid["spacing_mm"]:g} mm, axes {grid["axes"]}, first voxel at
{grid["origin_mm"]} mm. `inputs/template.nii.gz` is such a volume: the average healthy scan.

## Run

In this folder, with MONAI and torch, and volumes like that in FOLDER:

    import monai

    monai.bundle.run(
        run_id="run",
        config_file="configs/inference.json",
        bundle_root=".",
        dataset_dir="FOLDER",
        output_dir="RESULTS",
    )

On a GPU add `device="$torch.device('cuda')"`. `{GRAPH}` is a graph of torch.export with its
weights; `{WEIGHTS}` holds the same weights as a plain state dict. The graph is in evaluation form
for good: it cannot be trained, and refuses `.eval()`.

Only the network is here. Calibrated anomaly maps, candidates and the way back to the scan's grid
are what napari-normative does with it.

Model {model["sha256"]}. Licence: {record["license"]}. Credit: {record["credit"]}
"""


def _licence(record: Mapping[str, Any]) -> str:
    return f"""Licence of weights and statistics: {record["license"]}

Credit: {record["credit"]}

{RESEARCH_USE}
"""
