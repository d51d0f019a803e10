"""A small review to store, without scans: facts with awkward values, masks, decisions."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from pathlib import Path

import numpy as np

from napari_normative.review.masks import encode_mask
from napari_normative.review.records import (
    Assignment,
    EarlierRead,
    Image,
    NewEvent,
    Project,
    ReviewCandidate,
    Run,
)

SHAPE = (20, 24, 18)
PER_IMAGE = 3


def blob(n: int) -> tuple[str, bytes]:
    """Return digest and bytes of mask ``n``; masks differ."""
    mask = np.random.default_rng(n).random(SHAPE) > 0.5
    return encode_mask(mask)


def project(images: int = 2, **changes: object) -> tuple[Project, dict[str, bytes]]:
    """Return (project, masks) of a review of some scans with three candidates each."""
    masks: dict[str, bytes] = {}
    scans, runs, candidates = [], [], []
    for n in range(1, images + 1):
        name = f"case-{n:03d}"
        affine = (
            (0.1 + n, 0.2, 1e-17, -90.0),
            (0.0, math.pi, 0.0, 1 / 3),
            (0, 0, 2, 5e-324),
            (0, 0, 0, 1),
        )
        scans.append(
            Image(
                name, f"../scans/Grüße {n}.nii.gz", f"{n:064x}", SHAPE, affine, f"found/{n}",
                volume=n if n > 1 else None, score=0.1 * n, score_p=None if n == 1 else 1e-300,
            )
        )  # fmt: skip
        runs.append(Run(name, "brain-t1", "ab" * 32, "0.1.0", "2026-01-02T03:04:05+00:00", 3.7))
        for c in range(1, PER_IMAGE + 1):
            digest, data = blob(100 * n + c)
            masks[digest] = data
            candidates.append(
                ReviewCandidate(
                    f"{name}/{c}", name, c, (-1) ** c, 3.1 * c, 1 / c, 0.5 * c,
                    (0.1, -c / 7, 2.0**-1074), None if c == 1 else 0.01 * c, digest,
                )
            )  # fmt: skip
    passes = [
        Assignment(n, i.id, False, tuple(c.id for c in candidates if c.image == i.id))
        for n, i in enumerate(scans, start=1)
    ]
    reads = (EarlierRead("reader-00000000", candidates[0].id, "accept", "", "=1+1", ""),)
    made = Project(
        id="0123456789abcdef", title="Zwölf köpfe 🧠", reader="Ánna O'Brien; DROP TABLE event",
        role="reader", order="evidence", seed=2**63 - 1, blind=True, labels=("tumour", "artefact"),
        created_utc="2026-01-02T03:04:05.678+00:00", images=tuple(scans), runs=tuple(runs),
        candidates=tuple(candidates), assignments=tuple(passes), reads=reads,
    )  # fmt: skip
    return dataclasses.replace(made, **changes), masks


def decide(n: int = 0, action: str = "accept", **more: object) -> NewEvent:
    """Return a decision about candidate ``n`` of all."""
    image, candidate = n // PER_IMAGE % 2 + 1, n % PER_IMAGE + 1
    return NewEvent(action, image, f"case-{image:03d}/{candidate}", **more)


def edited(n: int) -> tuple[NewEvent, dict[str, bytes]]:
    """Return an edit of a candidate's mask, and the mask."""
    digest, data = blob(n)
    return decide(n, "edit_mask", details={"mask": digest, "seconds": 1.5}), {digest: data}


def attack(path: Path, *statements: str, guards: bool = True) -> None:
    """Change a file as somebody would who knows about triggers; they may be put back after."""
    connection = sqlite3.connect(path, isolation_level=None)
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = dict(found.fetchall())
    connection.execute("BEGIN")
    for statement in (
        *(f"DROP TRIGGER {name}" for name in triggers),
        *statements,
        *(triggers.values() if guards else ()),
        "COMMIT",
    ):
        connection.execute(statement)
    connection.close()
