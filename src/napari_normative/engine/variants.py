"""Named forms of the autoencoder: each a set of changes to any preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_normative.engine.presets import Preset, preset_named
from napari_normative.errors import TrainingError


@dataclass(frozen=True)
class Variant:
    """What ``train --variant`` stands for.

    Attributes
    ----------
    title : str
        What it is, in a line.
    changes : mapping
        As for :meth:`Preset.changed`.
    """

    title: str
    changes: Mapping[str, object] = field(default_factory=dict)


_NO_COMPONENTS: dict[str, object] = {"linear_factor": 0, "local_edge": 0}
_SPATIAL: dict[str, object] = {**_NO_COMPONENTS, "latent": "spatial", "latent_size": 8}

VARIANTS: dict[str, Variant] = {
    "vae": Variant("the preset as it is"),
    "autoencoder": Variant("no KL: latents are as free as they like", {"objective.beta": 0.0}),
    "beta-vae": Variant("the KL counts four times", {"objective.beta": 4.0}),
    "beta-tc": Variant(
        "the total correlation of the latents counts six times",
        {"objective.total_correlation": 6.0},
    ),
    "context-encoding": Variant(
        "every input has a blanked box, to be filled in", {"augment.erase": 1.0}
    ),
    "no-components": Variant(
        "convolutions alone, without the start from principal components", _NO_COMPONENTS
    ),
    "spatial": Variant("a latent vector for each cell of a coarse grid", _SPATIAL),
    "vq": Variant(
        "each cell's latent vector is one of 128 codes",
        {**_SPATIAL, "codes": 128, "objective.beta": 0.25},
    ),
}
"""By name. Their price in ELBO and detection: benchmarks/results/variants.md."""


def variant_named(name: str) -> Variant:
    """Return the variant of a name.

    Raises
    ------
    TrainingError
        ``TRN-031``
    """
    if name not in VARIANTS:
        raise TrainingError(
            "TRN-031", f"there is no variant {name!r}", f"Choose one of {', '.join(VARIANTS)}."
        )
    return VARIANTS[name]


def chosen(
    preset: str | Preset, variant: str | None, changes: Mapping[str, object] | None
) -> Preset:
    """Return a preset with the changes of a variant and, after them, with others.

    Raises
    ------
    TrainingError
        ``TRN-001``, ``TRN-031``, ``TRN-007``.
    """
    of_variant = variant_named(variant).changes if variant is not None else {}
    return preset_named(preset).changed({**of_variant, **(changes or {})})
