"""How much of a lesion a single click finds, beside other ways to grow a region.

    python benchmarks/grow.py DATA [--out FILE]

DATA is the folder of the real volumes (open-ms-mni, ixi-t1-2mm, ds002748-controls-t1,
lesion-shapes). Lesions are real ones with the masks of three raters, and simulated ones of real
shape. All ways get the same click, the same ball of 40 mm, the same foreground and the same
limit of volume. Four minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import SimpleITK as sitk
import skimage
from scipy import ndimage
from skimage.segmentation import flood, random_walker

from napari_normative.core.growing import REACH_MM
from napari_normative.core.lesions import place_shape, simulate
from napari_normative.core.metrics import dice
from napari_normative.core.regions import MOST_ML, grow
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray, Mask, Volume

OUT = Path(__file__).parent / "results" / "grow.md"
CORNERS = np.ones((3, 3, 3), dtype=bool)
SIZES_ML = ((0.03, 0.1), (0.1, 1), (1, 10), (10, 100))
KINDS = ("hypointense", "hyperintense", "mass")
STRENGTHS = (1.0, 0.6)
SHAPES_ML = ((0.1, 1), (1, 10), (1, 10), (10, 60))
"""Of the shapes in each scan."""

WALK_MM = 20.0


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion to be clicked, in a box around it."""

    group: str
    values: FloatArray
    inside: Mask
    truth: Mask
    spacing: tuple[float, float, float]

    @property
    def ml(self) -> float:
        """Return the volume."""
        return float(self.truth.sum() * np.prod(self.spacing) / 1000)

    def middle(self) -> tuple[int, int, int]:
        """Return the voxel that lies deepest; of several the one nearest the centroid."""
        padded = np.pad(self.truth, 1)
        depth = ndimage.distance_transform_edt(padded, sampling=self.spacing)[1:-1, 1:-1, 1:-1]
        deepest = np.argwhere(depth >= depth.max() - 1e-6)
        far = (deepest - np.argwhere(self.truth).mean(axis=0)) * self.spacing
        i, j, k = deepest[(far**2).sum(axis=1).argmin()]
        return int(i), int(j), int(k)

    def anywhere(self) -> tuple[int, int, int]:
        """Return a voxel of the lesion, drawn."""
        places = np.argwhere(self.truth)
        i, j, k = places[np.random.default_rng(len(places)).integers(len(places))]
        return int(i), int(j), int(k)


def cut(group: str, scan: Volume, values: FloatArray, inside: Mask, truth: Mask) -> Lesion:
    """Keep what a click into the lesion could reach."""
    margin = np.ceil(REACH_MM / np.array(scan.spacing_mm)).astype(int) + 1
    box = tuple(
        slice(max(0, s.start - m), s.stop + m)
        for s, m in zip(ndimage.find_objects(truth.astype(np.int8))[0], margin, strict=True)
    )
    return Lesion(group, values[box].copy(), inside[box], truth[box], scan.spacing_mm)


def real_lesions(data: Path) -> Iterator[Lesion]:
    for folder in sorted((data / "open-ms-mni").glob("patient*")):
        marked = read_volume(next(folder.glob("GOLD_STANDARD*"))).data > 0
        pieces, count = ndimage.label(marked, CORNERS)
        for kind in ("FLAIR", "T1"):
            scan = read_volume(next(folder.glob(f"{kind}_*")))
            for piece in range(1, count + 1):
                truth = pieces == piece
                if truth.sum() * scan.voxel_ml >= SIZES_ML[0][0]:
                    yield cut(f"MS, {kind}", scan, scan.data, scan.data != 0, truth)


def largest(mask: Mask) -> Mask:
    pieces, count = ndimage.label(mask, CORNERS)
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]) if count else mask


def simulated_lesions(data: Path) -> Iterator[Lesion]:
    shapes = sorted((data / "lesion-shapes").glob("*/*.nii.gz"))
    random = np.random.default_rng(1)
    volumes = {}
    for path in shapes:
        shape = read_volume(path)
        volumes[path] = largest(shape.data > 0).sum() * shape.voxel_ml
    sites = {
        "2 mm": ("ixi-t1-2mm", slice(5, 90, 16)),
        "1 mm": ("ds002748-controls-t1", slice(6, 14, 2)),
    }
    for grid, (folder, which) in sites.items():
        for path in sorted((data / folder).glob("*.nii.gz"))[which]:
            scan = read_volume(path)
            inside = ndimage.binary_fill_holes(scan.data > 0)
            places = np.argwhere(inside)
            for low, high in SHAPES_ML:
                fitting = [shape for shape in shapes if low <= volumes[shape] < high]
                truth = np.zeros(scan.shape, dtype=bool)
                while truth.sum() * scan.voxel_ml < low:
                    shape = read_volume(fitting[random.integers(len(fitting))])
                    source = largest(shape.data > 0)
                    affine = shape.affine.copy()
                    to = scan.affine @ [*places[random.integers(len(places))], 1]
                    affine[:3, 3] += (to - affine @ [*np.argwhere(source).mean(axis=0), 1])[:3]
                    truth = largest(place_shape(source, affine, scan.shape, scan.affine) & inside)
                for kind in KINDS:
                    for strength in STRENGTHS:
                        image = simulate(
                            scan.data, inside, truth, scan.spacing_mm, kind, strength=strength
                        ).image
                        group = f"{kind}, strength {strength:g}, {grid}"
                        yield cut(group, scan, image, inside, truth)


def ball(lesion: Lesion, seed: tuple[int, int, int], radius_mm: float) -> Mask:
    i, j, k = np.ix_(
        *(
            ((np.arange(n) - s) * x) ** 2
            for n, s, x in zip(lesion.truth.shape, seed, lesion.spacing, strict=True)
        )
    )
    return i + j + k <= radius_mm**2


def near(lesion: Lesion, seed: tuple[int, int, int]) -> FloatArray:
    return lesion.values[ball(lesion, seed, max(2.0, 1.01 * max(lesion.spacing))) & lesion.inside]


def guarded(
    lesion: Lesion, seed: tuple[int, int, int], make: Callable[[float], Mask], factor: float
) -> Mask:
    """Tighten until the region is small enough and does not arrive at the ball."""
    edge = ~ball(lesion, seed, REACH_MM - max(lesion.spacing))
    for _ in range(20):
        region = make(factor)
        ml = region.sum() * np.prod(lesion.spacing) / 1000
        if ml <= MOST_ML and not (region & edge).any():
            break
        factor *= 0.8
    return region


def flooded(share: float | None = None, noises: float = 3.0):
    """Flood with a tolerance that is a share of the contrast, or several times the noise."""

    def method(lesion: Lesion, seed: tuple[int, int, int]) -> Mask:
        level = np.median(near(lesion, seed))
        around = ball(lesion, seed, REACH_MM) & lesion.inside
        low, high = np.quantile(lesion.values[around], (0.05, 0.95))
        noise = 1.4826 * np.median(np.abs(near(lesion, seed) - level))
        start = share * (high - low) if share else noises * noise
        away = np.where(around, np.abs(lesion.values - level), np.inf)
        away[seed] = 0

        def make(tolerance: float) -> Mask:
            return flood((away <= tolerance).astype(np.uint8), seed, connectivity=1)

        return guarded(lesion, seed, make, float(start))

    return method


def confidence(lesion: Lesion, seed: tuple[int, int, int]) -> Mask:
    """Grow as ITK does: mean and SD of the region so far, four times; 2.5 SD at first."""
    around = ball(lesion, seed, REACH_MM) & lesion.inside
    far = float(lesion.values.min() - 10 * np.ptp(lesion.values))
    image = sitk.GetImageFromArray(np.where(around, lesion.values, far).astype(np.float32))

    def make(multiplier: float) -> Mask:
        grown = sitk.ConfidenceConnected(image, [[int(s) for s in seed[::-1]]], 4, multiplier, 1)
        return sitk.GetArrayFromImage(grown) > 0

    return guarded(lesion, seed, make, 2.5)


def half_way(lesion: Lesion, seed: tuple[int, int, int]) -> Mask:
    """Take what lies beyond half way from the surroundings (12 mm) to the click; opened."""
    level = np.median(near(lesion, seed))
    other = np.median(lesion.values[ball(lesion, seed, 12.0) & lesion.inside])
    around = ball(lesion, seed, REACH_MM) & lesion.inside
    away = (level - lesion.values) * (1 if level > other else -1)

    def make(share: float) -> Mask:
        like = around & (away <= share * abs(level - other))
        like[seed] = True
        whole = flood(like.astype(np.uint8), seed, connectivity=1)
        core = ndimage.binary_opening(whole)
        return flood(core.astype(np.uint8), seed, connectivity=1) if core[seed] else whole

    return guarded(lesion, seed, make, 0.5)


def walk(lesion: Lesion, seed: tuple[int, int, int]) -> Mask:
    """Walk at random between the click and a sphere of 20 mm; a larger one takes far longer."""
    within = ball(lesion, seed, WALK_MM) & lesion.inside
    box = ndimage.find_objects(ball(lesion, seed, WALK_MM).astype(np.int8))[0]
    labels = np.where(within, 0, -1)
    labels[within & ~ball(lesion, seed, WALK_MM - 1.5 * max(lesion.spacing))] = 2
    labels[ball(lesion, seed, max(2.0, 1.01 * max(lesion.spacing))) & within] = 1
    labels[seed] = 1
    pieces, _ = ndimage.label(labels >= 0)
    labels[pieces != pieces[seed]] = -1
    region = np.zeros(lesion.truth.shape, dtype=bool)
    region[seed] = True
    if (labels == 2).any():
        region[box] = (
            random_walker(
                lesion.values[box], labels[box], beta=130, mode="cg_j", spacing=lesion.spacing
            )
            == 1
        )
    return region


METHODS: dict[str, Callable[[Lesion, tuple[int, int, int]], Mask]] = {
    "grow": lambda lesion, seed: grow(lesion.values, seed, lesion.spacing, inside=lesion.inside),
    "flood, 10 % of the contrast": flooded(0.1),
    "flood, 20 % of the contrast": flooded(0.2),
    "flood, 3 times the noise": flooded(None, 3.0),
    "confidence connected": confidence,
    "half way to the surroundings": half_way,
    "random walker": walk,
}


def tables(rows: list[tuple[Lesion, dict[str, list[float]]]]) -> list[str]:
    def line(name: str, part: list[tuple[Lesion, dict[str, list[float]]]]) -> str:
        cells = [f"{np.median([r[m][0] for _, r in part]):.2f}" for m in METHODS]
        rim = np.median([r["grow"][1] for _, r in part])
        return f"| {name} | {len(part)} | " + " | ".join(cells) + f" | {rim:.2f} |"

    columns = [f"**{m}**" if m == "grow" else m for m in METHODS]
    lines = [
        "| lesions | n | " + " | ".join(columns) + " | grow, click anywhere |",
        "|" + "---|" + "---:|" * (len(METHODS) + 2),
    ]
    for real, word in ((True, "real"), (False, "simulated")):
        some = [row for row in rows if row[0].group.startswith("MS") == real]
        lines.append(line(f"all {word}", some))
        for low, high in SIZES_ML:
            if part := [row for row in some if low <= row[0].ml < high]:
                lines.append(line(f"{word}, {low:g} to {high:g} ml", part))
    for group in sorted({lesion.group for lesion, _ in rows}):
        lines.append(line(group, [row for row in rows if row[0].group == group]))
    for fine in (True, False):
        part = [r for lesion, r in rows if (max(lesion.spacing) < 1.5) == fine]
        for rank, q in (("median", 50), ("95th percentile", 95)):
            cells = [f"{np.percentile([r[m][2] for r in part], q):.0f}" for m in METHODS]
            grid = "1 mm" if fine else "2 mm"
            name = f"{rank} of milliseconds (CPU), {grid}"
            lines.append(f"| {name} | {len(part)} | " + " | ".join(cells) + " | |")
    return lines


def whole_scan_ms() -> tuple[float, float]:
    """Return CPU and wall milliseconds of a click into a scan of 256 x 256 x 180 voxels."""
    random = np.random.default_rng(0)
    values = random.normal(100, 8, (256, 256, 180)).astype(np.float32)
    values += 60 * (ndimage.gaussian_filter(random.standard_normal(values.shape), 6) > 0)
    spent, waited = [], []
    for _ in range(10):
        cpu, start = time.process_time(), time.perf_counter()
        grow(values, (128, 128, 90), (1, 1, 1), inside=values > 0)
        spent.append(1e3 * (time.process_time() - cpu))
        waited.append(1e3 * (time.perf_counter() - start))
    return float(np.median(spent)), float(np.median(waited))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = []
    for source in (real_lesions, simulated_lesions):
        for lesion in source(options.data):
            row = {}
            middle, anywhere = lesion.middle(), lesion.anywhere()
            for name, method in METHODS.items():
                start = time.process_time()
                found = dice(method(lesion, middle), lesion.truth)
                spent = 1e3 * (time.process_time() - start)
                row[name] = [found, 0.0, spent]
            row["grow"][1] = dice(METHODS["grow"](lesion, anywhere), lesion.truth)
            rows.append((lesion, row))
            print(lesion.group, f"{lesion.ml:.2f} ml", f"{row['grow'][0]:.2f}", flush=True)
    spent, waited = whole_scan_ms()
    lines = [
        "# What a single click finds",
        "",
        "Median Dice of the region and the lesion. The click is the voxel that lies deepest in the "
        "lesion; in the last column it is any voxel of it. A lesion is a piece of the mask that "
        "hangs together. Real: two people with multiple sclerosis, masks of three raters; reach "
        "and tolerances of `grow` were chosen on them and on other simulated lesions than these, "
        "so that its figures for the real ones are a little too good. Simulated: real shapes of "
        "strokes, put anywhere in scans of healthy people. The random walker ends at 20 mm.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, scipy {scipy.__version__}, "
        f"scikit-image {skimage.__version__}. Times are of the CPU, with one thread.",
        "",
        *tables(rows),
        "",
        "A click into a scan of 256 × 256 × 180 voxels of 1 mm, noise of two levels: "
        f"{spent:.0f} ms of the CPU, {waited:.0f} ms on the clock "
        f"(load average {os.getloadavg()[0]:.1f}).",
        "",
        "Written by `benchmarks/grow.py DATA`.",
    ]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
