"""The cohort in the model's space, on disk, and the template it defines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from napari_normative.core.grid import resample
from napari_normative.core.preprocess import (
    LEVELS,
    PreprocessConfig,
    Template,
    prepare,
    with_reference,
)
from napari_normative.engine.aligned import Aligned
from napari_normative.engine.cohort import Person
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.errors import CohortError, NormativeError
from napari_normative.io.nifti import read_volume, require_signal
from napari_normative.io.shards import Facts, Rows, Stored
from napari_normative.volume import FloatArray

Report = Callable[[str, float, str], None]
LARGEST_LOSS = 0.2
"""Share of a cohort's scans that may be refused before training is refused."""


@dataclass(frozen=True, eq=False)
class PreparedCohort:
    """Scans in the model's space; they stay on disk and are read when asked for.

    Attributes
    ----------
    people : list of Person
        Those whose scan could be used, in the order of ``images``.
    images : rows of float16, shape (I, J, K)
        Model units, 0 outside the mask. By number: ``images[3]``, ``images[[3, 5]]``.
    masks : rows of bool, shape (I, J, K)
    config : PreprocessConfig
        With reference intensities and expected similarity filled in.
    template : Template
    digest : str
        SHA-256 over scans, split and configuration.
    refused : list of str
        A sentence for each scan that could not be used.
    mended : list of str
        A sentence for each file of prepared scans that was damaged and made again.
    anatomies : rows of float16, shape (i, j, k), or None
        What the anatomy level of the hierarchical form makes of the images, in its blocks.
    """

    people: list[Person]
    images: Rows[np.float16]
    masks: Rows[np.bool_]
    config: PreprocessConfig
    template: Template
    digest: str
    refused: list[str]
    mended: list[str] = field(default_factory=list)
    anatomies: Rows[np.float16] | None = None

    def select(self, *splits: str) -> list[int]:
        """Return the positions of the people of some splits."""
        return [i for i, person in enumerate(self.people) if person.split in splits]

    def some(self, most: int, *splits: str) -> list[int]:
        """Return the positions of ``most`` people of some splits, or all if they are fewer.

        Drawn at random, always alike for as many people.
        """
        found = self.select(*splits)
        if len(found) <= most:
            return found
        drawn = np.random.default_rng(len(found)).choice(len(found), most, replace=False)
        return [found[i] for i in sorted(drawn)]


def prepare_cohort(
    people: Sequence[Person],
    preset: Preset,
    folder: Path,
    *,
    template: Path | None = None,
    report: Report,
    ranks: Ranks | None = None,
) -> PreparedCohort:
    """Bring a cohort to the model's space in two passes, and remember it in ``folder``.

    The first pass aligns to the starting template; the mean of the training people, made
    left-right symmetric when the preset mirrors, is the model's own template; the second
    pass aligns to that. A scan that cannot be used is reported and left out. Processes share
    the scans out, and all return the same.

    Raises
    ------
    CohortError
        ``COH-005`` when more than a fifth of the scans cannot be used.
    """
    ranks = ranks or Ranks()
    start = starting_template(preset, template)
    cache = Aligned(folder)
    everybody = [_Scan(person) for person in people]
    first, refused = _pass(everybody, preset.preprocess, _wide(start), cache, report, 0.0, ranks)
    _require_most(people, first, refused)
    own, config = _own_template(first, cache, preset, ranks)
    space = _space(config, own)
    mended = cache.open_shards(space[:16], ranks)
    second, late = _pass(list(first.values()), config, own, cache, report, 0.5, ranks)
    refused += late
    _require_most(people, second, refused)
    cache.pack(space[:16], second, ranks, lambda done: report("align", 1.0, "packing"))
    similarities = [scan.facts["similarity"] for scan in second.values()]
    expected = min(0.7, float(np.quantile(np.array(similarities, dtype=float), 0.05)) - 0.05)
    config = config.model_copy(
        update={"expected_similarity": max(config.min_similarity, round(expected, 3))}
    )
    who = {key: scan.person for key, scan in second.items()}
    keys = sorted(who, key=lambda k: (who[k].split, who[k].site, who[k].subject, k))
    used = [who[key] for key in keys]
    identity = json.dumps(
        [[key, person.split] for key, person in zip(keys, used, strict=True)], sort_keys=True
    )
    places = [cache.packed[key] for key in keys]
    return PreparedCohort(
        people=used,
        images=Stored[np.float16](places),
        masks=Stored[np.bool_](places, masks=True),
        config=config,
        template=own,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        refused=refused,
        mended=mended,
    )


def starting_template(preset: Preset, path: Path | None) -> Template:
    """Return the template of the first pass, on the preset's grid.

    Raises
    ------
    CohortError
        ``COH-006`` when the preset's template needs a package that is not there.
    """
    grid = preset.preprocess.grid
    if path is None and preset.template == "none":
        return Template(np.zeros(grid.shape, np.float32), np.ones(grid.shape, bool))
    if path is not None:
        volume = read_volume(path)
        data, affine = volume.data, volume.affine
        weight = (data > 0).astype(np.float32)
    else:
        try:
            from nilearn import datasets
        except ImportError as error:
            raise CohortError(
                "COH-006",
                "the preset aligns to the MNI152 brain inside nilearn, which is not installed",
                'Run pip install "napari-normative[demo]", or pass a skull-stripped template '
                "with --template.",
            ) from error
        average = datasets.load_mni152_template(resolution=2)
        brain = datasets.load_mni152_brain_mask(resolution=2)
        weight = np.asarray(brain.dataobj, dtype=np.float32)
        data, affine = np.asarray(average.dataobj, dtype=np.float32) * weight, average.affine
    blur = max(0.0, grid.spacing_mm / float(np.linalg.norm(affine[:3, 0])) - 1) / 2
    image = resample(ndimage.gaussian_filter(data, blur), affine, grid.shape, grid.affine)
    mask = resample(ndimage.gaussian_filter(weight, blur), affine, grid.shape, grid.affine) > 0.5
    return Template((image * mask / np.median(image[mask])).astype(np.float32), mask)


class _Scan(NamedTuple):
    """A person's scan on its way: its content's SHA-256 and its facts, once they are known."""

    person: Person
    digest: str = ""
    facts: Facts = {}  # noqa: RUF012 - never changed


def _space(config: PreprocessConfig, template: Template) -> str:
    """Return the digest of all that decides how a scan is prepared."""
    space = hashlib.sha256(config.model_dump_json().encode() + version("napari-normative").encode())
    space.update(template.image.tobytes() + template.mask.tobytes())
    return space.hexdigest()


def _pass(
    scans: Sequence[_Scan],
    config: PreprocessConfig,
    template: Template,
    cache: Aligned,
    report: Report,
    done: float,
    ranks: Ranks,
) -> tuple[dict[str, _Scan], list[str]]:
    """Prepare every scan that is not in the cache; return the usable by key."""
    space = _space(config, template)
    own: list[tuple[int, str, _Scan | None]] = []
    numbers = ranks.share(range(len(scans)))
    for count, n in enumerate(numbers):
        person = scans[n].person
        report("align", done + 0.5 * count / len(numbers), person.path.name)
        try:
            digest = scans[n].digest or hashlib.sha256(person.path.read_bytes()).hexdigest()
            key = hashlib.sha256(f"{digest}:{space}".encode()).hexdigest()[:32]
            facts = cache.facts(key)
            if facts is None:
                scan = read_volume(person.path)
                require_signal(scan)
                made = prepare(scan, config, template)
                values = made.image[made.mask]
                facts = {
                    "similarity": made.alignment.similarity,
                    "quantiles": [float(q) for q in np.quantile(values, LEVELS)],
                }
                cache.store(key, made.image, made.mask, facts)
        except NormativeError as error:
            if error.code.startswith("OUT"):  # the disk's fault, not the scan's
                raise
            own.append((n, str(error), None))
        except OSError as error:
            why = error.strerror or error
            own.append((n, f"{person.path.name}: it cannot be read ({why}).", None))
        else:
            own.append((n, key, _Scan(person, digest, facts)))
    found: dict[str, _Scan] = {}
    refused: list[str] = []
    for _, text, usable in sorted((one for part in ranks.gather(own) for one in part), key=_order):
        if usable is None:
            refused.append(text)
        else:
            found[text] = usable
    return found, refused


def _order(one: tuple[int, str, _Scan | None]) -> int:
    return one[0]


def _own_template(
    scans: dict[str, _Scan], cache: Aligned, preset: Preset, ranks: Ranks
) -> tuple[Template, PreprocessConfig]:
    """Return the mean of the training people and the configuration that goes with it."""
    train = [key for key, scan in scans.items() if scan.person.split == "train"]
    total = np.zeros(preset.preprocess.shape)
    count = np.zeros(preset.preprocess.shape)
    # Sums of half precision in double are exact: they do not depend on who takes which scan.
    for key in ranks.share(train):
        one, own = cache.load(key)
        total += one.astype(np.float64)
        count += own
    total, count = ranks.total_array(total), ranks.total_array(count)
    if preset.augment.flip:
        total, count = total + total[::-1], count + count[::-1]
        share = count / (2 * len(train))
    else:
        share = count / len(train)
    mask = share > 0.5
    if preset.preprocess.alignment == "affine":
        mask = ndimage.binary_fill_holes(mask)
    image: FloatArray = np.where(mask, total / np.maximum(count, 1), 0).astype(np.float32)
    quantiles = [tuple(np.array(scans[key].facts["quantiles"], dtype=float)) for key in train]
    return Template(image, mask), with_reference(preset.preprocess, quantiles)


def _wide(template: Template) -> Template:
    """Return the template with a mask that lets the cohort decide where foreground ends."""
    mask = ndimage.binary_dilation(template.mask, iterations=2)
    return Template(template.image, mask)


def _require_most(people: Sequence[Person], usable: dict[str, _Scan], refused: list[str]) -> None:
    error = too_many_refused(len(people), len(usable), refused)
    if error is not None:
        raise error


def too_many_refused(people: int, usable: int, refused: Sequence[str]) -> CohortError | None:
    """Return ``COH-005`` when more than a fifth of the scans cannot be used."""
    if usable >= (1 - LARGEST_LOSS) * people:
        return None
    first = refused[0] if refused else "the same content more than once"
    return CohortError(
        "COH-005",
        f"{people - usable} of {people} scans cannot be used; the first: {first}",
        "Mend or remove them; every one is named in the log.",
    )
