"""Synthetic volumes: draws from a model or about a scan, and the way from one scan to another.

Volumes are decoded one at a time; mean and SD over many draws need no draw to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_normative.core.latent import RunningMoments, between, draws_about
from napari_normative.core.preprocess import Prepared, restore, scored_mask
from napari_normative.engine.draw_layers import draw_layers
from napari_normative.engine.infer import DeviceNote, on_device, prepare_scan
from napari_normative.engine.made import record_of
from napari_normative.errors import CancelledError
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.layers.spec import LayerTuple
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

MARKER = "samples.json"
Latents: TypeAlias = tuple[FloatArray, ...]
"""The latents of one volume, one array a level; the global level first."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Synthetic volumes, all on one grid.

    Attributes
    ----------
    volumes : tuple of Volume
        As many as were to be kept, in order.
    mean, sd : Volume or None
        Over all draws; None unless asked for. The SD is in the units of the volumes.
    record : dict
        What made them, JSON-ready: kind, seed, temperature, model digest, versions, UTC time.
    like : Volume or None
        The scan on whose grid they lie; None for the model's own grid.
    """

    volumes: tuple[Volume, ...]
    mean: Volume | None
    sd: Volume | None
    record: dict[str, Any] = field(default_factory=dict)
    like: Volume | None = None

    def __len__(self) -> int:
        """Return the number of volumes that were kept."""
        return len(self.volumes)

    def __iter__(self) -> Iterator[Volume]:
        """Yield the volumes in order."""
        return iter(self.volumes)

    def __getitem__(self, index: int) -> Volume:
        """Return one volume."""
        return self.volumes[index]

    def to_layers(self) -> list[LayerTuple]:
        """Return the layer data tuples (data, attributes, kind) that napari takes."""
        return [spec.as_tuple() for spec in draw_layers(self)]

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``sample_*``, ``mean`` and ``sd`` (``.nii.gz``) and ``samples.json``.

        The folder appears whole or not at all.

        Returns
        -------
        list of Path
            The files, in that order.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        volumes = {f"sample_{i:02d}": v for i, v in enumerate(self.volumes, start=1)}
        volumes |= {n: v for n, v in (("mean", self.mean), ("sd", self.sd)) if v is not None}
        with whole_folder(target, MARKER) as fresh:
            for name, volume in volumes.items():
                write_volume(fresh / f"{name}.nii.gz", volume, like=self.like)
            text = json.dumps(self.record, indent=1, ensure_ascii=False) + "\n"
            (fresh / MARKER).write_text(text, encoding="utf-8")
        return [target / f"{name}.nii.gz" for name in volumes] + [target / MARKER]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A scan as the model sees it.

    Attributes
    ----------
    scan : Volume
    prepared : Prepared
        The scan on the model's grid.
    levels : tuple of (mean, variance)
        The Gaussians over the latents, the global level first; float32 arrays.
    note : DeviceNote
        Of the device that encoded it.
    """

    scan: Volume
    prepared: Prepared
    levels: tuple[tuple[FloatArray, FloatArray], ...]
    note: DeviceNote

    @property
    def means(self) -> Latents:
        """The latents of the pseudo-healthy reconstruction."""
        return tuple(mean for mean, _ in self.levels)


def encode(model: LatentModel, scan: Volume, device: str) -> Encoded:
    """Prepare and encode a scan.

    Raises
    ------
    PreprocessError
        If the scan is not what the model knows.
    """
    prepared, _ = prepare_scan(model, scan)
    levels, note = on_device(lambda name: encode_image(model, prepared.image, name), model, device)
    return Encoded(scan, prepared, levels, note)


def encode_image(
    model: LatentModel, image: FloatArray, device: str
) -> tuple[tuple[FloatArray, FloatArray], ...]:
    """Return mean and variance of each level of an image (I, J, K) of the model's grid."""
    import torch

    network = model.network(device)
    with torch.inference_mode():
        levels = network.levels(torch.from_numpy(image[None, None]).to(device))
        return tuple(
            (
                level.mean[0].float().cpu().numpy(),
                level.log_variance[0].float().exp().cpu().numpy(),
            )
            for level in levels
        )


def prior_draws(
    model: LatentModel,
    n: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    device: str = "auto",
    keep: int | None = None,
    maps: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Draws:
    """Draw volumes as the cohort's latents are spread, on the model's grid and in its units.

    The local level, where there is one, stays at its mean: it describes what the global level
    leaves of a scan, and there is no scan.

    Parameters
    ----------
    model : LatentModel
    n, seed : int
    temperature : float
        Scales the distance of the latents to their mean.
    device : str
    keep : int, optional
        How many volumes are kept; all unless given.
    maps : bool
        Whether to return mean and SD over all draws.
    progress, cancel : callable, optional
    """
    latents = model.posterior.draw(n, seed, temperature)
    drawn, note = _decoded(
        model, lambda: ((z,) for z in latents), placed_on_grid(model), n, device, keep, maps,
        progress, cancel,
    )  # fmt: skip
    record = _record(model, "prior", n, note, seed=seed, temperature=temperature)
    return Draws(*drawn, record=record)


def posterior_draws(
    model: LatentModel,
    scan: Volume,
    n: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    device: str = "auto",
    keep: int | None = None,
    maps: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Draws:
    """Draw healthy volumes that the model holds possible for a scan, on its grid, in its units.

    Draws are from q(z|x) of all levels, independent as in the objective; see
    :func:`prior_draws` for the parameters. Temperature 0 gives the reconstruction.

    Raises
    ------
    PreprocessError
        If the scan is not what the model knows.
    """
    if progress:
        progress("aligning and encoding the scan", 0.0)
    encoded = encode(model, scan, device)
    drawn, note = _decoded(
        model, lambda: draws_about(encoded.levels, n, seed, temperature),
        placed_on_scan(model, encoded), n, device, keep, maps, progress, cancel,
    )  # fmt: skip
    record = _record(
        model, "posterior", n, note, seed=seed, temperature=temperature,
        scans=[{"sha256": scan.source.digest}],
    )  # fmt: skip
    return Draws(*drawn, record=record, like=scan)


def interpolation(
    model: LatentModel,
    first: Volume,
    second: Volume,
    n: int,
    *,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Draws:
    """Lead from one scan's reconstruction to another's in ``n`` equal steps of the latents.

    All levels go along a straight line; the volumes lie on the model's grid, in its units.

    Raises
    ------
    PreprocessError
        If a scan is not what the model knows.
    """
    ends: list[Latents] = []
    for scan in (first, second):
        if progress:
            progress(f"aligning and encoding {scan.source.name}", 0.1 * len(ends))
        _listen(cancel)
        ends.append(encode(model, scan, device).means)
    lines = [between(a, b, n) for a, b in zip(*ends, strict=True)]
    drawn, note = _decoded(
        model, lambda: zip(*lines, strict=True), placed_on_grid(model), n, device, None, False,
        progress, cancel,
    )  # fmt: skip
    scans = [{"sha256": scan.source.digest} for scan in (first, second)]
    return Draws(*drawn, record=_record(model, "interpolation", n, note, scans=scans))


def decode_levels(model: LatentModel, latents: Latents, device: str) -> FloatArray:
    """Return the image (I, J, K) of the latents of all levels, or of the first ones."""
    import torch

    with torch.inference_mode():
        tensors = [torch.from_numpy(z).to(device)[None] for z in latents]
        image: FloatArray = model.network(device).decode(*tensors)[0, 0].float().cpu().numpy()
    return image


def _decoded(
    model: LatentModel,
    latents: Callable[[], Iterator[Latents]],
    place: Callable[[FloatArray, int], Volume],
    n: int,
    device: str,
    keep: int | None,
    maps: bool,
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[tuple[tuple[Volume, ...], Volume | None, Volume | None], DeviceNote]:
    """Decode and place volumes one by one; return those kept, and mean and SD."""

    def work(name: str) -> tuple[tuple[Volume, ...], Volume | None, Volume | None]:
        kept: list[Volume] = []
        moments = RunningMoments()
        volume: Volume | None = None
        for number, levels in enumerate(latents(), start=1):
            _listen(cancel)
            if progress:
                progress(f"decoding {number} of {n}", 0.2 + 0.8 * (number - 1) / n)
            volume = place(decode_levels(model, levels, name), number)
            if maps:
                moments.add(volume.data)
            if keep is None or number <= keep:
                kept.append(volume)
        if not maps or volume is None:
            return tuple(kept), None, None
        return tuple(kept), volume.with_data(moments.mean()), volume.with_data(moments.sd())

    drawn, note = on_device(work, model, device)
    return drawn, note


def placed_on_grid(model: LatentModel) -> Callable[[FloatArray, int], Volume]:
    """Return what makes a volume of a decoded image and its number: on the model's own grid."""
    inside = model.template.mask
    return lambda image, number: model.synthetic(np.where(inside, image, 0), f"sample-{number}")


def placed_on_scan(model: LatentModel, encoded: Encoded) -> Callable[[FloatArray, int], Volume]:
    """Return what makes a volume of a decoded image: on the scan's grid, in its units."""
    scan, prepared, space = encoded.scan, encoded.prepared, model.card.preprocess
    inside = scored_mask(prepared, space, scan)

    def place(image: FloatArray, number: int) -> Volume:
        values = restore(image, prepared, space, scan)
        return scan.with_data(np.where(inside, values, 0), is_label=False)

    return place


def _listen(cancel: Cancel | None) -> None:
    if cancel is not None and cancel():
        raise CancelledError


def _record(model: LatentModel, kind: str, n: int, note: DeviceNote, **more: Any) -> dict[str, Any]:
    return record_of(model, kind, note, synthetic=True, count=n, **more)
