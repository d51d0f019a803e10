"""A folder of scans, one after another.

Results come one by one, so that memory does not grow with their number; a file that cannot
be used is one line, and the others are done.

Makes: results/stroke/detection.json, results/stroke/anomaly_z.nii.gz, summary.tsv
"""

import argparse
from pathlib import Path

import napari_normative as nn


def main(out: Path) -> None:
    scans = out / "scans"
    nn.write_volume(scans / "stroke.nii.gz", nn.make_sample("brain-with-lesion"))
    (scans / "damaged.nii.gz").write_bytes(b"not a scan")

    model = nn.load_model("brain-t1")
    lines = ["scan\tscore\tp\tcandidates"]
    for done in model.detect_many(sorted(scans.glob("*.nii.gz")), out / "results"):
        if done.detection is None:
            print(done.error)
            continue
        found = done.detection
        lines.append(
            f"{done.name}\t{found.scan_score:.2f}\t{found.scan_p:.3f}\t{len(found.candidates)}"
        )
    (out / "summary.tsv").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
