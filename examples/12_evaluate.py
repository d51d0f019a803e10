"""Judge a model on your own cases.

Compares the shipped model with one that was trained for a moment, on a patient and healthy
people with simulated lesions; what it writes is a table and a report that needs nothing else.

Makes: judged/report.html, judged/summary.tsv
"""

import argparse
from pathlib import Path

import napari_normative as nn


def main(out: Path) -> None:
    files = {
        "stroke.nii.gz": nn.make_sample("brain-with-lesion"),
        "stroke_mask.nii.gz": nn.sample_truth("brain-with-lesion"),
        "healthy.nii.gz": nn.make_sample("healthy-brain"),
    }
    for name, volume in files.items():
        nn.write_volume(out / name, volume)
    table = out / "cases.tsv"
    table.write_text(
        "path\ttruth\tsubject\nstroke.nii.gz\tstroke_mask.nii.gz\tp1\nhealthy.nii.gz\t\tp2\n"
    )

    judged = nn.evaluate(table, ["brain-t1"], out / "judged", seeds=1)
    print(judged.summary.head(8).to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
