"""The model picker: one chosen model and device for all docks of a viewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from napari_normative.core.condition import Covariates
from napari_normative.errors import NormativeError
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.models import ModelsRequests, ModelsState
from napari_normative.plugin.state.settings import Settings


class ModelsController:
    """Lists models, remembers the chosen one and the device.

    Parameters
    ----------
    shelf : ModelShelf
    notify : callable of (message)
    release : callable
        Frees what the engine's process holds.
    settings : Settings, optional
        Remembers the device.

    Attributes
    ----------
    covariates : Covariates
        What the chosen model can be told of a person.
    """

    def __init__(
        self,
        shelf: ModelShelf,
        notify: Callable[[str], None],
        release: Callable[[], None] = lambda: None,
        settings: Settings | None = None,
    ) -> None:
        self.shelf = shelf
        self._release = release
        self._in_engine = ""
        self.state, self.requests = ModelsState(), ModelsRequests()
        self.covariates = Covariates()
        self._notify = notify
        self._jobs = 0
        self.requests.add_file.connect(self.add_file)
        self.requests.unload.connect(self.unload)
        self.state.events.model.connect(self._on_model)
        self._settings = settings or Settings()
        self._settings.events.device.connect(self._take_device)
        self._take_device(self._settings.device)
        self.state.events.device.connect(self._keep_device)
        self.refresh()

    def refresh(self) -> None:
        """List the models again."""
        state = self.state
        state.models = tuple(self.shelf.choices())
        if state.model not in {choice.key for choice in state.models}:
            state.model = state.models[0].key if state.models else ""

    def add_file(self, path: str) -> None:
        """Put a model file on the list and choose it."""
        try:
            self.take(path)
        except NormativeError as error:
            self.state.error = str(error)
            self._notify(str(error))

    def take(self, name_or_path: str | Path) -> None:
        """Choose a model by its name on the list, or a model file, which comes onto the list.

        Raises
        ------
        ModelFileError
            If it is no model of ours.
        """
        state = self.state
        wanted = str(name_or_path)
        named = [choice.key for choice in state.models if wanted in {choice.key, choice.label}]
        key = named[0] if named else self.shelf.add(Path(name_or_path).expanduser())
        state.error = ""
        self.refresh()
        state.model = key

    def unload(self) -> None:
        """Free the memory of the loaded model, unless a job uses it."""
        if not self.state.busy:
            self.shelf.unload()
            self._release()
            self.engine_has("")

    def ran_on(self, devices: Sequence[str], line: str) -> None:
        """Say what a job learnt of the machine: its devices, and which one worked and why."""
        self._list_devices(devices)
        if line:
            self.state.device_line = line

    def _list_devices(self, devices: Sequence[str]) -> None:
        """Offer devices, and the chosen one where it is missing: a run says what is wrong."""
        names = dict.fromkeys((*devices, self.state.device))
        self.state.devices = tuple(Choice(name, name) for name in names)

    def _take_device(self, device: str) -> None:
        self.state.device = device
        self._list_devices([choice.key for choice in self.state.devices])

    def _keep_device(self, device: str) -> None:
        self._settings.device = device

    def before_job(self) -> None:
        """Note that one more job uses the model."""
        self._jobs += 1
        self.state.busy = True

    def after_job(self) -> None:
        """Note that a job is over, and whether the model is in memory now."""
        self._jobs -= 1
        self.state.busy = self._jobs > 0
        self._refresh_loaded()

    def engine_has(self, key: str) -> None:
        """Note which model the engine's process holds; empty for none."""
        self._in_engine = key
        self._refresh_loaded()

    def _refresh_loaded(self) -> None:
        key = self.state.model
        self.state.loaded = bool(key) and (self.shelf.is_loaded(key) or self._in_engine == key)

    @property
    def name(self) -> str:
        """Label of the chosen model; empty without one."""
        labels = (c.label for c in self.state.models if c.key == self.state.model)
        return next(labels, "")

    def _on_model(self, key: str) -> None:
        about = self.shelf.about(key)
        self.covariates = about.covariates
        self.state.model_line, self.state.latents = about.line, about.latents
        self._refresh_loaded()
