"""Synthetic brains, and the way from one scan to its mirror image.

Draws from the model's cohort, and leads from a scan's reconstruction to that of its mirror
image; every volume is labelled synthetic, and the same seed gives the same volumes.

Makes: samples/sample_01.nii.gz, samples/samples.json, way.png
"""

import argparse
from pathlib import Path

import numpy as np
from skimage.io import imsave

import napari_normative as nn


def main(out: Path) -> None:
    model = nn.load_model("brain-t1")
    samples = model.sample(3, seed=7)
    samples.save(out / "samples")

    scan = nn.make_sample("brain-with-lesion").canonical()  # axes to the right, anterior, superior
    mirrored = scan.with_data(scan.data[::-1])
    way = model.interpolate(scan, mirrored, 5)

    rows = [np.hstack([axial(volume) for volume in volumes]) for volumes in (samples, way)]
    width = max(row.shape[1] for row in rows)
    picture = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows])
    imsave(out / "way.png", picture, check_contrast=False)
    print(f"{len(samples)} samples above, {len(way)} steps from the scan to its mirror image below")


def axial(volume: nn.Volume) -> np.ndarray:
    """Return the middle axial plane, patient right on the left, anterior up, as grey values."""
    data = volume.canonical().data
    plane = data[::-1, ::-1, int(0.55 * data.shape[2])].T
    return np.uint8(255 * np.clip(plane / np.percentile(data[data > 0], 99.5), 0, 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
