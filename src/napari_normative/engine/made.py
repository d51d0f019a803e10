"""Volumes that a model made, and how they say what made them."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.limits import image_limits
from napari_normative.engine.infer import DeviceNote, versions
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.layers.spec import (
    ATTRIBUTION,
    EFFECT,
    THROUGH,
    LayerSpec,
    LayerTuple,
    origin_of,
    signed_spec,
    spec_of,
)
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel

MARKER = "volume.json"


@dataclass(frozen=True, eq=False)
class MadeVolume(Volume):
    """A volume that a model made: a reconstruction, a decoded latent, an effect.

    All that a :class:`Volume` is, and

    Attributes
    ----------
    name : str
        What it is called in a viewer.
    role : str
        What it is, such as ``reconstruction``.
    record : dict
        What made it, JSON-ready: model, digest, versions, parameters, device, UTC time.
    like : Volume or None
        The scan on whose grid it lies; None for the model's own grid.
    """

    name: str = ""
    role: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    like: Volume | None = None

    @classmethod
    def of(
        cls,
        volume: Volume,
        name: str,
        role: str,
        record: dict[str, Any],
        like: Volume | None = None,
    ) -> MadeVolume:
        """Return a volume with what made it."""
        return cls(volume.data, volume.affine, volume.source, name, role, record, like)

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``volume.nii.gz`` and ``volume.json``, which says what made it, into a folder.

        The folder appears whole or not at all.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        with whole_folder(target, MARKER) as fresh:
            write_volume(fresh / "volume.nii.gz", self, like=self.like)
            text = json.dumps(self.record, indent=1, ensure_ascii=False) + "\n"
            (fresh / MARKER).write_text(text, encoding="utf-8")
        return [target / "volume.nii.gz", target / MARKER]

    def to_layers(self) -> list[LayerTuple]:
        """Return the layer data tuples (data, attributes, kind) that napari takes."""
        return [layer_of(self).as_tuple()]


def layer_of(made: MadeVolume) -> LayerSpec:
    """Return the layer of a volume that a model made; with the grey values of its scan."""
    if made.role in {EFFECT, ATTRIBUTION, THROUGH}:
        return signed_spec(made, made.name, made.role, provenance=made.record)
    return spec_of(
        [made],
        made.name,
        made.role,
        origin=origin_of(made if made.like is None else made.like),
        provenance=made.record,
        colormap="gray",
        contrast_limits=image_limits((made if made.like is None else made.like).data),
    )


def record_of(model: LatentModel, kind: str, note: DeviceNote, **more: Any) -> dict[str, Any]:
    """Return what made something of a model; JSON-ready.

    Parameters
    ----------
    model : LatentModel
    kind : str
        Such as ``reconstruction``.
    note : DeviceNote
        Of the device that did the work.
    **more
        Parameters.
    """
    known = versions()
    return {
        "notice": RESEARCH_USE,
        "kind": kind,
        "version": known["napari-normative"],
        "versions": known,
        "model": model.card.name,
        "model_sha256": model.digest,
        **model.told(),
        **more,
        "device": note.device,
        "device_reason": note.reason,
        "utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
