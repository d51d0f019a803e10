"""Who reads what in which order: queues, repeats, and the project of each reader."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_normative.errors import ReviewError
from napari_normative.review.material import Material
from napari_normative.review.records import Assignment, Order, Project, utc_now

REPEATED = 0.1
"""Share of the scans that a reader sees twice."""


@dataclass(frozen=True)
class Plan:
    """How a project is read.

    Attributes
    ----------
    order : str
        ``evidence``: scans and candidates with the strongest first; ``random``: a shuffle of
        both, another one for each reader; ``list``: the scans that are named, in that order.
    seed : int
    blind : bool
    repeats : float
        Share of scans read twice, rounded up.
    labels : tuple of str
    title : str
    """

    order: Order = "random"
    seed: int = 0
    blind: bool = True
    repeats: float = REPEATED
    labels: tuple[str, ...] = ()
    title: str = ""


def project_for(
    reader: str,
    material: Material,
    plan: Plan,
    *,
    project: str = "",
    listed: Sequence[str] = (),
) -> Project:
    """Return the project of one reader.

    Parameters
    ----------
    reader : str
        Name; kept in the reader's own file and nowhere else.
    material : Material
    plan : Plan
    project : str
        Id that the files of all readers share; a new one unless given.
    listed : sequence of str
        File names without ending, for the order ``list``.

    Raises
    ------
    ReviewError
        ``REV-035`` if the list names a scan that is not there, or none.
    """
    random = np.random.default_rng([plan.seed, _number(reader)])
    images = _order_images(material, plan, random, listed)
    by_image: dict[str, list[str]] = {image: [] for image in images}
    for candidate in material.candidates:
        if candidate.image in by_image:
            by_image[candidate.image].append(candidate.id)
    queue = [(image, False) for image in images]
    queue = with_repeats(queue, plan.repeats, random)
    assignments = []
    for number, (image, repeat) in enumerate(queue, start=1):
        ids = list(by_image[image])
        if plan.order == "random":
            random.shuffle(ids)
        assignments.append(Assignment(number, image, repeat, tuple(ids)))
    return Project(
        id=project or uuid.uuid4().hex,
        title=plan.title,
        reader=reader.strip(),
        role="reader",
        order=plan.order,
        seed=plan.seed,
        blind=plan.blind,
        labels=plan.labels,
        created_utc=utc_now(),
        images=material.images,
        runs=material.runs,
        candidates=material.candidates,
        assignments=tuple(assignments),
    )


def with_repeats(
    queue: list[tuple[str, bool]], share: float, random: np.random.Generator
) -> list[tuple[str, bool]]:
    """Return the queue with a share of its scans a second time, well after the first.

    Scans in the first two thirds are drawn, so that at least a third of the queue lies
    between both looks; three scans are the fewest with which that can be.
    """
    count = math.ceil(share * len(queue))
    if count == 0 or len(queue) < 3:
        return queue
    apart = len(queue) // 3
    drawable = len(queue) - apart
    drawn = sorted(random.choice(drawable, size=min(count, drawable), replace=False).tolist())
    # Inserted from the back, so that places counted in the queue as it was stay right.
    later = [(int(random.integers(at + apart, len(queue))) + 1, queue[at][0]) for at in drawn]
    made = list(queue)
    for place, image in sorted(later, reverse=True):
        made.insert(place, (image, True))
    return made


def _order_images(
    material: Material, plan: Plan, random: np.random.Generator, listed: Sequence[str]
) -> list[str]:
    images = [image.id for image in material.images]
    if plan.order == "evidence":
        evidence = _evidence(material)
        return sorted(images, key=lambda image: (*evidence[image], image))
    if plan.order == "random":
        random.shuffle(images)
        return images
    return _listed(material.names, listed)


def _evidence(material: Material) -> Mapping[str, tuple[float, float]]:
    """Return p and -|z| of each scan's strongest candidate: sorted, the strongest is first."""
    found = {image.id: (math.inf, 0.0) for image in material.images}
    for candidate in material.candidates:
        p = 1.0 if candidate.p is None else candidate.p
        found[candidate.image] = min(found[candidate.image], (p, -abs(candidate.peak_z)))
    return found


def _listed(names: Mapping[str, str], listed: Sequence[str]) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for image, name in names.items():
        by_name.setdefault(name, []).append(image)
    wanted = list(dict.fromkeys(listed))
    unknown = [name for name in wanted if len(by_name.get(name, ())) != 1]
    if unknown or not wanted:
        what = (
            f"the assignment list names {len(unknown)} scans that are not in the review, or more "
            f"than once ({', '.join(unknown[:3])})"
            if unknown
            else "the assignment list is empty"
        )
        raise ReviewError("REV-035", what, "A line holds the file name of a scan without .nii.gz.")
    return [by_name[name][0] for name in wanted]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.strip().encode()).digest()[:8], "big")
