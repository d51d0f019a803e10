"""Detections on disk with a few candidates each, as a review begins with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from napari_normative.core.candidates import Candidate
from napari_normative.core.segments import measure
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.review.assign import Plan, project_for
from napari_normative.review.book import Book
from napari_normative.review.masks import encode_mask
from napari_normative.review.material import Material, find_detections, gather
from napari_normative.review.records import NewEvent
from napari_normative.volume import Volume
from planted import planted

PLACES = (
    (-40, 20, 10), (40, 20, 10), (0, -50, 20), (-20, -20, -30), (25, 45, 0), (0, 10, 40),
    (-25, 50, 15), (30, -30, -20),
)  # fmt: skip
"""World mm of candidates, from the head's middle; far enough apart not to touch."""
RADIUS_MM = 7.0


def write_detection(
    root: Path, name: str, *, candidates: int = 3, strength: float = 10.0, **grid: object
) -> Path:
    """Write ``scans/NAME.nii.gz`` and its detection ``detections/NAME``; return the latter.

    Candidate 1 is the strongest. ``grid`` is as for :func:`planted.planted`.
    """
    made = planted(**grid)
    # Noise, so that two scans are two files.
    noise = np.random.default_rng(sum(name.encode())).normal(0, 1, made.scan.shape)
    values = np.where(made.mask, made.scan.data + noise, 0)
    path = write_volume(root / "scans" / f"{name}.nii.gz", made.scan.with_data(values))
    scan = read_volume(path)
    index = np.indices(scan.shape).reshape(3, -1).T
    world = (index @ scan.affine[:3, :3].T + scan.affine[:3, 3]).reshape(*scan.shape, 3)
    origin = np.array(grid.get("origin_mm", (0.0, 0.0, 0.0)))
    labels = np.zeros(scan.shape, dtype=np.float32)
    found = []
    for n, place in enumerate(PLACES[:candidates], start=1):
        ball = ((world - origin - place) ** 2).sum(axis=-1) < RADIUS_MM**2
        labels[ball] = n
        ml, centroid = measure(ball, scan)
        z = (strength - n / 2) * (1 if n % 2 else -1)
        found.append(
            Candidate(f"c{n}", n, n, 1 if n % 2 else -1, z, z / 2, 1000 * ml, centroid,
                      ((0, 1), (0, 1), (0, 1)), n / 40)
        )  # fmt: skip

    def on(data: np.ndarray) -> Volume:
        return scan.with_data(np.asarray(data, np.float32), is_label=False)

    detection = dataclasses.replace(
        made,
        scan=scan,
        reconstruction=on(made.reconstruction.data),
        residual=on(made.residual.data),
        anomaly_z=on(made.anomaly_z.data),
        anomaly_p=on(made.anomaly_p.data),
        candidate_labels=scan.with_data(labels, is_label=True),
        candidates=tuple(found),
        provenance={**made.provenance, "scan": {"sha256": scan.source.digest}},
    )
    folder = root / "detections" / name
    detection.save(folder)
    return folder


def material(root: Path, scans: int = 4, **kwargs: object) -> Material:
    """Return the material of a review of some scans written below ``root``."""
    for n in range(scans):
        write_detection(root, f"sub-{n:02d}_T1w", strength=10.0 + n, **kwargs)
    return read_material(root)


def read_material(root: Path) -> Material:
    """Return the material of the detections below ``root``."""
    found, alone = find_detections(root / "detections", [root / "scans"])
    return gather(found, root / "study", refused=alone)


def project(root: Path, reader: str = "anna", scans: int = 4, **plan: object):
    """Return (project, masks) of a review of some scans written below ``root``."""
    made = material(root, scans)
    return project_for(reader, made, Plan(**plan)), made.masks


def decide_all(path: Path, decide, *, submit: bool = False) -> None:
    """Let a reader go through a whole review file.

    ``decide(candidate id, repeat)`` returns a decision; empty leaves it open.
    """
    with Book.open(path) as book:
        for number, at in list(book.reading.passes.items()):
            for read in at.reads:
                if word := decide(read.candidate, at.repeat):
                    book.record(NewEvent(word, number, read.candidate, {"seconds": 1.5})).result()
            if not at.reads:
                book.record(NewEvent("submit", number)).result()
        if submit:
            book.record(NewEvent("submit")).result()


def add_ball(path: Path, image: str, centre_mm, radius_mm: float = 7.0) -> str:
    """Let a reader add a finding to a scan; return its id."""
    with Book.open(path) as book:
        found = book.images[image]
        at = book.reading.first_passes()[image]
        affine = np.array(found.affine)
        index = np.indices(found.shape).reshape(3, -1).T
        world = index @ affine[:3, :3].T + affine[:3, 3]
        mask = (((world - centre_mm) ** 2).sum(1) < radius_mm**2).reshape(found.shape)
        digest, data = encode_mask(mask)
        name = f"{image}-{path.stem}"
        details = {"mask": digest, "value": book.reading.free_value(at.number), "how": "painted"}
        book.record(NewEvent("add", at.number, name, details), masks={digest: data}).result()
        return name
