"""Judge a model beside a baseline.

Training leaves three simple baselines beside a model. Here the model and one of them, principal
components, are judged on a patient and on a healthy person with simulated lesions; the report
needs nothing but a browser.

Makes: judged/evaluation.html, judged/summary.tsv
"""

import argparse
from pathlib import Path

import napari_normative as nn


def main(out: Path) -> None:
    for seed in range(12):
        brain = nn.make_sample("healthy-brain", seed=seed, spacing_mm=2)
        nn.write_volume(out / "healthy" / f"sub-{seed:02d}_T1w.nii.gz", brain)
    small = out / "small.safetensors"
    nn.fit(out / "healthy", small, preset="brain-8mm", changes={"steps": 60})
    components = out / "small.safetensors.work" / "baselines" / "pca.safetensors"

    nn.write_volume(out / "stroke.nii.gz", nn.make_sample("brain-with-lesion", spacing_mm=2))
    nn.write_volume(out / "truth.nii.gz", nn.sample_truth("brain-with-lesion", spacing_mm=2))
    nn.write_volume(out / "unseen.nii.gz", nn.make_sample("healthy-brain", seed=77, spacing_mm=2))
    table = out / "cases.tsv"
    table.write_text("path\ttruth\nstroke.nii.gz\ttruth.nii.gz\nunseen.nii.gz\t\n")

    judged = nn.evaluate(table, [small, components], seeds=1)
    judged.save(out / "judged")
    print(judged.summary.head(8).to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
