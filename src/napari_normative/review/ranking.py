"""What a reader decided so far puts the rest of a review into another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_normative.review.book import Book
from napari_normative.review.masks import mask_in_box
from napari_normative.review.records import Image

if TYPE_CHECKING:
    from napari_normative.review.feedback import Reranking


def rank(book: Book, *, seed: int = 0) -> Reranking:
    """Learn from the decisions of a review which of its other candidates are likely findings.

    Only candidates of the model are learnt from and ordered, as the model made them: what the
    reader edited since tells the decision already.

    Parameters
    ----------
    book : Book
    seed : int

    Returns
    -------
    Reranking
    """
    from napari_normative.review.feedback import Known, features_of, rerank

    decisions = {
        read.candidate: read.decision
        for at in book.reading.first_passes().values()
        for read in at.reads
    }
    thresholds = {run.image: run.threshold_z for run in book.project.runs}
    known = []
    for candidate in book.project.candidates:
        if candidate.id not in decisions:  # of a scan that this reader does not read, or merged
            continue
        image = book.images[candidate.image]
        spacing, middle = _grid(image)
        mask, _ = mask_in_box(book.mask(candidate.mask))
        siblings = [c for c in book.project.candidates if c.image == candidate.image]
        features = features_of(
            candidate,
            mask,
            spacing,
            middle_mm=middle,
            siblings=siblings,
            threshold_z=thresholds.get(image.id, 0.0),
        )
        known.append(Known(candidate.id, image.id, features, decisions[candidate.id]))
    return rerank(known, seed=seed)


def _grid(image: Image) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the voxel size and the middle of a scan's grid, mm."""
    affine = np.array(image.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle = affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + affine[:3, 3]
    return tuple(map(float, spacing)), tuple(map(float, middle))
