"""What one model makes of one scan whose lesions are known, in figures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_normative.core import metrics, sample_metrics
from napari_normative.core.calibration import TAIL, Calibration
from napari_normative.core.candidates import components
from napari_normative.core.counts import VoxelCounts
from napari_normative.core.lesions import place_shape
from napari_normative.core.preprocess import (
    Prepared,
    own_foreground,
    prepare,
    restore,
    scored_mask,
)
from napari_normative.core.register import Alignment
from napari_normative.core.score import judge, scan_score
from napari_normative.engine.infer import latent_kl_nats, run_network
from napari_normative.volume import Mask, Volume

if TYPE_CHECKING:
    from napari_normative.engine.cases import Case
    from napari_normative.engine.model import NormativeModel

Group = Literal["healthy", "real", "simulated"]
LOG_SIGMA_FLOOR = -4.0
NOMINAL = 0.01
"""The voxel false-positive rate at which sensitivity and Dice are given."""

LEVELS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""Nominal voxel rates at which the false-positive rate is looked at."""


@dataclass(frozen=True, eq=False)
class Look:
    """A scan to be judged, as found or with a simulated lesion.

    Attributes
    ----------
    case : Case
    group : {"healthy", "real", "simulated"}
    kind : str
        Of the lesion; empty for healthy people.
    seed : int or None
        Of the simulation.
    scan : Volume
    truth : bool array, shape of ``scan``
    mask : Volume or None
        Foreground that came with the scan.
    """

    case: Case
    group: Group
    kind: str
    seed: int | None
    scan: Volume
    truth: Mask
    mask: Volume | None

    @property
    def lesion_ml(self) -> float:
        """Volume of everything that is marked."""
        return float(self.truth.sum()) * self.scan.voxel_ml


@dataclass(frozen=True, eq=False)
class Judged:
    """A model with the name it has in the results.

    Attributes
    ----------
    name : str
    model : NormativeModel
    space : str
        Equal for models that prepare scans in the same way.
    align : str
        Equal for models that align scans in the same way.
    """

    name: str
    model: NormativeModel
    space: str
    align: str

    @classmethod
    def named(cls, name: str, model: NormativeModel) -> Judged:
        """Name a model and find out which space it works in."""
        config, template = model.card.preprocess, model.template
        shape = hashlib.sha256(template.image.tobytes() + template.mask.tobytes())
        shape.update(repr((config.alignment, config.grid, config.min_similarity)).encode())
        space = hashlib.sha256(shape.digest() + config.model_dump_json().encode())
        return cls(name, model, space.hexdigest(), shape.hexdigest())


@dataclass
class Preparer:
    """Brings a scan to the models' spaces, each once, and remembers where it lies.

    A lesion that is simulated in a scan does not move the head: its alignment is kept.
    """

    alignments: dict[str, Alignment] = field(default_factory=dict)

    def prepare(self, look: Look, models: list[Judged]) -> dict[str, Prepared]:
        """Return the prepared scan by ``Judged.space``."""
        made: dict[str, Prepared] = {}
        for judged in models:
            if judged.space in made:
                continue
            made[judged.space] = prepare(
                look.scan,
                judged.model.card.preprocess,
                judged.model.template,
                mask=look.mask,
                alignment=self.alignments.get(judged.align),
            )
            self.alignments[judged.align] = made[judged.space].alignment
        return made


@dataclass(frozen=True, eq=False)
class Measured:
    """The figures of a model on a scan.

    Attributes
    ----------
    row : dict
        Flat; a row of ``cases.tsv``.
    counts : VoxelCounts
        On the scan's grid.
    froc : FrocScan or None
        On the model's grid; None without lesion.
    realised : float array, shape (len(LEVELS),)
        Share of scored voxels beyond each nominal level.
    picture : uint8 array, shape (3, rows, columns)
        An axial slice of scan, reconstruction and z (128 is 0), seen from below.
    outline : bool array, shape (rows, columns)
        The truth in that slice.
    """

    row: dict[str, Any]
    counts: VoxelCounts
    froc: metrics.FrocScan | None
    realised: NDArray[np.float64]
    picture: NDArray[np.uint8]
    outline: Mask


def judged_region(look: Look, prepared: Prepared, inside: Mask) -> Mask:
    """Return the voxels that count, on the scan's grid: its foreground and every lesion.

    The foreground is the mask that was given, else what differs from a constant
    background, else (a whole head) what the first model takes for foreground. It is the
    same for all models; what a model does not score is missed, not left out.
    """
    own = own_foreground(look.scan) if look.mask is None else look.mask.data > 0
    if own is None or prepared.foreground == "template":
        own = inside
    return own | look.truth


def measure(
    look: Look, judged: Judged, prepared: Prepared, region: Mask | None, device: str
) -> tuple[Measured, Mask]:
    """Judge a model on a scan.

    Parameters
    ----------
    look : Look
    judged : Judged
    prepared : Prepared
        The scan in the model's space.
    region : bool array, shape of the scan, optional
        From an earlier call for the same scan; made when it is None.
    device : str

    Returns
    -------
    measured : Measured
    region : bool array, shape of the scan
    """
    model, config = judged.model, judged.model.card.preprocess
    scoring, calibration = model.card.score, model.calibration
    found = assess(model, prepared, device)
    inside = scored_mask(prepared, config, look.scan)
    if region is None:
        region = judged_region(look, prepared, inside)
    z = np.where(inside, restore(found.z, prepared, config, look.scan, units="model"), 0)
    counts = VoxelCounts.of(z[region], look.truth[region])
    voxel_ml = config.spacing_mm**3 / 1000
    candidates = components(found.z, calibration.threshold_z, scoring.minimum_ml, voxel_ml)[1]
    truth = on_grid(look, prepared, judged)
    realised = metrics.realised_rates([found.z], LEVELS, calibration.z_tail)[0]
    at_nominal = level_of(calibration, NOMINAL)
    row: dict[str, Any] = {
        "case": look.case.id,
        "person": "",
        "site": look.case.site,
        "group": look.group,
        "kind": look.kind,
        "seed": look.seed,
        "model": judged.name,
        "lesion_ml": look.lesion_ml,
        "scan_score": found.score,
        "scan_p": calibration.scan_p(found.score),
        "candidates": len(candidates),
        "fpr_at_1pct": float(realised[LEVELS.index(NOMINAL)]),
        "mae": sample_metrics.mae(prepared.image, found.reconstruction, prepared.mask),
        "psnr": sample_metrics.psnr(prepared.image, found.reconstruction, prepared.mask),
        "ssim": sample_metrics.ssim(prepared.image, found.reconstruction, prepared.mask),
        "elbo_nats": _elbo_nats(prepared, found),
        "similarity": prepared.alignment.similarity,
    }
    froc = None
    if look.group != "healthy":
        row |= _voxel_figures(counts, calibration.threshold_z, at_nominal)
        froc = metrics.froc_scan(found.z, truth, scoring.minimum_ml, voxel_ml)
    picture, outline = _picture(prepared, found.reconstruction, found.z, truth)
    return Measured(
        row=row,
        counts=counts,
        froc=froc,
        realised=realised,
        picture=picture,
        outline=outline,
    ), region


@dataclass(frozen=True, eq=False)
class _Assessment:
    reconstruction: NDArray[np.float32]
    z: NDArray[np.float32]
    score: float
    kl_nats: float


def assess(model: NormativeModel, prepared: Prepared, device: str) -> _Assessment:
    """Reconstruct and score a prepared scan, as a detection does."""
    scoring, spacing = model.card.score, model.card.preprocess.spacing_mm
    (image, _, _), _ = run_network(model, prepared.image[None], device)
    kl_nats = latent_kl_nats(model, prepared.image[None], device)
    z = judge(prepared.image, image[0], prepared.mask, model.calibration, scoring, spacing)
    return _Assessment(image[0], z, scan_score(z), kl_nats)


def _elbo_nats(prepared: Prepared, found: _Assessment) -> float:
    """Return the bound of a scan at the mean of its latents, with the scan's optimal σ.

    References
    ----------
    .. [1] Rybkin, Daniilidis & Levine, ICML 2021.
    """
    error = (prepared.image - found.reconstruction)[prepared.mask].astype(np.float64)
    log_sigma = max(0.5 * float(np.log((error**2).mean() + 1e-12)), LOG_SIGMA_FLOOR)
    squared = 0.5 * float((error**2).sum()) * np.exp(-2 * log_sigma)
    nll = squared + error.size * (log_sigma + 0.5 * np.log(2 * np.pi))
    return float(-(nll + found.kl_nats))


def _voxel_figures(counts: VoxelCounts, threshold_z: float, at_nominal: float) -> dict[str, float]:
    best, best_z = counts.best_dice()
    return {
        "prevalence": counts.prevalence,
        "ap": counts.average_precision(),
        "ap_darker": counts.average_precision("darker"),
        "ap_brighter": counts.average_precision("brighter"),
        "best_dice": best,
        "best_dice_z": best_z,
        "dice": counts.dice_at(threshold_z),
        "dice_at_1pct": counts.dice_at(at_nominal),
        "sensitivity_at_1pct": counts.sensitivity_at(NOMINAL),
    }


def level_of(calibration: Calibration, nominal: float) -> float:
    """Return the |z| that a share of healthy calibration voxels exceeds."""
    return float(np.interp(-np.log(nominal), -np.log(TAIL), calibration.z_tail))


def on_grid(look: Look, prepared: Prepared, judged: Judged) -> Mask:
    """Return the truth on the model's grid."""
    grid = judged.model.card.preprocess.grid
    to_world = prepared.alignment.scan_to_template @ look.scan.affine
    return place_shape(look.truth, to_world, grid.shape, grid.affine)


def _picture(
    prepared: Prepared, reconstruction: NDArray[np.float32], z: NDArray[np.float32], truth: Mask
) -> tuple[NDArray[np.uint8], Mask]:
    """Return the axial slice with most of the lesion (or the middle), patient's right left."""
    marked = truth.sum(axis=(0, 1))
    area = prepared.mask.sum(axis=(0, 1))
    middle = int(np.average(np.arange(len(area)), weights=area))
    where = int(marked.argmax()) if marked.any() else middle
    low, high = np.percentile(prepared.image[prepared.mask], (0.5, 99.5))

    def shown(data: NDArray[np.float32], floor: float, ceiling: float) -> NDArray[np.uint8]:
        # Rows from anterior to posterior, columns from the patient's right to the left.
        plane = data[::-1, ::-1, where].T
        scaled = np.clip((plane - floor) / max(ceiling - floor, 1e-6), 0, 1)
        return np.asarray(np.rint(255 * scaled), dtype=np.uint8)

    picture = np.stack(
        [
            shown(np.where(prepared.mask, prepared.image, low), low, high),
            shown(np.where(prepared.mask, reconstruction, low), low, high),
            shown(z, -8.0, 8.0),
        ]
    )
    return picture, truth[::-1, ::-1, where].T
