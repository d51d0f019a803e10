"""The cohort in the model's space, on disk, and the template it defines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.grid import resample
from napari_normative.core.preprocess import (
    LEVELS,
    PreprocessConfig,
    Template,
    prepare,
    with_reference,
)
from napari_normative.engine.cohort import Person
from napari_normative.engine.presets import Preset
from napari_normative.errors import CohortError, NormativeError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import Tensors, pack, unpack
from napari_normative.io.nifti import read_volume, require_signal
from napari_normative.volume import FloatArray, Mask

Report = Callable[[str, float, str], None]
LARGEST_LOSS = 0.2
"""Share of a cohort's scans that may be refused before training is refused."""


@dataclass(frozen=True, eq=False)
class PreparedCohort:
    """Scans in the model's space.

    Attributes
    ----------
    people : list of Person
        Those whose scan could be used, in the order of ``images``.
    images : float16 array, shape (n, I, J, K)
        Model units, 0 outside the mask.
    masks : bool array, shape (n, I, J, K)
    config : PreprocessConfig
        With reference intensities and expected similarity filled in.
    template : Template
    digest : str
        SHA-256 over scans, split and configuration.
    refused : list of str
        A sentence for each scan that could not be used.
    """

    people: list[Person]
    images: NDArray[np.float16]
    masks: NDArray[np.bool_]
    config: PreprocessConfig
    template: Template
    digest: str
    refused: list[str]

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
) -> PreparedCohort:
    """Bring a cohort to the model's space in two passes, and remember it in ``folder``.

    The first pass aligns to the starting template; the mean of the training people, made
    left-right symmetric when the preset mirrors, is the model's own template; the second
    pass aligns to that. A scan that cannot be used is reported and left out.

    Raises
    ------
    CohortError
        ``COH-005`` when more than a fifth of the scans cannot be used.
    """
    start = starting_template(preset, template)
    cache = _Cache(folder)
    first, refused = _pass(people, preset.preprocess, _wide(start), cache, report, 0.0)
    _require_most(people, first, refused)
    train = [k for k, p in first.items() if p.split == "train"]
    own, config = _own_template(train, first, cache, preset)
    second, late = _pass(list(first.values()), config, own, cache, report, 0.5)
    refused += late
    _require_most(people, second, refused)
    similarities = [cache.facts(key)["similarity"] for key in second]
    expected = min(0.7, float(np.quantile(np.array(similarities, dtype=float), 0.05)) - 0.05)
    config = config.model_copy(
        update={"expected_similarity": max(config.min_similarity, round(expected, 3))}
    )
    keys = sorted(second, key=lambda k: (second[k].split, second[k].site, second[k].subject, k))
    loaded = [cache.load(key) for key in keys]
    used = [second[key] for key in keys]
    identity = json.dumps(
        [[key, person.split] for key, person in zip(keys, used, strict=True)], sort_keys=True
    )
    return PreparedCohort(
        people=used,
        images=np.stack([image for image, _ in loaded]),
        masks=np.stack([mask for _, mask in loaded]),
        config=config,
        template=own,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        refused=refused,
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


class _Cache:
    """Prepared scans by key: one file each, written atomically, checked when read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def facts(self, key: str) -> dict[str, float]:
        text = unpack(self.path(key).read_bytes(), key)[1]
        found: dict[str, float] = json.loads(text)
        return found

    def load(self, key: str) -> tuple[NDArray[np.float16], Mask]:
        tensors = unpack(self.path(key).read_bytes(), key)[0]
        return tensors["image"].astype(np.float16), tensors["mask"].astype(bool)

    def valid(self, key: str) -> bool:
        try:
            unpack(self.path(key).read_bytes(), key)
        except (OSError, NormativeError):
            return False
        return True

    def store(self, key: str, image: FloatArray, mask: Mask, facts: dict[str, object]) -> None:
        tensors: Tensors = {"image": image.astype(np.float16), "mask": mask.astype(np.uint8)}
        replace_files({self.path(key): pack(tensors, json.dumps(facts))})


def _pass(
    people: Sequence[Person],
    config: PreprocessConfig,
    template: Template,
    cache: _Cache,
    report: Report,
    done: float,
) -> tuple[dict[str, Person], list[str]]:
    """Prepare every scan that is not in the cache; return the usable by key."""
    space = hashlib.sha256(config.model_dump_json().encode() + version("napari-normative").encode())
    space.update(template.image.tobytes() + template.mask.tobytes())
    found: dict[str, Person] = {}
    refused: list[str] = []
    for n, person in enumerate(people):
        report("align", done + 0.5 * n / len(people), person.path.name)
        try:
            digest = hashlib.sha256(person.path.read_bytes()).hexdigest()
            key = hashlib.sha256(f"{digest}:{space.hexdigest()}".encode()).hexdigest()[:32]
            if not cache.valid(key):
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
            refused.append(str(error))
            continue
        except OSError as error:
            refused.append(f"{person.path.name}: it cannot be read ({error.strerror or error}).")
            continue
        found[key] = person
    return found, refused


def _own_template(
    train: list[str], people: dict[str, Person], cache: _Cache, preset: Preset
) -> tuple[Template, PreprocessConfig]:
    """Return the mean of the training people and the configuration that goes with it."""
    total = np.zeros(preset.preprocess.shape)
    count = np.zeros(preset.preprocess.shape)
    for key in train:
        one, own = cache.load(key)
        total += one.astype(np.float64)
        count += own
    if preset.augment.flip:
        total, count = total + total[::-1], count + count[::-1]
        share = count / (2 * len(train))
    else:
        share = count / len(train)
    mask = share > 0.5
    if preset.preprocess.alignment == "affine":
        mask = ndimage.binary_fill_holes(mask)
    image: FloatArray = np.where(mask, total / np.maximum(count, 1), 0).astype(np.float32)
    quantiles = [tuple(np.array(cache.facts(key)["quantiles"], dtype=float)) for key in train]
    return Template(image, mask), with_reference(preset.preprocess, quantiles)


def _wide(template: Template) -> Template:
    """Return the template with a mask that lets the cohort decide where foreground ends."""
    mask = ndimage.binary_dilation(template.mask, iterations=2)
    return Template(template.image, mask)


def _require_most(people: Sequence[Person], usable: dict[str, Person], refused: list[str]) -> None:
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
