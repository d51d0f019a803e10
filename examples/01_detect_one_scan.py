"""One scan to maps.

Compares a made sample scan (a brain with a simulated stroke) with the shipped model and
writes all maps on the scan's own voxels.

Makes: detection/anomaly_z.nii.gz, detection/reconstruction.nii.gz, detection/candidates.tsv,
detection/detection.json
"""

import argparse
from pathlib import Path

import napari_normative as nn


def main(out: Path) -> None:
    scan = nn.make_sample("brain-with-lesion")  # or the path of your own T1-weighted scan
    model = nn.load_model("brain-t1")

    detection = model.detect(scan)
    detection.save(out / "detection")

    print(f"scan score {detection.scan_score:.1f}, p = {detection.scan_p:.2g} among healthy scans")
    for candidate in detection.candidates:
        where = detection.place_of(candidate)
        print(
            f"{candidate.rank}. {where}: {candidate.volume_mm3 / 1000:.1f} ml, peak z "
            f"{candidate.peak_z:.1f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
