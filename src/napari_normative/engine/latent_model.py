"""A model asked of its latents: where scans lie in them, and what they decode to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.latent import Basis, Direction
from napari_normative.engine.encoding import Encoding
from napari_normative.engine.made import MadeVolume, record_of
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.engine.stored_model import Cancel, Progress, StoredModel
from napari_normative.errors import ModelFileError

if TYPE_CHECKING:
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.explore import Order
    from napari_normative.engine.neighbours import Neighbour
    from napari_normative.engine.synthetic import SyntheticSet


class LatentModel(StoredModel):
    """A stored model, and what can be asked of its latents."""

    def encode(self, scan: ScanLike, *, device: str = "auto") -> Encoding:
        """Return the scan's Gaussian over latents.

        Raises
        ------
        NormativeError
            As for :meth:`detect`.

        Examples
        --------
        >>> encoding = model.encode(scan, device="cpu")
        >>> encoding.mean.shape
        (64,)
        """
        from napari_normative.engine.draws import encode

        given = as_volume(scan)
        seen = encode(self, given, device)
        (mean, variance), *local = seen.levels
        about = {"scan": {"sha256": given.source.digest}}
        record = record_of(self, "encoding", seen.note, **about)
        return Encoding(mean, variance, tuple(local), record)

    def decode(
        self, latent: Encoding | NDArray[np.floating], *, device: str = "auto"
    ) -> MadeVolume:
        """Return the volume of a latent on the model's grid, in model units, labelled synthetic.

        Parameters
        ----------
        latent : Encoding, or float array of the shape of one global latent
            Of an encoding the mean of the global level is decoded.
        device : str

        Raises
        ------
        ModelFileError
            ``MOD-023`` for an array of another shape.

        Examples
        --------
        >>> average = model.decode(model.posterior.mean, device="cpu")
        >>> average.shape == model.template.mask.shape
        True
        """
        from napari_normative.engine.infer import decode

        z = np.asarray(latent.mean if isinstance(latent, Encoding) else latent, dtype=np.float32)
        if z.shape != self.posterior.mean.shape:
            raise ModelFileError(
                "MOD-023",
                f"the latent has shape {z.shape}, this model's have {self.posterior.mean.shape}",
                "Pass one latent, for instance model.posterior.mean.",
                subject=self.card.name,
                consequence="Nothing was decoded.",
            )
        (image,), note = decode(self, z[None], device)
        made = self.synthetic(image, "decoded")
        record = record_of(self, "decoded", note, synthetic=True, latent=z.ravel().tolist())
        return MadeVolume.of(made, f"{self.card.name} · decoded (synthetic)", "decoded", record)

    def sample(
        self, n: int, *, seed: int = 0, temperature: float = 1.0, device: str = "auto"
    ) -> Draws:
        """Return ``n`` synthetic volumes drawn from the cohort's latents, on the model's grid.

        Parameters
        ----------
        n : int
        seed : int
            Equal seeds give equal samples.
        temperature : float
            1 draws as the cohort is spread; less stays nearer to the average.
        device : str

        Examples
        --------
        >>> drawn = model.sample(2, seed=1, device="cpu")
        >>> [volume.source.name for volume in drawn]
        ['sample-1 (synthetic)', 'sample-2 (synthetic)']
        """
        from napari_normative.engine.draws import prior_draws

        return prior_draws(self, n, seed=seed, temperature=temperature, device=device)

    def posterior_samples(
        self,
        scan: ScanLike,
        n: int,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        device: str = "auto",
    ) -> Draws:
        """Return ``n`` healthy volumes the model holds possible for a scan, on the scan's grid.

        Drawn from q(z|x); temperature 0 gives the reconstruction. In the scan's units.
        """
        from napari_normative.engine.draws import posterior_draws as draw

        of = as_volume(scan)
        return draw(self, of, n, seed=seed, temperature=temperature, device=device)

    def interpolate(
        self, first: ScanLike, second: ScanLike, n: int, *, device: str = "auto"
    ) -> Draws:
        """Return ``n`` volumes from one scan's reconstruction to another's, on the model's grid."""
        from napari_normative.engine.draws import interpolation

        return interpolation(self, as_volume(first), as_volume(second), n, device=device)

    def neighbours(
        self,
        scan: ScanLike,
        among: Iterable[str | Path] | None = None,
        count: int = 8,
        *,
        device: str = "auto",
    ) -> list[Neighbour]:
        """Return whose latents lie nearest to those of a scan; the person's own are marked.

        Parameters
        ----------
        scan : scan
            As for :meth:`detect`.
        among : iterable of paths, optional
            Files to search among, bad ones left out; the people of the model unless given.
        count : int
            How many; the person's own scans come on top.
        device : str

        Raises
        ------
        NormativeError
            As for :meth:`detect`; ``MOD-007`` without one latent vector for a scan, ``MOD-050``
            when the model holds nobody's latents.

        Examples
        --------
        >>> near = model.neighbours(scan, count=3, device="cpu")
        >>> [who.name for who in near][0]
        'person of the ... cohort'
        """
        from napari_normative.engine.embed import place_of, require_places
        from napari_normative.engine.encode import encode_scans
        from napari_normative.engine.neighbours import neighbours_among, neighbours_in_model

        require_places(self)
        given = as_volume(scan)
        latent = place_of(self, given, device=device).latent
        if among is None:
            return neighbours_in_model(self, latent, count)
        rows = list(encode_scans(self, map(Path, among), device=device))
        return neighbours_among(self, latent, rows, count, digest=given.source.digest)

    def augment(
        self,
        n: int,
        out: str | Path,
        *,
        around: ScanLike | None = None,
        between: tuple[ScanLike, ScanLike] | None = None,
        like: str | None = None,
        cohort: str | Path | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        compare_with: str | Path | None = None,
        device: str = "auto",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> SyntheticSet:
        """Write ``n`` synthetic volumes as a BIDS derivatives dataset.

        Each volume has a sidecar that names model, seed and kind. A run that was interrupted goes
        on where it stopped, and a larger ``n`` adds to the set; the same request gives the same
        bytes.

        Parameters
        ----------
        n : int
        out : path
            Folder of the set: missing, empty, or with volumes of the same request.
        around : scan, optional
            Draw what the model holds possible for it, on its grid and in its units.
        between : pair of scans, optional
            Go from one to the other in equal steps, the ends left out.
        like, cohort : str and path, optional
            ``COLUMN=VALUE`` and the table with that column: draw from the Gaussian of the latents
            of these people, eight or more.
        seed : int
        temperature : float
            1 draws as the latents are spread; less stays nearer to their mean.
        compare_with : path, optional
            Folder or table of real scans: ``quality.html``, ``.tsv`` and ``.json`` say how much the
            volumes are like them, and whether they copy anybody.
        device : str
        progress, cancel : callable, optional

        Raises
        ------
        NormativeError
            ``GEN-001`` to ``GEN-008``; scans as for :meth:`detect`.

        Examples
        --------
        >>> made = model.augment(2, "synthetic", seed=1, device="cpu")
        >>> [file.name for file in made.files]
        ['sub-synth0001_desc-synthetic_T1w.nii.gz', 'sub-synth0002_desc-synthetic_T1w.nii.gz']
        """
        from napari_normative.engine.synthetic import augment

        return augment(
            self, n, out, around=around, between=between, like=like, cohort=cohort, seed=seed,
            temperature=temperature, compare_with=compare_with, device=device,
            progress=progress, cancel=cancel,
        )  # fmt: skip

    def directions(
        self, order: Order = "kl", *, basis: Basis = "latent", device: str = "auto"
    ) -> tuple[Direction, ...]:
        """Return the latent directions, the most used first; by KL or decoded variance.

        With ``basis="principal"`` principal axes of what the cohort's latents decode to.
        """
        from napari_normative.engine.explore import directions

        return directions(self, order, basis=basis, device=device)

    def effect(self, direction: Direction, *, device: str = "auto") -> MadeVolume:
        """Return decode(+2 SD) - decode(-2 SD) along a direction, about the cohort's mean."""
        from napari_normative.engine.explore import effect

        return effect(self, direction, device=device)
