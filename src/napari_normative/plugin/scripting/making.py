"""Scans opened and volumes made in a viewer that a script drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.engine.scans import as_volume
from napari_normative.layers.spec import LABELS, spec_of
from napari_normative.plugin.controllers.given import GivenController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.files import layer_of, open_file
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.scripting.view import ScriptedView, is_layer
from napari_normative.plugin.state.restore import FOUND, MARKED, SLICES
from napari_normative.plugin.state.samples import INTERPOLATION, POSTERIOR, PRIOR

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_normative.engine.draws import Draws
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.engine.scans import ScanLike


class ScriptedMaking(ScriptedView):
    """What a script opens, and what it has made of a scan or of a model."""

    def open(self, scan: ScanLike, *, labels: bool | None = None, **answers: Any) -> Layer:
        """Open a scan and choose it; what follows is about it.

        Parameters
        ----------
        scan : path, Volume, nibabel image, or (array, affine)
            A series of volumes gets a leading axis; :meth:`detect` then needs ``volume``.
        labels : bool, optional
            Whether it is labels; as the file says unless given.
        **answers
            To questions about doubtful headers: ``trust="sform"`` or ``"qform"``,
            ``any_size=True``.

        Returns
        -------
        napari Layer
            An image, or labels for a file of labels.
        """
        from napari.layers import Layer as AnyLayer

        if isinstance(scan, str | Path):
            title = f"Open {Path(scan).name}"
            ((data, attributes, kind),) = self.work(
                title, lambda progress, cancelled: open_file(str(scan), labels=labels, **answers)
            )
            layer: Layer = self.viewer.add_layer(AnyLayer.create(data, attributes, kind))
        else:
            volume = as_volume(scan)
            data, attributes, kind = layer_of([volume], volume.source.name, labels=labels)
            layer = self.viewer.add_layer(AnyLayer.create(data, attributes, kind))
        self.choose(layer)
        return layer

    def sample(
        self,
        n: int = 8,
        *,
        about: ScanLike | Layer | None = None,
        to: ScanLike | Layer | None = None,
        given: Mapping[str, object] | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        model: str | Path | None = None,
        device: str | None = None,
    ) -> Draws:
        """Draw synthetic volumes and show them as a series, with their mean and SD.

        Parameters
        ----------
        n : int
        about : like ``scan`` of :meth:`detect`, optional
            Draw what the model holds possible for this scan, not for the cohort.
        to : like ``about``, optional
            Lead from ``about`` to this scan in ``n`` steps, at least 2.
        given : mapping, optional
            What the model is told of the person; not between two people.
        seed, temperature
            As of :meth:`NormativeModel.sample`.
        model, device
            As of :meth:`detect`.
        """
        controller, chosen = self.controller(SamplesController), self.scan
        state = controller.state
        self._choose_model(model, device)
        if about is not None:
            state.scan = self._key_of(about)
        if to is not None:
            state.second = self._key_of(to)
        if chosen is not None:
            self.choose(chosen)
        state.kind = PRIOR if about is None else POSTERIOR if to is None else INTERPOLATION
        state.count, state.seed, state.temperature = n, seed, temperature
        state.volumes = state.maps = True
        if state.person is not None:
            self._tell(state.person, given)
        elif given:
            raise self.refusal("sample", "What lies between two people is drawn untold.")
        self.press("sample", controller, controller.run)
        made = controller.made
        assert made is not None, "a draw that succeeded is kept"
        return made

    def fill(
        self,
        scan: ScanLike | Layer | None = None,
        *,
        missing: ScanLike | Layer | None = None,
        slices: Sequence[str] = (),
        model: str | Path | None = None,
        device: str | None = None,
    ) -> Inpainted:
        """Fill what is missing in the chosen scan, as the dock *Restore* does.

        Parameters
        ----------
        scan : like ``scan`` of :meth:`detect`, optional
            Opened or chosen first.
        missing : like ``mask`` of :meth:`detect`, optional
            Anything but 0 is missing; opened as labels.
        slices : sequence of str
            Such as ``k:40-44``. Without these and ``missing`` what is missing is found.
        model, device
            As of :meth:`detect`.

        Raises
        ------
        NormativeError
            As for :meth:`NormativeModel.inpaint`; ``SES-001`` for ``missing`` and ``slices``
            together.
        """
        from napari_normative.engine.inpaint import Inpainted

        controller = self.controller(RestoreController)
        state = controller.state
        if missing is not None and slices:
            raise self.refusal("fill", "Give labels or slices, not both.")
        if scan is not None:
            self._layer_of(scan)
        self._choose_model(model, device)
        if self.scan is not None:
            state.scan = self.context.scans.key_of(self.scan)
        state.missing = FOUND if missing is None else MARKED
        if missing is not None:
            state.labels = str(self._labels_of(missing).unique_id)
        if slices:
            state.missing, state.slices = SLICES, ", ".join(slices)
        self.press("fill", controller, controller.run)
        made = controller.made
        assert isinstance(made, Inpainted), "a scan that was filled is kept"
        return made

    # ---- inside

    def _choose_model(self, model: str | Path | None, device: str | None) -> None:
        models = self.context.models
        if model is not None:
            models.take(model)
        if device is not None:
            models.state.device = device

    def _tell(self, key: str, given: Mapping[str, object] | None) -> None:
        """Tell the chosen model of the person of a scan, or that nothing is known."""
        self.controller(GivenController).replace(key, given or {})

    def _layer_of(self, scan: ScanLike | Layer) -> Layer:
        """Return the layer of a scan, opened unless it is one, and choose it."""
        if not is_layer(scan):
            return self.open(scan)
        self.choose(scan)
        return scan

    def _key_of(self, scan: ScanLike | Layer) -> str:
        return self.context.scans.key_of(self._layer_of(scan))

    def _labels_of(self, mask: ScanLike | Layer) -> Layer:
        """Return the labels layer of a mask, opened unless it is one."""
        if is_layer(mask):
            if str(mask.unique_id) not in {each.key for each in self.context.scans.state.masks}:
                raise self.refusal("detect", "Give labels as the mask, not an image.")
            return mask
        volume = as_volume(mask)
        spec = spec_of([volume], f"{volume.source.name} · mask", LABELS, visible=False)
        return add_spec(self.viewer, spec)
