"""Where scans lie among the model's healthy people.

Encodes a scan and its mirror image, and lists the healthy people of the model's cohort that
are nearest to each, in standard deviations of the cohort's latents.

Makes: latents/latent.tsv, neighbours.tsv
"""

import argparse
from pathlib import Path

import numpy as np

import napari_normative as nn


def main(out: Path) -> None:
    model = nn.load_model("brain-t1")
    scan = nn.make_sample("brain-with-lesion").canonical()
    scans = {"scan": scan, "mirrored": scan.with_data(scan.data[::-1])}
    encoded = {name: model.encode(volume) for name, volume in scans.items()}
    encoded["scan"].save(out / "latents")

    people = model.people.latents  # one row for each healthy person
    sd = people.std(axis=0)
    lines = ["scan\tnearest person\tdistance (SD)"]
    for name, found in encoded.items():
        distance = np.sqrt((((people - found.mean.ravel()) / sd) ** 2).mean(axis=1))
        for number in np.argsort(distance)[:3]:
            lines.append(f"{name}\t{number}\t{distance[number]:.2f}")
    (out / "neighbours.tsv").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
