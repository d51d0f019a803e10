"""Where the scans of a folder or table lie among a model's latents; remembered per scan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.embedding import PrincipalAxes
from napari_normative.core.score import judge, scan_score
from napari_normative.engine.cohort import Person, list_people
from napari_normative.engine.infer import decode, prepare_scan, run_network
from napari_normative.engine.remembered import (
    default_cache,
    read_entry,
    write_entry,
)
from napari_normative.errors import CancelledError, CohortError, ModelFileError, NormativeError
from napari_normative.io.digest import file_digest
from napari_normative.io.nifti import read_volume, require_signal
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

MOST_VOXELS = 60_000
"""So many voxels say how a latent direction changes a volume."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where one scan lies among a model's latents.

    Attributes
    ----------
    latent : float32 array, shape (Z,)
        Posterior mean.
    scan_score, scan_p : float
        As in a detection.
    distance : float
        From the cohort's mean; see ``AggregatedPosterior.distance``.
    variance : float32 array, shape (Z,)
        Posterior variance.
    remembered : bool
        Whether it was read from the cache.
    """

    latent: FloatArray
    scan_score: float
    scan_p: float
    distance: float
    variance: FloatArray
    remembered: bool = False


@dataclass(frozen=True, eq=False)
class EmbeddedScan:
    """A scan of a cohort, and its place, or why it has none.

    Attributes
    ----------
    path : Path
    columns : mapping
        ``subject``, ``site`` and the other columns of the table, as text.
    place : Place or None
    error : str
        A sentence where there is no place; else empty.
    digest : str
        SHA-256 of the file, as ``Volume.source.digest``; empty where it cannot be read.
    """

    path: Path
    columns: Mapping[str, str]
    place: Place | None
    error: str = ""
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Embedding:
    """The scans of a cohort among a model's latents, in the order of the cohort.

    Attributes
    ----------
    model_digest : str
    scans : tuple of EmbeddedScan
    """

    model_digest: str
    scans: tuple[EmbeddedScan, ...]

    @property
    def placed(self) -> tuple[EmbeddedScan, ...]:
        """The scans that have a place."""
        return tuple(scan for scan in self.scans if scan.place is not None)

    def table(self) -> pd.DataFrame:
        """Return one row a scan: name, columns of the cohort, figures, error. No folders."""
        import pandas as pd  # late: it takes a third of a second

        rows: list[dict[str, object]] = []
        for scan in self.scans:
            row: dict[str, object] = {"scan": scan.path.name, **scan.columns}
            place = scan.place
            row["scan_score"] = place.scan_score if place else None
            row["scan_p"] = place.scan_p if place else None
            row["latent_distance"] = place.distance if place else None
            rows.append({**row, "error": scan.error})
        return pd.DataFrame(rows)


def embed(
    model: LatentModel,
    source: str | Path,
    *,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Embedding:
    """Place every scan of a folder, pattern or table among a model's latents.

    A scan that was placed before is read from the cache; a bad one is a row with its sentence.

    Parameters
    ----------
    model : LatentModel
        With dense latents.
    source : path
        As for :func:`~napari_normative.engine.cohort.read_cohort`; any number of scans,
        nobody is split.
    device : str
    cache : Path, optional
        Folder; the user's own unless given.
    progress, cancel : callable, optional

    Raises
    ------
    CohortError
        ``COH-001`` nothing found, ``COH-002`` a bad table.
    ModelFileError
        ``MOD-007`` when the model has no latent that could be placed.
    CancelledError
    """
    require_places(model)
    folder = default_cache() if cache is None else cache
    tell, stop = progress or (lambda step, fraction: None), cancel or (lambda: False)
    try:
        people, _ = list_people(source)
    except CohortError as error:
        raise CohortError(
            error.code, error.what, error.remedy, subject=error.subject,
            consequence="Nothing was placed.",
        ) from error  # fmt: skip
    scans = []
    for n, person in enumerate(people):
        if stop():
            raise CancelledError
        tell(person.path.name, n / len(people))
        scans.append(_embed_person(model, person, device, folder, stop))
    tell("done", 1.0)
    return Embedding(model.digest, tuple(scans))


def place_of(
    model: LatentModel, scan: Volume, *, device: str = "auto", cancel: Cancel | None = None
) -> Place:
    """Place one scan; what :meth:`NormativeModel.detect` does, without its maps.

    Raises
    ------
    NormativeError
        As for a detection: no signal, no alignment, another contrast.
    """
    stop = cancel or (lambda: False)
    space = model.card.preprocess
    require_signal(scan)
    prepared, _ = prepare_scan(model, scan)
    if stop():
        raise CancelledError
    (image, mean, log_variance), _ = run_network(model, prepared.image[None], device)
    if stop():
        raise CancelledError
    calibration, scoring = model.calibration, model.card.score
    z = judge(prepared.image, image[0], prepared.mask, calibration, scoring, space.spacing_mm)
    score = scan_score(z)
    distance = model.posterior.distance(mean)
    return Place(mean, score, calibration.scan_p(score), distance, np.exp(log_variance))


def principal_axes(
    model: LatentModel,
    *,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> PrincipalAxes:
    """Return the axes of the map: one decoded volume for each latent direction, seconds.

    Remembered per model, in the same folder as places.

    Raises
    ------
    ModelFileError
        ``MOD-007`` when the model has no latent that could be placed.
    CancelledError
    """
    require_places(model)
    folder = default_cache() if cache is None else cache
    entry = folder / f"axes-{model.identity[:32]}.safetensors"
    known = read_entry(entry)
    size = model.posterior.mean.size
    if known is not None and known[0]["turn"].shape == (size, size):
        turn, spread = (known[0][name].astype(np.float64) for name in ("turn", "sd"))
        return PrincipalAxes(model.posterior, turn, spread)
    tell, stop = progress or (lambda step, fraction: None), cancel or (lambda: False)
    mean, sd = model.posterior.mean, model.posterior.sd()
    voxels = np.flatnonzero(model.template.mask)
    voxels = voxels[:: max(1, len(voxels) // MOST_VOXELS)]

    def decoded(latent: FloatArray) -> FloatArray:
        return decode(model, latent[None], device)[0][0].ravel()[voxels]

    middle = decoded(mean)
    effects = np.empty((len(mean), len(voxels)), dtype=np.float32)
    for d in range(len(mean)):
        if stop():
            raise CancelledError
        tell("axes of the map", d / len(mean))
        step = np.zeros_like(mean)
        step[d] = sd[d]
        effects[d] = (decoded(mean + step) - middle) / sd[d]
    axes = PrincipalAxes.of(model.posterior, effects)
    if len(axes.sd) < 2 or axes.sd[1] < 1e-6:
        raise _no_places()
    write_entry(entry, {"turn": axes.turn, "sd": axes.sd}, {})
    return axes


def require_places(model: LatentModel) -> None:
    """Raise ``MOD-007`` unless a scan has one latent vector of two or more numbers."""
    if model.posterior.mean.ndim != 1 or model.posterior.mean.size < 2:
        raise _no_places()


def _no_places() -> ModelFileError:
    return ModelFileError(
        "MOD-007",
        "the model has no one latent vector for a whole scan",
        "Choose a model with dense latents, such as brain-t1.",
        consequence="Nothing was placed.",
    )


def _embed_person(
    model: LatentModel, person: Person, device: str, folder: Path, stop: Cancel
) -> EmbeddedScan:
    columns = {"subject": person.subject, "site": person.site, **person.more}
    digest = ""
    try:
        digest = file_digest(person.path)
        place = remembered_place(model, person.path, digest, folder, device=device, cancel=stop)
    except CancelledError:
        raise
    except NormativeError as error:
        return EmbeddedScan(person.path, columns, None, str(error), digest)
    except OSError as error:
        why = f"{person.path.name}: it cannot be read ({error.strerror or error})."
        return EmbeddedScan(person.path, columns, None, why)
    return EmbeddedScan(person.path, columns, place, digest=digest)


def remembered_place(
    model: LatentModel,
    path: Path,
    digest: str,
    cache: Path,
    *,
    device: str = "auto",
    cancel: Cancel | None = None,
    **reading: Any,
) -> Place:
    """Return the place of a scan file, from the cache if it was computed before.

    Parameters
    ----------
    model : LatentModel
    path : Path
    digest : str
        Of the file; see :func:`file_digest`.
    cache : Path
        Folder.
    device : str
    cancel : callable, optional
    **reading
        As for :func:`read_volume`.

    Raises
    ------
    NormativeError
        As for :func:`place_of` and :func:`read_volume`.
    """
    # What a place depends on: the scan's bytes, how they are read, the model, this version.
    given = sorted(reading.items())
    chosen = {name: value for name, value in given if value is not None and value is not False}
    identity = f"{digest}:{model.identity}:{version('napari-normative')}:{chosen or ''}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:32]
    entry = cache / f"{key}.safetensors"
    place = _remembered(entry, model)
    if place is None:
        place = place_of(model, read_volume(path, **reading), device=device, cancel=cancel)
        _remember(entry, place)
    return place


def _remembered(entry: Path, model: LatentModel) -> Place | None:
    known = read_entry(entry)
    shape = model.posterior.mean.shape
    if known is None or any(
        name not in known[0] or known[0][name].shape != shape for name in ("latent", "variance")
    ):
        return None
    latent, variance = (known[0][name].astype(np.float32) for name in ("latent", "variance"))
    facts = known[1]
    score, p, distance = (facts[name] for name in ("scan_score", "scan_p", "distance"))
    return Place(latent, score, p, distance, variance, remembered=True)


def _remember(entry: Path, place: Place) -> None:
    facts = {
        "scan_score": place.scan_score,
        "scan_p": place.scan_p,
        "distance": place.distance,
    }
    tensors = {"latent": place.latent, "variance": place.variance}
    write_entry(entry, {name: array.astype(np.float32) for name, array in tensors.items()}, facts)
