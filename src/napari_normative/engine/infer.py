"""Detection, step by step, on a chosen device."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.applicability import (
    Applicability,
    Check,
    check_likeness,
    check_prepared,
    reconstruction_error,
)
from napari_normative.core.candidates import Candidate, components, describe
from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.deform import local_volume as volume_change
from napari_normative.core.preprocess import Prepared, prepare, restore, scored_mask
from napari_normative.core.residual import fit_contrast, residual
from napari_normative.core.score import judge, scan_score
from napari_normative.engine.clock import Clock
from napari_normative.engine.detection import Detection, InModelSpace
from napari_normative.engine.device import choose_device
from napari_normative.errors import DeviceError
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

STEPS = {
    name: n / 6
    for n, name in enumerate(
        ("align", "reconstruct", "score", "candidates", "restore", "samples"), start=1
    )
}


def detect(
    model: LatentModel,
    scan: Volume,
    mask: Volume | None,
    *,
    device: str,
    samples: int,
    seed: int,
    force: bool,
    local_volume: bool,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Detection:
    """Compare a scan with a model; see :meth:`NormativeModel.detect`."""
    clock, card, calibration = Clock(STEPS, progress, cancel), model.card, model.calibration
    space, scoring, spacing = card.preprocess, card.score, card.preprocess.spacing_mm
    with clock.step("align"):
        prepared, checks = prepare_scan(model, scan, mask=mask, force=force)
    with clock.step("reconstruct"):
        (image, mean, log_variance), note = run_network(model, prepared.image[None], device)
    with clock.step("score"):
        z = judge(prepared.image, image[0], prepared.mask, calibration, scoring, spacing)
        score = scan_score(z)
        change: FloatArray | None = None
        if local_volume:
            fitted = fit_contrast(prepared.image, image[0], prepared.mask)
            change = volume_change(fitted, prepared.image, prepared.mask, spacing)
    with clock.step("candidates"):
        label_map, candidates = find_candidates(model, scan, prepared, z, calibration.threshold_z)
    with clock.step("restore"):
        inside = scored_mask(prepared, space, scan)

        pseudo_healthy = restore(image[0], prepared, space, scan)
        reconstruction = scan.with_data(np.where(inside, pseudo_healthy, 0), is_label=False)

        def map_onto_scan(data: FloatArray) -> Volume:
            values = restore(data, prepared, space, scan, units="model")
            return scan.with_data(np.where(inside, values, 0), is_label=False)

        z_map = map_onto_scan(z)
        room = None if change is None else map_onto_scan(change)
    drawn: list[Volume] = []
    with clock.step("samples"):
        if samples:
            latents = model.posterior.draw(samples, seed)
            for x in decode(model, latents, note.device)[0]:
                values = restore(np.where(prepared.mask, x, 0), prepared, space, scan)
                drawn.append(scan.with_data(np.where(inside, values, 0), is_label=False))
    clock.finish()
    distance = model.posterior.distance(mean)
    error = reconstruction_error(prepared.image, image[0], prepared.mask)
    fits = Applicability((*checks, *check_likeness(distance, error, model.healthy_range)))
    cautions = model.covariates.cautions(model.known)
    warnings = [*scan.source.warnings, *fits.warnings, *cautions, *note.warnings]
    if card.beats_no_baseline():
        warnings.append(f"The model is no better than a simple baseline. {card.verdict()}")
    provenance: dict[str, Any] = {
        "software": f"napari-normative {versions()['napari-normative']}",
        "notice": RESEARCH_USE,
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "model": {"name": card.name, "sha256": model.digest, "title": card.title},
        **model.told(),
        "scan": {
            "sha256": scan.source.digest,
            "shape": list(scan.shape),
            "spacing_mm": [round(s, 4) for s in scan.spacing_mm],
            "orientation": scan.orientation,
        },
        "mask_sha256": mask.source.digest if mask is not None else None,
        "foreground": prepared.foreground,
        "alignment": {
            "similarity": round(prepared.alignment.similarity, 4),
            "scan_to_template": prepared.alignment.scan_to_template.round(6).tolist(),
        },
        "applicability": fits.record(),
        "latent_distance": round(distance, 3),
        "reconstruction_error": round(error, 4),
        "parameters": {
            "preprocess": space.model_dump(mode="json"),
            "score": scoring.model_dump(mode="json"),
            "threshold_z": calibration.threshold_z,
            "false_per_scan": [
                round(r, 3)
                for r in (calibration.false_per_scan, calibration.rate_low, calibration.rate_high)
            ],
            "samples": samples,
            "force": force,
            "local_volume": local_volume,
        },
        "device": note.device,
        "device_reason": note.reason,
        "seed": seed,
        "seconds": {**clock.seconds, "total": round(sum(clock.seconds.values()), 3)},
    }
    return Detection(
        scan=scan,
        mask=inside,
        reconstruction=reconstruction,
        residual=residual(scan.with_data(scan.data, is_label=False), reconstruction, inside),
        anomaly_z=z_map,
        anomaly_p=z_map.with_data(calibration.voxel_p(z_map.data)),
        candidate_labels=label_map,
        candidates=candidates,
        scan_score=score,
        scan_p=calibration.scan_p(score),
        threshold_z=calibration.threshold_z,
        samples=tuple(drawn),
        warnings=tuple(warnings),
        provenance=provenance,
        local_volume=room,
        in_model=InModelSpace(prepared, image[0], z, mean, np.exp(log_variance), model.known),
    )


def find_candidates(
    model: LatentModel, scan: Volume, prepared: Prepared, z: FloatArray, threshold_z: float
) -> tuple[Volume, tuple[Candidate, ...]]:
    """Return the candidates beyond a threshold: labels on the scan's grid, strongest first.

    Parameters
    ----------
    model : LatentModel
    scan : Volume
    prepared : Prepared
        Of ``scan``.
    z : float32 array, shape of the model's grid
    threshold_z : float
        ``|z|``; the model's own unless somebody wants to see more or less.
    """
    space, voxel_ml = model.card.preprocess, model.card.preprocess.spacing_mm**3 / 1000
    labels, found = components(z, threshold_z, model.card.score.minimum_ml, voxel_ml)
    values = restore(labels.astype(np.float32), prepared, space, scan, units="model", order=0)
    label_map = scan.with_data(values, is_label=True)
    key = f"{scan.source.digest}:{model.identity}"
    return label_map, describe(found, label_map, model.calibration, key)


def recount(
    model: LatentModel, detection: Detection, threshold_z: float
) -> tuple[Volume, tuple[Candidate, ...]]:
    """Return the candidates of a detection at another threshold; see :func:`find_candidates`.

    Raises
    ------
    ValueError
        If the detection does not carry its maps on the model's grid.
    """
    if (inside := detection.in_model) is None:
        raise ValueError("the detection was read from files; run it again to recount")
    told = model.given(inside.known)
    return find_candidates(told, detection.scan, inside.prepared, inside.z, threshold_z)


@dataclasses.dataclass(frozen=True)
class DeviceNote:
    """The device that did the work in the end."""

    device: str
    reason: str
    warnings: tuple[str, ...] = ()


def prepare_scan(
    model: LatentModel, scan: Volume, *, mask: Volume | None = None, force: bool = False
) -> tuple[Prepared, tuple[Check, ...]]:
    """Bring a scan to the model's grid, and check whether the model has anything to say of it.

    Parameters
    ----------
    model : LatentModel
    scan : Volume
    mask : Volume, optional
        Foreground, on the scan's grid.
    force : bool
        Take a scan of another contrast than the model's too.

    Raises
    ------
    PreprocessError
        If the scan cannot be brought there, or is not what the model knows.
    """
    space = model.card.preprocess
    prepared = prepare(scan, space, model.template, mask=mask)
    checks = check_prepared(scan, prepared, space, model.template)
    if not force:
        Applicability(checks).require(scan.source.name)
    return prepared, checks


def run_network(
    model: LatentModel, image: FloatArray, device: str
) -> tuple[tuple[FloatArray, FloatArray, FloatArray], DeviceNote]:
    """Return reconstruction (C, I, J, K), latent mean and log-variance of one image."""
    import torch

    def work(name: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        network = model.network(name)
        with torch.inference_mode():
            x = torch.from_numpy(image).to(name)[None]
            latent = network.encode(x)
            out = network.reconstruct(x, latent)
            parts = (out[0], latent.mean[0], latent.log_variance[0])
            a, b, c = (p.float().cpu().numpy() for p in parts)
        return a, b, c

    return on_device(work, model, device)


def latent_kl_nats(model: LatentModel, image: FloatArray, device: str) -> float:
    """Return KL(q(z|x) || prior) of one image (C, I, J, K), nats, all levels together."""
    import torch

    from napari_normative.core.objective import latent_nats

    codes = getattr(model.card.network, "codes", 0)

    def work(name: str) -> float:
        with torch.inference_mode():
            x = torch.from_numpy(image).to(name)[None]
            return latent_nats(model.network(name).levels(x), codes)

    nats: float = on_device(work, model, device)[0]
    return nats


def decode(
    model: LatentModel, latents: FloatArray, device: str
) -> tuple[list[FloatArray], DeviceNote]:
    """Return the first channel of each decoded latent, shape (I, J, K), one at a time."""
    import torch

    inside = model.template.mask

    def work(name: str) -> list[FloatArray]:
        network = model.network(name)
        images = []
        with torch.inference_mode():
            for latent in latents:
                z = torch.from_numpy(np.asarray(latent, dtype=np.float32)).to(name)[None]
                image = network.decode(z)[0, 0].float().cpu().numpy()
                images.append(np.where(inside, image, 0).astype(np.float32))
        return images

    return on_device(work, model, device)


def on_device(work: Any, model: LatentModel, request: str) -> tuple[Any, DeviceNote]:
    """Run on the device asked for; when it cannot, on the CPU, and say so."""
    import torch

    choice = choose_device(request)
    try:
        return work(choice.device), DeviceNote(choice.device, choice.reason)
    except (torch.OutOfMemoryError, MemoryError):
        why = "ran out of memory"
    except NotImplementedError:  # Apple GPUs lack some operations on volumes
        why = "lacks an operation the model needs"
    if choice.device == "cpu":
        raise DeviceError(
            "DEV-003", f"the CPU {why}", "Close other programs or use a smaller model."
        )
    model.unload()
    note = f"{choice.device} {why}; the CPU was used instead."
    return work("cpu"), DeviceNote("cpu", f"{choice.device} {why}", (note,))


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    names = ("napari-normative", "torch", "numpy", "scipy", "SimpleITK", "nibabel", "scikit-image")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


_version = functools.cache(metadata.version)
"""Read once: to read it takes more than a millisecond, and every scan names seven."""
