"""Candidates grown to their edges, each with its chance of being false."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.candidates import Candidate
from napari_normative.core.false_candidates import (
    candidate_p_values,
    counted,
    expected_false,
    false_discovery,
    least_rate,
)
from napari_normative.core.residual import fit_contrast
from napari_normative.core.segments import measure
from napari_normative.core.walk import Grown, Way, grow_candidates
from napari_normative.engine.detection import Detection
from napari_normative.errors import SegmentationError
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.io.tables import json_bytes, tsv_bytes
from napari_normative.layers.spec import (
    SEGMENTATION,
    LayerSpec,
    LayerTuple,
    origin_of,
    spec_of,
)
from napari_normative.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.core.calibration import Calibration
    from napari_normative.engine.head import Head
    from napari_normative.engine.model import NormativeModel

MARKER = "segmentation.json"
LIKELY = 0.5
"""Probability of a head below which a candidate is left out."""


@dataclass(frozen=True)
class Segmented:
    """A candidate after growing, with what is known of its being false.

    Attributes
    ----------
    label : int
        Its value in the labels, equal to ``Candidate.label``; 0 there if it is not kept.
    id : str
        That of the candidate.
    rank, sign : int
        1 is the strongest; +1 brighter than expected, -1 darker.
    volume_ml, found_ml : float
        Grown, and as it was found at the threshold.
    mean_z, peak_z : float
        Signed; of the grown region.
    centroid_mm : tuple of 3 float
        World (RAS+), mm.
    place : str
        Where that is in the patient, in words.
    p : float
        Share of healthy scans with a candidate as strong (conformal).
    expected_false : float
        False candidates per healthy scan that are as strong.
    q : float
        Share of false candidates among it and all stronger ones of this scan (Benjamini-Hochberg).
    head : float or None
        Probability of being accepted, by a head that learnt from reviews.
    kept : bool
    way : str
        ``grown``, ``grown coarsely`` or ``as found``; empty if it is not kept.
    """

    label: int
    id: str
    rank: int
    sign: int
    volume_ml: float
    found_ml: float
    mean_z: float
    peak_z: float
    centroid_mm: tuple[float, float, float]
    place: str
    p: float
    expected_false: float
    q: float
    head: float | None
    kept: bool
    way: str

    def line(self) -> str:
        """Return it in one line for people."""
        likely = "" if self.head is None else f", head {self.head:.2f}"
        return (
            f"{self.label}: {self.place}, {self.volume_ml:.2f} ml ({self.found_ml:.2f} as "
            f"found), peak z {self.peak_z:+.1f}; a healthy scan has {self.expected_false:.2g} "
            f"as strong, q {self.q:.2g}{likely}"
        )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segmented candidates of one scan.

    Attributes
    ----------
    scan : Volume
    labels : Volume
        On the grid of ``scan``: 0, or ``Segmented.label``.
    candidates : tuple of Segmented
        All that were found, strongest first; ``kept`` says which are in the labels.
    warnings : tuple of str
    record : dict
        What made it, JSON-ready.

    Examples
    --------
    >>> made = model.segment(scan, rate=0.5, device="cpu")
    >>> made.labels.same_grid(scan), made.kept[0].place.split()[0]
    (True, 'left')
    >>> [path.name for path in made.save("segmented")]
    ['segmentation.nii.gz', 'segmentation.tsv', 'segmentation.json']
    """

    scan: Volume
    labels: Volume
    candidates: tuple[Segmented, ...]
    warnings: tuple[str, ...]
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> tuple[Segmented, ...]:
        """The candidates that are in the labels."""
        return tuple(one for one in self.candidates if one.kept)

    @property
    def volume_ml(self) -> float:
        """Volume of all that is segmented."""
        return sum(one.volume_ml for one in self.kept)

    def table(self) -> pd.DataFrame:
        """Return one row a candidate, strongest first; units are in the column names."""
        import pandas as pd  # late: it takes a third of a second

        rows = []
        for one in self.candidates:
            row = {**vars(one), **dict(zip(("x_mm", "y_mm", "z_mm"), one.centroid_mm, strict=True))}
            del row["centroid_mm"]
            rows.append(row)
        names = [name for name in Segmented.__dataclass_fields__ if name != "centroid_mm"]
        return pd.DataFrame(rows, columns=[*names, "x_mm", "y_mm", "z_mm"])

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``segmentation.nii.gz``, ``.tsv`` and ``.json`` into a folder.

        The folder appears whole or not at all.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        with whole_folder(target, MARKER) as fresh:
            write_volume(fresh / "segmentation.nii.gz", self.labels, like=self.scan)
            (fresh / "segmentation.tsv").write_bytes(tsv_bytes(self.table()))
            (fresh / MARKER).write_bytes(json_bytes({**self.record, **self.summary()}))
        names = ("segmentation.nii.gz", "segmentation.tsv", MARKER)
        return [target / name for name in names]

    def summary(self) -> dict[str, Any]:
        """Return the result in numbers, JSON-ready."""
        return {
            "candidates": len(self.candidates),
            "kept": len(self.kept),
            "volume_ml": round(self.volume_ml, 3),
            "warnings": list(self.warnings),
        }

    def to_layers(self) -> list[LayerTuple]:
        """Return the labels as the layer data tuple (data, attributes, kind) that napari takes."""
        return [self.layer(self.scan.source.name).as_tuple()]

    def layer(self, name: str) -> LayerSpec:
        """Return the labels as a layer; numbers, and so colours, are those of the candidates.

        Parameters
        ----------
        name : str
            Of the scan.
        """
        features = self.table().query("kept").rename(columns={"label": "index"})
        features["sign"] = features["sign"].map({1: "brighter", -1: "darker"})
        return spec_of(
            [self.labels],
            f"{name} · {SEGMENTATION}",
            SEGMENTATION,
            origin=origin_of(self.scan),
            provenance={**self.record, **self.summary()},
            features=features.reset_index(drop=True),
            blending="translucent_no_depth",
            opacity=0.9,
        )


def require_rule(calibration: Calibration, rate: float | None, fdr: float | None) -> None:
    """Raise ``SEG-001`` where the model knows too few people to keep to a rule.

    Parameters
    ----------
    calibration : Calibration
    rate, fdr : float, optional
        As for :meth:`NormativeModel.segment`.
    """
    least = least_rate(calibration)
    for name, asked, known in (
        ("rate", rate, least),
        ("fdr", fdr, least / counted(calibration)),
    ):
        if asked is not None and asked < known:
            least_said = math.ceil(1000 * known) / 1000  # rounded up: it must be granted
            raise SegmentationError(
                "SEG-001",
                f"{name} {asked:g} is asked for, and {len(calibration.evidence)} healthy people "
                f"cannot tell less than {least_said:g}",
                f"Ask for {name} {least_said:g} or more, or train the model with more people for "
                "calibration.",
            )


def segment(
    model: NormativeModel,
    detection: Detection,
    *,
    rate: float | None = None,
    fdr: float | None = None,
    head: Head | None = None,
    device: str = "auto",
) -> Segmentation:
    """Segment the candidates of a detection; see :meth:`NormativeModel.segment`."""
    calibration = model.calibration
    require_rule(calibration, rate, fdr)
    found = detection.candidates
    p = np.array([c.p for c in found], dtype=np.float64)
    expected, q = expected_false(p, calibration), false_discovery(p, calibration)
    likely = None if head is None else head.candidates(model, detection, device=device)
    keep = np.ones(len(found), dtype=bool)
    if rate is not None:
        keep &= expected <= rate
    if fdr is not None:
        keep &= q <= fdr
    if likely is not None:
        keep &= likely >= LIKELY
    chosen = [c for c, wanted in zip(found, keep, strict=True) if wanted]
    grown = _grown(detection, chosen)
    labels = np.where(np.isin(grown.labels, [c.label for c in chosen]), grown.labels, 0)
    on_scan = detection.scan.with_data(labels.astype(np.float32), is_label=True)
    rows = [
        _measured(
            detection, c, on_scan, grown.ways.get(c.label, "as found") if kept else None,
            (float(e), float(each)), None if likely is None else float(likely[n]),
        )
        for n, (c, kept, e, each) in enumerate(zip(found, keep, expected, q, strict=True))
    ]  # fmt: skip
    single = candidate_p_values(p, calibration)
    record = {
        **detection.provenance,
        "kind": "segmentation",
        "threshold_z": detection.threshold_z,
        "rule": {
            "rate": rate,
            "fdr": fdr,
            "head_sha256": None if head is None else head.digest,
            "healthy_people": len(calibration.evidence),
            "healthy_candidates_per_scan": round(calibration.false_per_scan, 3),
            "least_rate": round(least_rate(calibration), 4),
        },
        "candidate_p": [round(float(each), 4) for each in single],
        "ways": {str(label): way for label, way in grown.ways.items()},
    }
    return Segmentation(
        detection.scan, on_scan, tuple(rows), _warnings(detection, rate, calibration), record
    )


def _grown(detection: Detection, chosen: Sequence[Candidate]) -> Grown:
    """Return candidates grown on the scan's own grid."""
    scan, mask = detection.scan, detection.mask
    fitted = fit_contrast(scan.data, detection.reconstruction.data, mask)
    values = scan.data[mask]
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0
    return grow_candidates(
        detection.candidate_labels.data.astype(np.int32),
        [(c.label, c.sign) for c in chosen],
        detection.anomaly_z.data,
        np.where(mask, scan.data - fitted, 0),
        mask,
        scan.spacing_mm,
        threshold_z=detection.threshold_z,
        spread=spread,
    )


def _measured(
    detection: Detection,
    found: Candidate,
    labels: Volume,
    way: Way | None,
    false: tuple[float, float],
    likely: float | None,
) -> Segmented:
    """Measure a candidate: grown if it is kept, else as it was found."""
    where = (labels if way else detection.candidate_labels).data == found.label
    z = detection.anomaly_z.data[where]
    ml, centroid = measure(where, detection.scan)
    peak = float(z[np.abs(z).argmax()])
    return Segmented(
        label=found.label, id=found.id, rank=found.rank, sign=found.sign, volume_ml=ml,
        found_ml=found.volume_mm3 / 1000, mean_z=float(z.mean()), peak_z=peak,
        centroid_mm=centroid, place=detection.place_of(found), p=found.p,
        expected_false=false[0], q=false[1], head=likely, kept=way is not None, way=way or "",
    )  # fmt: skip


def _warnings(
    detection: Detection, rate: float | None, calibration: Calibration
) -> tuple[str, ...]:
    if rate is None or rate <= counted(calibration):
        return detection.warnings
    return (
        *detection.warnings,
        f"All candidates of the model are kept: healthy scans have "
        f"{calibration.false_per_scan:.2g} of them, fewer than the rate {rate:g}.",
    )
