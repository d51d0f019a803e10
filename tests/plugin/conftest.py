"""What the plugin's tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_normative.core.candidates import Candidate
from napari_normative.engine.detection import Detection
from napari_normative.volume import Volume

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real volumes of ../shared/data are not here")
    return SHARED


def made_detection(scan: Volume, samples: int = 0, strength: float = 5.0) -> Detection:
    """A detection with known values: +strength in one block, -strength/2 in another."""
    z = np.zeros(scan.shape, np.float32)
    labels = np.zeros(scan.shape, np.float32)
    bright, dark = np.s_[4:8, 4:8, 4:8], np.s_[14:18, 14:18, 10:14]
    z[bright], z[dark] = strength, -strength / 2
    labels[bright], labels[dark] = 1, 2
    drawn = tuple(scan.with_data(scan.data * (1 + 0.01 * n)) for n in range(samples))

    def candidate(label: int, sign: int, peak: float) -> Candidate:
        return Candidate(
            id=f"c{label}", label=label, rank=label, sign=sign, peak_z=peak, mean_z=peak,
            volume_mm3=192.0, centroid_mm=(1.0, 2.0, 3.0), box=((4, 8), (4, 8), (4, 8)), p=0.02,
        )  # fmt: skip

    return Detection(
        scan=scan,
        mask=np.ones(scan.shape, bool),
        reconstruction=scan.with_data(scan.data - 10 * z),
        residual=scan.with_data(10 * z),
        anomaly_z=scan.with_data(z),
        anomaly_p=scan.with_data(np.ones(scan.shape)),
        candidate_labels=scan.with_data(labels, is_label=True),
        candidates=(candidate(1, 1, strength), candidate(2, -1, -strength / 2)),
        scan_score=1.25,
        scan_p=0.05,
        threshold_z=2.0,
        samples=drawn,
        warnings=("The scan is unlike the training cohort.",),
        provenance={"device": "cpu", "device_reason": "as asked", "seconds": {"total": 1.5}},
    )
