"""A detection as files of a BIDS derivatives dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.segments import Segment
from napari_normative.engine.detection import candidate_table
from napari_normative.io.atomic import replace_files
from napari_normative.io.bids import dataset_files
from napari_normative.io.bids_dataset import DESCRIPTION, description
from napari_normative.io.lookup import COLUMNS
from napari_normative.io.tables import json_bytes, tsv_bytes
from napari_normative.io.writing import volume_parts

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.core.card import ModelCard
    from napari_normative.engine.detection import Detection
    from napari_normative.volume import Volume

_MAPS = {
    "reconstruction": "Pseudo-healthy reconstruction, in the image's own intensity units.",
    "residual": "Image minus pseudo-healthy reconstruction, signed, in the image's units.",
    "anomalyz": "Calibrated z of the residual, signed; 0 outside the foreground.",
    "anomalyp": "Two-sided p of the z among voxels of healthy people; 1 outside the foreground.",
}
_LOCAL_VOLUME = "Per cent more (positive) or less room than expected; not calibrated."
_SAMPLE = "Synthetic: drawn from the normative model, placed on the image's grid."
_CANDIDATES = "Candidates of a normative model; nobody has judged them."

_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    **{name: COLUMNS[name] for name in ("id", "volume_ml", "x_mm", "y_mm", "z_mm")},
    "rank": {"Description": "Order of the candidates, 1 is the strongest."},
    "sign": {"Description": "1 where the image is brighter than expected, -1 where darker."},
    "peak_z": {"Description": "Calibrated z of the strongest voxel, signed."},
    "mean_z": {"Description": "Mean calibrated z, signed."},
    "p": {"Description": "Share of healthy scans whose strongest candidate has this evidence."},
}
_README = f"""# Anomaly maps

{RESEARCH_USE}

Each image compared with a normative model of healthy anatomy by napari-normative. All files lie
on the grid of the image whose entities they bear.

- `*_desc-anomaly_dseg.nii.gz`, `.tsv`: candidates, connected places beyond the threshold. Nobody
  has judged them. `.json`: what made all files of the image, with the model's digest.
- `*_desc-reconstruction_*`, `*_desc-residual_*`: what the model expects, and the difference.
- `*_desc-anomalyz_*`, `*_desc-anomalyp_*`: calibrated z, and its p. They bear the suffix of the
  image because BIDS has none for such maps; the sidecars say what they are.
- `cohort.tsv`, `cohort.html`, `manifest/`: all images in one table, a report, and what became of
  each.

Add authors and a licence to `dataset_description.json` before you share it.
"""
_IGNORED = "cohort.*\nmanifest\nmanifest/**\n*_report.html\n"


def write_dataset(out: Path, source: Path) -> None:
    """Write the files at the root of a derivatives dataset of another dataset.

    The source is linked by a relative path where ``out`` lies inside it, else by its DOI: a path of
    this machine goes into no file.
    """
    facts = description(source)
    version, doi = facts.get("DatasetVersion"), facts.get("DatasetDOI")
    link: str | None = None
    inside = source.resolve() in out.resolve().parents
    if inside:
        link = "/".join([".."] * len(out.resolve().relative_to(source.resolve()).parts))
    elif doi:
        link = f"https://doi.org/{str(doi).rpartition('doi:')[2].rpartition('doi.org/')[2]}"
    sources: dict[str, Any] = {}
    if link is not None:
        named = {"URL": link, "DOI": doi, "Version": version}
        sources["SourceDatasets"] = [{key: str(value) for key, value in named.items() if value}]
    name = f"Anomaly maps of {facts.get('Name') or 'a dataset'}"
    files = dataset_files(out, name, _COLUMNS, _README, sources)
    replace_files({**files, out / ".bidsignore": _IGNORED.encode()})


def is_dataset_of_results(out: Path) -> bool:
    """Whether a folder was made by :func:`write_dataset`."""
    made = description(out).get("GeneratedBy") or [{}]
    return (out / DESCRIPTION).is_file() and made[0].get("Name") == "napari-normative"


def result_parts(
    found: Detection, folder: Path, entities: str, suffix: str, card: ModelCard | None
) -> dict[Path, bytes]:
    """Return the files of a detection; the record is in the sidecar of the candidates.

    Parameters
    ----------
    found : Detection
    folder : Path
        The ``anat`` folder.
    entities, suffix : str
        Of the image's name.
    card : ModelCard or None
        With one the report for people is made, too.
    """
    maps: dict[str, tuple[Volume, str]] = {
        "reconstruction": (found.reconstruction, _MAPS["reconstruction"]),
        "residual": (found.residual, _MAPS["residual"]),
        "anomalyz": (found.anomaly_z, _MAPS["anomalyz"]),
        "anomalyp": (found.anomaly_p, _MAPS["anomalyp"]),
    }
    if found.local_volume is not None:
        maps["localvolume"] = (found.local_volume, _LOCAL_VOLUME)
    for number, sample in enumerate(found.samples, start=1):
        maps[f"sample{number:02d}"] = (sample, _SAMPLE)
    parts: dict[Path, bytes] = {}
    for name, (volume, text) in maps.items():
        base = f"{entities}_desc-{name}_{suffix}"
        parts |= volume_parts(folder / f"{base}.nii.gz", volume, like=found.scan)
        parts[folder / f"{base}.json"] = json_bytes(_sidecar(text, found, SkullStripped=True))
    base = f"{entities}_desc-anomaly_dseg"
    parts |= volume_parts(folder / f"{base}.nii.gz", found.candidate_labels, like=found.scan)
    parts[folder / f"{base}.tsv"] = tsv_bytes(_candidates(found))
    if card is not None:
        from napari_normative.engine.case_report import case_report

        page = case_report(found, card=card).encode()
        parts[folder / f"{entities}_desc-anomaly_report.html"] = page
    sidecar = _sidecar(_CANDIDATES, found, Detection=found.record())
    parts[folder / f"{base}.json"] = json_bytes(sidecar)
    return parts


def _sidecar(text: str, found: Detection, **more: Any) -> dict[str, Any]:
    return {
        "Description": text,
        "Notice": RESEARCH_USE,
        "SpatialReference": "orig",
        "Software": found.provenance["software"],
        "ModelDigest": found.provenance["model"]["sha256"],
        **more,
    }


def _candidates(found: Detection) -> pd.DataFrame:
    table = candidate_table(found.candidates)
    table = table.rename(columns={"label": "index"})
    colours = [
        Segment(c.label, c.id, "", "", "", 0.0, c.centroid_mm).colour for c in found.candidates
    ]
    table.insert(1, "name", [f"candidate {rank}" for rank in table["rank"]])
    table.insert(2, "color", ["#{:02X}{:02X}{:02X}".format(*colour) for colour in colours])
    return table
