"""A model file in memory: what it holds, what it is told of a person, and its network."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from napari_normative.core.applicability import HealthyRange
from napari_normative.core.calibration import Calibration
from napari_normative.core.card import ModelCard
from napari_normative.core.condition import Value
from napari_normative.core.latent import Direction
from napari_normative.engine import stored
from napari_normative.engine.conditions import covariates_in
from napari_normative.errors import ModelFileError
from napari_normative.io.checkpoint import Tensors, load_model_file, save_model_file
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.core.baselines import Network

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]

NETWORK_PREFIX = "network."


class StoredModel:
    """What a model file holds; its attributes are those of :class:`NormativeModel`."""

    def __init__(self, card: ModelCard, tensors: Tensors, digest: str = "unsaved") -> None:
        self.card = card
        self.digest = digest
        self._tensors = tensors
        self._networks: dict[str, Network] = {}
        self.known_directions: dict[str, tuple[Direction, ...]] = {}
        self._lock = threading.Lock()
        self.covariates = covariates_in(card.network)
        self.known: Mapping[str, Value] = {}
        self.template = stored.template_of(card, tensors)
        stored.require_calibration(card, tensors, self.template)
        self.healthy_range = HealthyRange.of(tensors)
        self.posterior = stored.posterior_of(tensors)
        self.people = stored.people_of(tensors, self.posterior)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a model file.

        Raises
        ------
        ModelFileError
            When the file is missing, foreign, damaged or of another version.
        """
        card, tensors, digest = load_model_file(Path(path))
        try:
            return cls(card, tensors, digest)
        except ModelFileError as error:
            raise ModelFileError(
                error.code, error.what, error.remedy, subject=Path(path).name
            ) from error

    @cached_property
    def calibration(self) -> Calibration:
        """What healthy people's residuals are like; its maps are laid out when first needed."""
        return stored.calibration_of(self.card, self._tensors, self.template)

    def save(self, path: str | Path) -> Path:
        """Write the model to one ``.safetensors`` file and take on its digest."""
        self.digest = save_model_file(Path(path), self.card, self._tensors)
        return Path(path)

    def given(self, values: Mapping[str, object] | None = None, /, **more: object) -> Self:
        """Return this model for people of whom something is known, such as their age.

        Whatever is asked of it, ``detect``, ``sample``, ``encode`` and all else, is then
        answered for such people. Weights are shared; what is not named is unknown.

        Parameters
        ----------
        values, **more
            Of the columns it was conditioned on; text as in a table, empty for unknown.

        Raises
        ------
        ModelFileError
            ``MOD-070`` for another column, ``MOD-071`` for a value that it does not know.

        Examples
        --------
        >>> model.given() is model
        True
        >>> model.given(age=71)
        Traceback (most recent call last):
        ...
        napari_normative.errors.ModelFileError: [MOD-070] ... not conditioned on 'age'...
        """
        known = self.covariates.read({**(values or {}), **more})
        if known == self.known:
            return self
        twin = copy.copy(self)
        twin.known, twin.known_directions = known, {}
        return twin

    @property
    def identity(self) -> str:
        """SHA-256 that names the model and what it was told; the digest where that is nothing."""
        if not self.known:
            return self.digest
        return hashlib.sha256(f"{self.digest}:{dict(self.known)}".encode()).hexdigest()

    def told(self) -> dict[str, dict[str, Value]]:
        """Return what a record says of what the model was told; empty where it cannot be told."""
        return {"given": dict(self.known)} if self.covariates.each else {}

    def network(self, device: str) -> Network:
        """Return the network on a device, built at the first call, for what the model was told."""
        import torch

        from napari_normative.core.baselines import build_network
        from napari_normative.core.two_levels import TwoLevelVAE
        from napari_normative.core.vae import VAE

        # Weights that are made in inference mode could never be differentiated through.
        with self._lock, torch.inference_mode(False):
            if device not in self._networks:
                network = build_network(self.card.network)
                if isinstance(network, TwoLevelVAE):
                    network.take_mean(torch.from_numpy(self.template.image))
                state = {
                    name.removeprefix(NETWORK_PREFIX): torch.from_numpy(array.copy())
                    for name, array in self._tensors.items()
                    if name.startswith(NETWORK_PREFIX)
                }
                try:
                    network.load_state_dict(state)
                except RuntimeError as error:
                    raise stored.unfit(
                        "weights", "names or shapes of the network's tensors"
                    ) from error
                self._networks[device] = network.float().eval().to(device)
            found = self._networks[device]
        if not isinstance(found, VAE) or not self.known:
            return found
        return found.given(torch.from_numpy(self.covariates.code(self.known)))

    def unload(self) -> None:
        """Free the networks and the GPU memory they hold; the next call builds them again."""
        with self._lock:
            on_gpu = any(name.startswith("cuda") for name in self._networks)
            self._networks.clear()
        if on_gpu:
            import torch

            torch.cuda.empty_cache()

    def synthetic(self, image: FloatArray, name: str) -> Volume:
        """Return an image (I, J, K) of the model's grid as a volume labelled synthetic."""
        made = Volume.from_array(image, self.card.preprocess.grid.affine, f"{name} (synthetic)")
        return dataclasses.replace(
            made, source=dataclasses.replace(made.source, warnings=("Synthetic.",))
        )
