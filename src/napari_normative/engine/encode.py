"""Latents of many scans, and the table of them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_normative.core.card import RESEARCH_USE
from napari_normative.engine.device import choose_device
from napari_normative.engine.embed import (
    Place,
    principal_axes,
    remembered_place,
    require_places,
)
from napari_normative.engine.infer import versions
from napari_normative.engine.layout import umap_layout
from napari_normative.engine.remembered import default_cache
from napari_normative.errors import CancelledError, ModelFileError
from napari_normative.io.atomic import replace_files
from napari_normative.io.digest import file_digest
from napari_normative.io.names import stem
from napari_normative.io.nifti import read_volume
from napari_normative.io.tables import json_bytes, tsv_bytes
from napari_normative.io.transforms import Trust

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel

FORMAT = "napari-normative latents 1"
COLUMNS = {
    "scan": "name of the file",
    "subject": "of a BIDS name (sub-07 of sub-07_T1w.nii.gz), else n/a",
    "sha256": "of the file as stored",
    "scan_score": "as in a detection; larger is less normal",
    "scan_p": "share of healthy calibration scans that score at least as high",
    "latent_distance": "Mahalanobis distance from the cohort, over its expectation; 1 is usual",
    "error": "why there are no figures, else n/a",
    "mean_N": "mean of the scan's Gaussian over latent N, from 1",
    "variance_N": "its variance",
}
LAYOUT_COLUMNS = {
    "principal_1, principal_2": "first two axes of the latent map; see PrincipalAxes.place",
    "umap_1, umap_2": "UMAP of all axes of the latent map; neighbourhoods only",
}

Layout = Literal["principal", "umap"]


@dataclass(frozen=True, eq=False)
class Latents:
    """A scan's Gaussian over latents and its figures, or why there are none.

    Attributes
    ----------
    path : Path
    subject : str
        Of a BIDS name; empty where the name has none.
    digest : str
        SHA-256 of the file, as ``Volume.source.digest``; empty where it cannot be read.
    place : Place or None
    error : Exception or None
    """

    path: Path
    subject: str
    digest: str
    place: Place | None
    error: Exception | None = None

    def facts(self) -> dict[str, Any]:
        """Return the row by name, with means and variances as lists; JSON-ready."""
        row: dict[str, Any] = {"scan": self.path.name, "subject": self.subject or None}
        row["sha256"] = self.digest or None
        place = self.place
        row["scan_score"] = place.scan_score if place else None
        row["scan_p"] = place.scan_p if place else None
        row["latent_distance"] = place.distance if place else None
        row["error"] = str(self.error) if self.error else None
        row["mean"] = place.latent.tolist() if place else []
        row["variance"] = place.variance.tolist() if place else []
        return row

    def describe(self) -> str:
        """Return the figures of a scan that has some, in one line."""
        assert self.place is not None
        return (
            f"{self.path.name}: scan score {self.place.scan_score:.2f} "
            f"(p {self.place.scan_p:.3g}), latent distance {self.place.distance:.2f}"
        )


def encode_scans(
    model: LatentModel,
    scans: Iterable[Path],
    *,
    volume: int | None = None,
    trust: Trust | None = None,
    any_size: bool = False,
    device: str = "auto",
    cache: Path | None = None,
    begin: Callable[[Path], None] = lambda scan: None,
    cancel: Cancel | None = None,
) -> Iterator[Latents]:
    """Encode scans one after another; a bad one stops none of the others.

    A scan that was encoded before, with the same model and version, is not computed again.

    Parameters
    ----------
    model : LatentModel
        With dense latents.
    scans : iterable of Path
    volume, trust, any_size
        As for :func:`read_volume`.
    device : str
    cache : Path, optional
        Folder; the user's own unless given.
    begin : callable of (path)
        Told before each scan.
    cancel : callable, optional

    Yields
    ------
    Latents
        One for each scan. With a local level in the model: of the global level.

    Raises
    ------
    ModelFileError
        ``MOD-007`` when the model has no latent vector for a whole scan.
    CancelledError
    """
    try:
        require_places(model)
    except ModelFileError as error:
        raise ModelFileError(
            error.code, error.what, error.remedy, consequence="Nothing was encoded."
        ) from error
    folder = default_cache() if cache is None else cache
    for path in scans:
        begin(path)
        name = stem(path)
        subject = name.split("_")[0] if name.startswith("sub-") else ""
        digest = ""
        try:
            try:
                digest = file_digest(path)
            except OSError:  # the reader says what is wrong, and what to do
                read_volume(path)
                raise
            place = remembered_place(
                model, path, digest, folder, device=device, cancel=cancel,
                volume=volume, trust=trust, any_size=any_size,
            )  # fmt: skip
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
            yield Latents(path, subject, digest, None, error)
        else:
            yield Latents(path, subject, digest, place)


def latents_table(model: LatentModel, rows: Sequence[Latents]) -> pd.DataFrame:
    """Return one row a scan; see :data:`COLUMNS`. No folder is named."""
    import pandas as pd  # late: it takes a third of a second

    size = model.posterior.mean.size
    records = []
    for row in rows:
        facts = row.facts()
        for name in ("mean", "variance"):
            values = facts.pop(name) or [None] * size
            facts |= {f"{name}_{n}": value for n, value in enumerate(values, start=1)}
        records.append(facts)
    numbered = [f"{name}_{n}" for name in ("mean", "variance") for n in range(1, size + 1)]
    fixed = [name for name in COLUMNS if not name.endswith("_N")]
    return pd.DataFrame(records, columns=[*fixed, *numbered])


def layout_columns(
    model: LatentModel,
    rows: Sequence[Latents],
    layouts: Iterable[Layout],
    *,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
) -> dict[str, list[float | None]]:
    """Return two coordinates of each scan for each layout, by name of the column.

    Parameters
    ----------
    model : LatentModel
    rows : sequence of Latents
    layouts : iterable of {"principal", "umap"}
        Axes of the latent map, which new scans do not move; or UMAP of these very scans.
    seed : int
        Of UMAP.
    device : str
    cache : Path, optional

    Raises
    ------
    DeviceError
        ``DEV-004`` when UMAP fails, for instance of fewer than four scans.
    """
    found: dict[str, list[float | None]] = {}
    placed = [n for n, row in enumerate(rows) if row.place is not None]
    latents = [row.place.latent for row in rows if row.place is not None]
    if not latents:
        return found
    places = principal_axes(model, device=device, cache=cache).place(np.stack(latents))
    for layout in dict.fromkeys(layouts):
        points = places[:, :2] if layout == "principal" else umap_layout(places, seed=seed)
        for axis in range(2):
            column: list[float | None] = [None] * len(rows)
            for n, point in zip(placed, points, strict=True):
                column[n] = float(point[axis])
            found[f"{layout}_{axis + 1}"] = column
    return found


def save_latents(
    path: str | Path,
    model: LatentModel,
    rows: Sequence[Latents],
    *,
    device: str = "auto",
    layouts: Sequence[Layout] = (),
    seed: int = 0,
    preservation: pd.DataFrame | None = None,
    **parameters: Any,
) -> list[Path]:
    """Write the table (TSV, six significant digits) and what made it (JSON of the same name).

    Both files are replaced together, whole or not at all.

    Parameters
    ----------
    path : path
        Of the table.
    model : LatentModel
    rows : sequence of Latents
    device : str
        As for :func:`encode_scans`.
    layouts : sequence of {"principal", "umap"}
        Coordinates to add; see :func:`layout_columns`.
    seed : int
        Of UMAP.
    preservation : DataFrame, optional
        Of :func:`~napari_normative.engine.preservation.preservation_table`, for the record.
    **parameters
        How the scans were read, for the record.

    Raises
    ------
    OutputError
        ``OUT-002`` if they cannot be written.
    DeviceError
        ``DEV-004`` when UMAP fails.
    """
    table = Path(path)
    used = versions()
    choice = choose_device(device)
    record: dict[str, Any] = {
        "format": FORMAT,
        "notice": RESEARCH_USE,
        "software": f"napari-normative {used['napari-normative']}",
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": used,
        "model": {
            "name": model.card.name,
            "title": model.card.title,
            "sha256": model.digest,
        },
        **model.told(),
        "latents": {"count": int(model.posterior.mean.size), "level": "global"},
        "parameters": parameters,
        "device": choice.device,
        "device_reason": choice.reason,
        "seed": seed if "umap" in layouts else None,
        "scans": {
            "listed": len(rows),
            "encoded": sum(row.place is not None for row in rows),
            "remembered": sum(row.place is not None and row.place.remembered for row in rows),
        },
        "columns": COLUMNS | (LAYOUT_COLUMNS if layouts else {}),
    }
    if preservation is not None:
        record["preservation"] = preservation.to_dict("records")
    frame = latents_table(model, rows)
    for name, column in layout_columns(model, rows, layouts, seed=seed, device=device).items():
        frame[name] = column
    record_path = table.with_suffix(".json")
    replace_files({table: tsv_bytes(frame), record_path: json_bytes(record)})
    return [table, record_path]
