"""A detection made by hand: a head with a dark lesion on the patient's left."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from napari_normative.core.candidates import Candidate
from napari_normative.engine.detection import Detection
from napari_normative.volume import Volume

LESION_MM = np.array([-40.0, 20.0, 10.0])
"""Left, in front, above; a ball of 12 mm radius."""

SECRETS = ("DOE^JANE", "jane-doe-1970", "private-folder")


def turned(axis: int, degrees: float) -> np.ndarray:
    """A rotation about a world axis, shape (4, 4)."""
    a, b = [n for n in range(3) if n != axis]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def planted(
    *,
    codes: str = "RAS",
    spacing_mm: tuple[float, float, float] = (4.0, 4.0, 4.0),
    tilt: np.ndarray | None = None,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    candidates: int = 1,
) -> Detection:
    """Return a detection whose lesion lies at ``LESION_MM`` from the head's middle."""
    spacing = np.array(spacing_mm)
    shape = tuple((np.array([180, 210, 180]) / spacing).astype(int))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    affine = (np.eye(4) if tilt is None else tilt) @ affine
    affine[:3, 3] += origin_mm
    ras = Volume.from_array(np.zeros(shape, np.float32), affine)
    target = nib.orientations.axcodes2ornt(codes)
    start = nib.orientations.io_orientation(affine)
    change = nib.orientations.ornt_transform(start, target)
    blank = nib.orientations.apply_orientation(ras.data, change)
    affine = affine @ nib.orientations.inv_ornt_aff(change, shape)

    index = np.indices(blank.shape).reshape(3, -1).T
    world = index @ affine[:3, :3].T + affine[:3, 3] - origin_mm
    x = world.reshape(*blank.shape, 3)
    head = ((x / (70, 85, 65)) ** 2).sum(axis=-1) < 1
    lesion = ((x - LESION_MM) ** 2).sum(axis=-1) < 12**2
    data = np.where(head, 100.0, 0.0)
    data[lesion] = 30.0
    scan = Volume.from_array(data.astype(np.float32), affine, SECRETS[1])
    z = np.where(head, 0.5, 0.0)
    z[lesion] = -12.0
    points = np.argwhere(lesion)
    centre = scan.affine[:3, :3] @ points.mean(axis=0) + scan.affine[:3, 3]
    box = [(int(a), int(b) + 1) for a, b in zip(points.min(0), points.max(0), strict=True)]
    found = tuple(
        Candidate(
            id=f"c{n}",
            label=n,
            rank=n,
            sign=-1,
            peak_z=-12.0 - n / 7,
            mean_z=-9.0 - n / 7,
            volume_mm3=float(lesion.sum()) * scan.voxel_ml * 1000 + n,
            centroid_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
            box=(box[0], box[1], box[2]),
            p=n / 33,
        )
        for n in range(1, candidates + 1)
    )
    checks = [
        {"name": "contrast", "found": 0.31, "expected": 0.45, "status": "warn"}
        | {"what": "the contrast is weak", "remedy": "Use a model of this modality."},
        {"name": "spacing", "found": 2.0, "expected": 3.0, "status": "ok"}
        | {"what": "", "remedy": ""},
    ]
    return Detection(
        scan=scan,
        mask=head,
        reconstruction=scan.with_data(np.where(head, 100.0, 0.0)),
        residual=scan.with_data(data - np.where(head, 100.0, 0.0)),
        anomaly_z=scan.with_data(z),
        anomaly_p=scan.with_data(np.ones_like(z)),
        candidate_labels=scan.with_data(lesion.astype(np.float32), is_label=True),
        candidates=found,
        scan_score=7.5,
        scan_p=0.0303,
        threshold_z=5.7,
        samples=(),
        warnings=("The contrast is weak. Use a model of this modality.",),
        provenance={
            "software": "napari-normative 9.9",
            "created_utc": "2026-01-02T03:04:05+00:00",
            "model": {"name": "m", "sha256": "ab" * 32, "title": "Tiny <brain>"},
            "applicability": {"verdict": "warn", "checks": checks},
            "device": "cpu",
            "seed": 3,
            "seconds": {"total": 4.25},
        },
    )
