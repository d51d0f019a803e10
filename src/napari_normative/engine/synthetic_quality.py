"""How much synthetic volumes are like real scans, how they vary, and whether they copy anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.latent import SAME
from napari_normative.core.sample_metrics import fixed_features, mmd2, ms_ssim_diversity
from napari_normative.core.sample_neighbours import (
    Floats,
    angles,
    closer_test,
    distances,
    nearest_other,
    precision_recall,
)
from napari_normative.engine.cohort import scans_table
from napari_normative.engine.infer import prepare_scan, run_network
from napari_normative.errors import CancelledError, GenerationError, NormativeError
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.engine.draws import Latents
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

LEAST_PEOPLE = 8
"""Fewer real people give no distribution to compare with."""

LEAST_SAMPLES = 4
NEIGHBOURS = 3
KEPT = 16
"""Images that are kept for MS-SSIM; features are kept of all."""

PAIRS = 40
HALVES = 20


@dataclass(eq=False)
class _Images:
    """Features of images that pass by, and the first of them."""

    rows: list[Floats] = field(default_factory=list)
    kept: list[FloatArray] = field(default_factory=list)

    def add(self, image: FloatArray) -> None:
        self.rows.append(fixed_features([image])[0])
        if len(self.kept) < KEPT:
            self.kept.append(image)

    @property
    def features(self) -> Floats:
        return np.stack(self.rows)


@dataclass(eq=False)
class _Real:
    """The real scans, and how the network sees them."""

    scans: _Images = field(default_factory=_Images)
    decoded: _Images = field(default_factory=_Images)
    digests: list[str] = field(default_factory=list)
    latents: list[FloatArray] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def compare(
    model: LatentModel,
    made: Sequence[tuple[FloatArray, Latents]],
    real: str | Path,
    *,
    leave_out: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Compare synthetic volumes with real scans, in the model's space.

    Parameters
    ----------
    model : LatentModel
    made : sequence of (image, latents)
        Images on the model's grid, 0 outside the template's mask.
    real : path
        Folder, pattern or table of real scans of healthy people; one scan a person is taken.
    leave_out : Path, optional
        Folder whose volumes are not real.
    device : str
    progress, cancel : callable, optional

    Returns
    -------
    dict
        JSON-ready: ``figures`` (a list of rows: what, of the samples, of what chance or the
        network gives), ``tests``, ``samples`` (a row each) and how many people there were.

    Raises
    ------
    CohortError
        If there are no scans.
    GenerationError
        ``GEN-008`` for too few people or samples.
    """
    if len(made) < LEAST_SAMPLES:
        raise _too_few(f"{len(made)} synthetic volumes, {LEAST_SAMPLES} or more are needed")
    table = scans_table(real, leave_out=leave_out).drop_duplicates("subject")
    people = _read(model, list(map(Path, table["path"])), device, progress, cancel)
    if len(people.digests) < LEAST_PEOPLE:
        raise _too_few(
            f"{len(people.digests)} real people that the model can take, {LEAST_PEOPLE} or more "
            "are needed"
        )
    images = _Images()
    for image, _ in made:
        images.add(image)
    apart = distances(images.features, people.scans.features)
    return {
        "samples_compared": len(made),
        "real_people": len(people.digests),
        "real_left_out": people.left_out,
        "neighbours": NEIGHBOURS,
        "figures": _figures(images, people, model),
        "tests": _tests(model, apart, [levels[0] for _, levels in made], people),
        "samples": _rows(apart, people),
    }


def _read(
    model: LatentModel,
    paths: Sequence[Path],
    device: str,
    progress: Progress | None,
    cancel: Cancel | None,
) -> _Real:
    found, inside = _Real(), model.template.mask
    for number, path in enumerate(paths):
        if cancel is not None and cancel():
            raise CancelledError
        if progress:
            progress(f"real scan {number + 1} of {len(paths)}", 0.8 + 0.2 * number / len(paths))
        try:
            scan = read_volume(path)
            prepared, _ = prepare_scan(model, scan)
        except NormativeError as error:
            found.left_out.append(error.code)
            continue
        (decoded, latent, _), _ = run_network(model, prepared.image[None], device)
        found.scans.add(np.where(inside, prepared.image, 0).astype(np.float32))
        found.decoded.add(np.where(inside, decoded[0], 0).astype(np.float32))
        found.digests.append(scan.source.digest)
        found.latents.append(latent)
    return found


def _figures(made: _Images, people: _Real, model: LatentModel) -> list[dict[str, Any]]:
    real, decoded, drawn = people.scans.features, people.decoded.features, made.features
    inside = model.template.mask
    halves = _halves(len(real))

    def mean_of(figure: Callable[[Floats, Floats], float]) -> float:
        return float(np.mean([figure(real[a], real[b]) for a, b in halves]))

    def row(name: str, better: str, figure: Callable[[Floats, Floats], float]) -> dict[str, Any]:
        return {
            "figure": name,
            "better": better,
            "samples": figure(real, drawn),
            "samples_to_decoded": figure(decoded, drawn),
            "decoded": figure(real, decoded),
            "real": mean_of(figure),
        }

    def diversity(images: _Images) -> float:
        return ms_ssim_diversity(images.kept, inside, seed=0, pairs=PAIRS)

    def nearest(first: Floats, second: Floats) -> float:
        return float(np.median(distances(second, first).min(axis=1)))

    k = min(NEIGHBOURS, len(drawn) - 1, min(len(half) for pair in halves for half in pair) - 1)
    return [
        row("MMD²", "lower", mmd2),
        row("precision", "higher", lambda a, b: precision_recall(a, b, k).precision),
        row("recall", "higher", lambda a, b: precision_recall(a, b, k).recall),
        {
            "figure": "mean MS-SSIM of pairs",
            "better": "like real",
            "samples": diversity(made),
            "samples_to_decoded": None,
            "decoded": diversity(people.decoded),
            "real": diversity(people.scans),
        },
        {
            "figure": "median distance to the nearest real scan",
            "better": "not below real",
            "samples": nearest(real, drawn),
            "samples_to_decoded": nearest(decoded, drawn),
            "decoded": None,
            "real": float(np.median(nearest_other(distances(real, real)))),
        },
    ]


def _tests(
    model: LatentModel, apart: Floats, latents: Sequence[FloatArray], people: _Real
) -> list[dict[str, Any]]:
    """Return the tests of copying: of scans, and of latents where the model holds people."""
    real = people.scans.features
    tests = [
        {
            "test": "scans",
            "question": "Are samples closer to the nearest real scan than real people are to "
            "each other?",
            "measure": "distance of fixed features",
            **_test(apart.min(axis=1), nearest_other(distances(real, real))),
        }
    ]
    known = model.people
    if known is not None and known.unseen.any() and not known.unseen.all():
        centre = model.posterior.whiten
        training = centre(known.latents[~known.unseen])
        drawn = angles(centre(np.stack(latents)), training).min(axis=1)
        unseen = angles(centre(known.latents[known.unseen]), training).min(axis=1)
        tests.append(
            {
                "test": "latents",
                "question": "Are samples closer to training people than people are whom the "
                "network never saw?",
                "measure": "angle between whitened latents, degrees",
                "training_people": int((~known.unseen).sum()),
                "real_scans_of_the_models_people": _known_among(model, people, known.latents),
                **_test(drawn, unseen),
            }
        )
    return tests


def _test(samples: Floats, others: Floats) -> dict[str, Any]:
    found = closer_test(samples, others)
    return {
        "samples": found.samples,
        "others": found.others,
        "median_of_samples": float(np.median(samples)),
        "median_of_others": float(np.median(others)),
        "least_of_samples": float(samples.min()),
        "least_of_others": float(others.min()),
        "chance_that_a_sample_is_closer": found.chance,
        "p": found.p,
        "closer_than_all_others": found.nearest,
        "p_of_so_many": found.p_nearest,
    }


def _known_among(model: LatentModel, people: _Real, known: FloatArray) -> int:
    """Return how many of the real scans are of people whom the model holds."""
    return sum(bool(model.posterior.apart(own, known).min() < SAME) for own in people.latents)


def _rows(apart: Floats, people: _Real) -> list[dict[str, Any]]:
    """Return each sample's nearest real scan, and its place among real people's distances."""
    among = np.sort(nearest_other(distances(people.scans.features, people.scans.features)))
    rows = []
    for number, row in enumerate(apart, start=1):
        least = float(row.min())
        rows.append(
            {
                "participant_id": f"sub-synth{number:04d}",
                "nearest_distance": least,
                "nearest_sha256": people.digests[int(row.argmin())],
                "share_of_real_nearer": float(np.searchsorted(among, least) / len(among)),
            }
        )
    return rows


def _halves(n: int) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    cut = n // 2
    orders = (np.random.default_rng(seed).permutation(n) for seed in range(HALVES))
    return [(order[:cut], order[cut:]) for order in orders]


def _too_few(what: str) -> GenerationError:
    return GenerationError(
        "GEN-008",
        f"there are only {what}, to compare them",
        "Name more scans, or ask for more volumes, or leave out --compare-with.",
        consequence="The volumes were written, the report was not.",
    )
