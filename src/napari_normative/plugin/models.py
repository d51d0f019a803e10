"""The models a person can choose: packaged, recent, and from a file. One is loaded at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.core.condition import Covariates
from napari_normative.errors import ModelFileError, NormativeError
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.models import GRID, NONE, VECTOR

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

RECENT_COUNT = 8


@dataclass(frozen=True)
class About:
    """What the docks say of a model.

    Attributes
    ----------
    line : str
        Its card in a line and its verdict.
    latents : {"", "none", "grid", "vector"}
        What stands for a scan: nothing that differs, latents in a grid, one vector.
    covariates : Covariates
        What it can be told of a person.
    """

    line: str = ""
    latents: str = ""
    covariates: Covariates = field(default_factory=Covariates)


def recent_file() -> Path:
    """Return where the recent models are remembered."""
    from platformdirs import user_config_path

    return user_config_path("napari-normative") / "recent-models.json"


class ModelShelf:
    """Lists models and keeps the loaded one.

    Parameters
    ----------
    recent : Path, optional
        Where recent model files are remembered; in the user's settings unless given.
    """

    def __init__(self, recent: Path | None = None) -> None:
        self._recent_file = recent or recent_file()
        self._loaded: NormativeModel | None = None
        self._loaded_key = ""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[], ModelShelf], tuple[()]]:
        """Arrive in another process as that process's own shelf, with what it has loaded."""
        return engine_shelf, ()

    def choices(self) -> list[Choice]:
        """Return the packaged models and the recent files that still exist."""
        from napari_normative.engine.model import available_models

        listed = [(entry.path, entry.name) for entry in available_models()]
        known = {path for path, _ in listed}
        listed += [(p, f"{p.name} (file)") for p in self._recent() if p not in known]
        return [Choice(str(path), name) for path, name in listed]

    def about(self, key: str) -> About:
        """Return what is known of a model without building it, or what is wrong with the file."""
        if not key:
            return About()
        from napari_normative.engine.model import load_model

        try:
            return _about(load_model(key))
        except NormativeError as error:
            return About(str(error))

    def add(self, path: Path) -> str:
        """Put a model file first on the recent list and return its key.

        Raises
        ------
        ModelFileError
            If it is not a model of ours.
        """
        from napari_normative.engine.model import load_model

        path = path.resolve()
        load_model(path)
        recent = [path, *(p for p in self._recent() if p != path)][:RECENT_COUNT]
        self._recent_file.parent.mkdir(parents=True, exist_ok=True)
        self._recent_file.write_text(json.dumps([str(p) for p in recent], indent=1))
        return str(path)

    def _recent(self) -> list[Path]:
        try:
            stored = json.loads(self._recent_file.read_text())
        except (OSError, ValueError):
            return []
        if not isinstance(stored, list):
            return []
        return [p for p in map(Path, filter(lambda s: isinstance(s, str), stored)) if p.is_file()]

    def is_loaded(self, key: str) -> bool:
        """Whether this process holds this model."""
        return self._loaded is not None and self._loaded_key == key

    @property
    def loaded_key(self) -> str:
        """Key of the model that is in this process's memory; empty for none."""
        return self._loaded_key

    def load(self, key: str) -> NormativeModel:
        """Return the model, reading it if it is not the loaded one; in a job.

        Raises
        ------
        ModelFileError
        """
        from napari_normative.engine.model import load_model

        with self._lock:
            if self._loaded is not None and self._loaded_key == key:
                return self._loaded
            self._drop()
            if not key:
                raise ModelFileError("MOD-020", "no model was chosen", "Choose a model.")
            self._loaded = load_model(key)
            self._loaded_key = key
            return self._loaded

    def load_same(self, key: str, digest: str, name: str) -> NormativeModel:
        """Return the chosen model if it is the one that made a detection; in a job.

        Parameters
        ----------
        key : str
        digest, name : str
            Of the model that made the detection.

        Raises
        ------
        ModelFileError
            ``MOD-021`` if it is another.
        """
        model = self.load(key)
        if model.digest != digest:
            raise ModelFileError(
                "MOD-021",
                f"the anomaly map was made with {name}, another model is chosen",
                f"Choose {name} again.",
                consequence="Nothing was asked of it.",
            )
        return model

    def devices(self) -> tuple[str, ...]:
        """Return what can be asked for on this machine; in a job, because it loads torch."""
        from napari_normative.engine.device import list_devices

        return tuple(list_devices())

    def unload(self) -> None:
        """Free the loaded model's memory."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._loaded is not None:
            self._loaded.unload()
        self._loaded, self._loaded_key = None, ""


@cache
def engine_shelf() -> ModelShelf:
    """Return the shelf of an engine process; its files are those that jobs name."""
    return ModelShelf()


def _about(model: NormativeModel) -> About:
    from napari_normative.core.config import BaselineConfig

    card, mean = model.card, model.posterior.mean
    if isinstance(card.network, BaselineConfig) and card.network.kind != "pca":
        latents = NONE
    else:
        latents = VECTOR if mean.ndim == 1 and mean.size > 1 else GRID
    line = f"{card.one_line()}\n{card.verdict(figures=False)}"
    return About(line, latents, model.covariates)
