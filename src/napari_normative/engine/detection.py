"""What a detection returns, and how it is written to disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.candidates import Candidate
from napari_normative.core.condition import Value
from napari_normative.core.place import describe_place, middle_of
from napari_normative.core.preprocess import Prepared
from napari_normative.engine.detection_layers import detection_layers
from napari_normative.io.atomic import replace_files
from napari_normative.io.nifti import write_volume
from napari_normative.layers.spec import LayerTuple
from napari_normative.volume import FloatArray, Mask, Volume

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class InModelSpace:
    """A detection on the model's own grid, for what is asked of it afterwards.

    Attributes
    ----------
    prepared : Prepared
        The scan in model units with its mask, and all that leads back to the scan's grid.
    reconstruction, z : float32 array, shape of the model's grid
        In model units, without the scan's contrast fit; calibrated z.
    latent_mean, latent_variance : float32 array, shape of one global latent
    known : mapping
        What the model was told of the person.
    """

    prepared: Prepared
    reconstruction: FloatArray
    z: FloatArray
    latent_mean: FloatArray
    latent_variance: FloatArray
    known: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Detection:
    """The result of comparing one scan with a normative model.

    Every volume lies on the grid of ``scan``, voxel for voxel.

    Attributes
    ----------
    scan : Volume
        The input as given.
    mask : bool array, shape (I, J, K)
        Foreground that was scored.
    reconstruction : Volume
        Pseudo-healthy reconstruction, in the scan's own intensity units; 0 outside the mask.
    residual : Volume
        ``scan - reconstruction`` inside the mask, 0 outside; signed.
    anomaly_z : Volume
        Calibrated z of the residual; signed, 0 outside the mask.
    anomaly_p : Volume
        Two-sided p of ``anomaly_z`` among healthy voxels; 1 outside the mask.
    candidate_labels : Volume
        0 for background, otherwise ``Candidate.label``.
    candidates : tuple of Candidate
        Strongest first.
    scan_score : float
        One number for the scan; larger is less normal.
    scan_p : float
        Share of healthy calibration scans that score at least as high (conformal p).
    threshold_z : float
        ``|z|`` above which voxels form candidates.
    samples : tuple of Volume
        Synthetic draws of the model, placed on the scan's grid and in its units.
    warnings : tuple of str
        Whatever was repaired, assumed or looks unlike the training cohort.
    local_volume : Volume or None
        How much more room each place takes up than in the reconstruction, in per cent: positive
        is more volume than expected, 0 outside the mask. Not calibrated and no part of the
        score; None unless asked for.
    provenance : dict
        Versions, model digest, parameters, device, seed, UTC time, seconds per step; JSON-ready.
    in_model : InModelSpace or None
        The same on the model's grid; not saved. None for a detection that was not computed here.

    Examples
    --------
    >>> found = detection.candidates[0]
    >>> found.sign, round(found.volume_mm3 / 1000), detection.place_of(found).split()[0]
    (-1, 29, 'left')
    >>> detection.anomaly_z.same_grid(detection.scan)
    True
    >>> [path.name for path in detection.save("found")][-2:]
    ['candidates.tsv', 'detection.json']
    """

    scan: Volume
    mask: Mask
    reconstruction: Volume
    residual: Volume
    anomaly_z: Volume
    anomaly_p: Volume
    candidate_labels: Volume
    candidates: tuple[Candidate, ...]
    scan_score: float
    scan_p: float
    threshold_z: float
    samples: tuple[Volume, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, Any]
    local_volume: Volume | None = None
    in_model: InModelSpace | None = None

    @cached_property
    def middle_mm(self) -> tuple[float, float, float]:
        """Middle of what was scored, world mm: from here places have a side."""
        return middle_of(self.mask, self.scan.affine)

    def place_of(self, candidate: Candidate) -> str:
        """Return where a candidate lies in the patient, in words; see :func:`describe_place`."""
        pairs = zip(candidate.centroid_mm, self.middle_mm, strict=True)
        return describe_place(at - middle for at, middle in pairs)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the detection into ``folder`` and return the files written.

        ``reconstruction``, ``residual``, ``anomaly_z``, ``anomaly_p``, ``candidates`` and
        ``sample_*`` (and ``local_volume``, if it was asked for) as ``.nii.gz`` on the scan's
        grid, ``candidates.tsv`` and ``detection.json``. Files appear whole or not at all.

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        target = Path(folder)
        volumes = {
            "reconstruction": self.reconstruction,
            "residual": self.residual,
            "anomaly_z": self.anomaly_z,
            "anomaly_p": self.anomaly_p,
            "candidates": self.candidate_labels,
            **{f"sample_{i:02d}": sample for i, sample in enumerate(self.samples, start=1)},
        }
        if self.local_volume is not None:
            volumes["local_volume"] = self.local_volume
        written = [
            write_volume(target / f"{name}.nii.gz", volume, like=self.scan)
            for name, volume in volumes.items()
        ]
        table = candidate_table(self.candidates)
        text = table.to_csv(sep="\t", index=False, float_format="%.4f", lineterminator="\n")
        for name, content in (
            ("candidates.tsv", text),
            ("detection.json", json.dumps(self.record(), indent=2, ensure_ascii=False) + "\n"),
        ):
            replace_files({target / name: content.encode()})
            written.append(target / name)
        return written

    def to_layers(self) -> list[LayerTuple]:
        """Return the layer data tuples (data, attributes, kind) that napari takes, bottom first.

        The scan is not among them. ``viewer.add_layer(Layer.create(*made))`` adds one;
        ``nn.show(detection)`` adds the scan and all of them.
        """
        return [spec.as_tuple() for spec in detection_layers(self)]

    def record(self) -> dict[str, Any]:
        """Return what ``detection.json`` holds: where the result came from, and its figures."""
        return {**self.provenance, "warnings": list(self.warnings), **self.summary()}

    def summary(self) -> dict[str, Any]:
        """Return the result in numbers, JSON-ready."""
        strongest = self.candidates[0] if self.candidates else None
        return {
            "scan_score": round(self.scan_score, 4),
            "scan_p": round(self.scan_p, 4),
            "threshold_z": self.threshold_z,
            "foreground_ml": round(float(self.mask.sum()) * self.scan.voxel_ml, 1),
            "candidates": len(self.candidates),
            "candidates_ml": round(sum(c.volume_mm3 for c in self.candidates) / 1000, 3),
            "strongest_peak_z": round(strongest.peak_z, 3) if strongest else None,
        }


def candidate_table(candidates: Sequence[Candidate]) -> pd.DataFrame:
    """Return one row a candidate, strongest first; units are in the column names."""
    rows = [
        {
            "label": c.label,
            "id": c.id,
            "rank": c.rank,
            "sign": c.sign,
            "peak_z": c.peak_z,
            "mean_z": c.mean_z,
            "volume_ml": c.volume_mm3 / 1000,
            "x_mm": c.centroid_mm[0],
            "y_mm": c.centroid_mm[1],
            "z_mm": c.centroid_mm[2],
            "p": c.p,
        }
        for c in candidates
    ]
    columns = ["label", "id", "rank", "sign", "peak_z", "mean_z", "volume_ml"]
    import pandas as pd  # late: it takes a third of a second

    return pd.DataFrame(rows, columns=[*columns, "x_mm", "y_mm", "z_mm", "p"])
