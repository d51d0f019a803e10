"""nibabel images and arrays as scans.

Whatever holds a scan goes in: here a nibabel image and a NumPy array with its affine, with
the same result to the last bit; a map goes out as a nibabel image again.

Makes: anomaly_z.nii.gz
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

import napari_normative as nn


def main(out: Path) -> None:
    made = nn.make_sample("brain-with-lesion")
    image = nib.Nifti1Image(made.data, made.affine)

    model = nn.load_model("brain-t1")
    of_image = model.detect(image)
    of_array = model.detect((np.asarray(image.dataobj), image.affine))
    assert np.array_equal(of_image.anomaly_z.data, of_array.anomaly_z.data)

    z = of_array.anomaly_z
    out.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(z.data, z.affine), out / "anomaly_z.nii.gz")
    print(f"z from {z.data.min():.1f} to {z.data.max():.1f}, axes {z.orientation} as in the scan")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
