"""A trained normative model: load it, ask it, save it."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.applicability import HealthyRange
from napari_normative.core.calibration import Calibration
from napari_normative.core.card import ModelCard
from napari_normative.core.condition import Value
from napari_normative.core.latent import Basis, Direction
from napari_normative.engine import stored
from napari_normative.engine.conditions import covariates_in
from napari_normative.engine.detection import Detection
from napari_normative.engine.encoding import Encoding
from napari_normative.engine.made import MadeVolume, record_of
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.errors import ModelFileError
from napari_normative.io.checkpoint import Tensors, load_model_file, save_model_file
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.core.baselines import Network
    from napari_normative.engine.batch import Outcome
    from napari_normative.engine.candidate_report import CandidateReport
    from napari_normative.engine.denoise import Denoised
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.explore import Order
    from napari_normative.engine.export import Format
    from napari_normative.engine.head import Head
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.engine.neighbours import Neighbour
    from napari_normative.engine.segmentation import Segmentation
    from napari_normative.engine.stored_reconstruction import StoredReconstruction
    from napari_normative.engine.synthetic import SyntheticSet
    from napari_normative.io.transforms import Trust

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]

DEFAULT_MODEL = "brain-t1"
NETWORK_PREFIX = "network."


class NormativeModel:
    """Weights, card and calibration of a trained normative model.

    Weights are built when first needed, so that listing and inspecting models is instant;
    a model may be used from several threads.

    Attributes
    ----------
    card : ModelCard
    digest : str
        SHA-256 of tensors and card; names the model in every output.
    template : Template
    calibration : Calibration
    posterior : AggregatedPosterior
    healthy_range : HealthyRange
    people : People or None
        Latents of the healthy people; None where the file was written without them.
    covariates : Covariates
        What it can be told of a person; nothing, for most models.
    known : mapping
        What it was told; see :meth:`given`.

    Examples
    --------
    >>> import napari_normative as nn
    >>> model = nn.load_model("brain-t1")
    >>> scan = nn.make_sample("brain-with-lesion")
    >>> detection = model.detect(scan, device="cpu")
    >>> strongest = detection.candidates[0]
    >>> detection.place_of(strongest)
    '...left...'
    """

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
    def load(cls, path: str | Path) -> NormativeModel:
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

    def given(
        self, values: Mapping[str, object] | None = None, /, **more: object
    ) -> NormativeModel:
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

    def detect(
        self,
        scan: ScanLike,
        *,
        mask: ScanLike | None = None,
        volume: int | None = None,
        device: str = "auto",
        samples: int = 0,
        seed: int = 0,
        force: bool = False,
        local_volume: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Detection:
        """Compare a scan with the model.

        Parameters
        ----------
        scan : path, Volume, nibabel image, napari layer, or (array, affine)
            One 3D volume; the affine leads from voxels to RAS+ world mm.
        mask : like ``scan``, optional
            Foreground on the same grid; anything but 0 counts.
        volume : int, optional
            Which volume of a 4D file, from 0.
        device : str
            ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        samples : int
            Synthetic volumes to draw onto the scan's grid.
        seed : int
            Of the samples.
        force : bool
            Score a scan that is refused for another contrast than the model's (``PRE-004``).
        local_volume : bool
            Map as well where there is more or less room than expected.
        progress : callable, optional
            Called with the name of a step and the fraction done.
        cancel : callable, optional
            Asked between steps; true ends the work with CancelledError.

        Raises
        ------
        NormativeError
            With a sentence that says what is wrong and what to do.
        """
        from napari_normative.engine.infer import detect

        return detect(
            self,
            as_volume(scan, volume=volume),
            None if mask is None else as_volume(mask),
            device=device,
            samples=samples,
            seed=seed,
            force=force,
            local_volume=local_volume,
            progress=progress,
            cancel=cancel,
        )

    def detect_many(
        self, scans: Iterable[ScanLike], out: str | Path | None = None, **options: Any
    ) -> Iterator[Outcome[ScanLike]]:
        """Compare scans one after another; a bad one stops none of the others.

        Parameters
        ----------
        scans : iterable of scans
            Each as for :meth:`detect`. A generator is asked for the next when it is needed.
        out : path, optional
            Folder; each scan's results go to a folder of its own name in it, whole or not at all.
        **options
            As for :meth:`detect`, and ``report=True`` to write ``report.html`` too.

        Yields
        ------
        Outcome
            ``detection``, or ``error`` where there is none. Nothing is kept of the scans before,
            so that memory does not grow with their number.

        Raises
        ------
        CancelledError

        Examples
        --------
        >>> for made in model.detect_many([scan, "missing.nii.gz"], device="cpu"):
        ...     print(made.name, "failed" if made.detection is None else "done")
        sample-brain-with-lesion done
        missing failed
        """
        from napari_normative.engine.batch import detect_scans, named

        return detect_scans(self, named(scans), None if out is None else Path(out), **options)

    def segment(
        self,
        scan: ScanLike | Detection,
        *,
        rate: float | None = None,
        fdr: float | None = None,
        head: Head | None = None,
        mask: ScanLike | None = None,
        volume: int | None = None,
        device: str = "auto",
        force: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Segmentation:
        """Grow the candidates of a scan to their edges; keep those that are unlikely to be false.

        A random walker on the z map and the residual of the scan, on its own grid. All
        candidates have p, the number of false ones to be expected and q, whether kept or not.

        Parameters
        ----------
        scan : scan or Detection
            As for :meth:`detect`, or what that returned.
        rate : float, optional
            Keep candidates that are so strong that healthy scans have at most this many, on
            average; all of the model's candidates unless given.
        fdr : float, optional
            Keep candidates with q up to this (Benjamini-Hochberg within the scan).
        head : Head, optional
            Keep what it holds for likelier accepted than rejected.
        mask, volume, device, force, progress, cancel
            As for :meth:`detect`.

        Raises
        ------
        SegmentationError
            ``SEG-001`` when the model knows too few people for the rate or the fdr.
        NormativeError
            As for :meth:`detect`.

        Examples
        --------
        >>> made = model.segment(detection, fdr=0.2)
        >>> made.kept[0].way, made.kept[0].q <= 0.2
        ('grown', True)
        """
        from napari_normative.engine.segmentation import require_rule, segment

        require_rule(self.calibration, rate, fdr)  # before minutes are spent
        if not isinstance(scan, Detection):
            scan = self.detect(
                scan, mask=mask, volume=volume, device=device, force=force, progress=progress,
                cancel=cancel,
            )  # fmt: skip
        return segment(self, scan, rate=rate, fdr=fdr, head=head, device=device)

    def reconstruct(self, scan: ScanLike, *, device: str = "auto") -> MadeVolume:
        """Return the pseudo-healthy reconstruction on the scan's grid, in its units.

        In memory; for scans too large for that there is :meth:`reconstruct_to`.

        Raises
        ------
        NormativeError
            As for :meth:`detect`.

        Examples
        --------
        >>> expected = model.reconstruct(scan, device="cpu")
        >>> expected.shape == scan.shape
        True
        """
        found = self.detect(scan, device=device)
        given = found.scan
        return MadeVolume.of(
            found.reconstruction,
            f"{given.source.name} · reconstruction",
            "reconstruction",
            {"kind": "reconstruction", **found.provenance, "warnings": list(found.warnings)},
            like=given,
        )

    def reconstruct_to(
        self,
        scan: ScanLike,
        folder: str | Path,
        *,
        volume: int | None = None,
        trust: Trust | None = None,
        any_size: bool = False,
        device: str = "auto",
        force: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> StoredReconstruction:
        """Write the pseudo-healthy reconstruction and the residual of a scan of any size.

        The scan is read from disk and the results are written to disk piece by piece: with a
        model in the patch form memory does not grow with the scan. No z map is made.

        Parameters
        ----------
        scan : as for :meth:`detect`
            A path, so that it is never in memory as a whole.
        folder : path
            Gets ``reconstruction.nii``, ``residual.nii`` and ``reconstruction.json``, whole or not
            at all.
        volume, trust, any_size
            As for :func:`read_volume`, of a file.
        device : str
        force : bool
            Also for a scan of another contrast than the model's (``PRE-004``).
        progress, cancel : callable, optional
            As for :meth:`detect`.

        Raises
        ------
        NormativeError
            As for :meth:`detect`; ``OUT-010`` and ``OUT-011`` for the folder.

        Examples
        --------
        >>> stored = model.reconstruct_to("scan.nii.gz", "large", device="cpu")
        >>> stored.residual.shape == stored.reconstruction.shape
        True
        """
        from napari_normative.engine.large import reconstruct_to

        return reconstruct_to(
            self,
            scan,
            Path(folder),
            volume=volume,
            trust=trust,
            any_size=any_size,
            device=device,
            force=force,
            progress=progress,
            cancel=cancel,
        )

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

    def inpaint(
        self,
        scan: ScanLike,
        missing: ScanLike | None = None,
        *,
        slices: Sequence[str] = (),
        device: str = "auto",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Inpainted:
        """Fill missing or damaged parts of a scan with what the model holds most probable.

        The latents are fitted to the observed voxels alone; what they decode to is joined to the
        scan without a seam. Observed voxels stay bit for bit. What is made is synthetic, and may
        hide disease.

        Parameters
        ----------
        scan : scan
            As for :meth:`detect`.
        missing : scan, optional
            Mask on the scan's grid; anything but 0 is missing.
        slices : sequence of str
            Such as ``k:40-44``: axis as stored, counted from 0. Without these and a mask, voxels
            of a file that are no numbers, and slices without signal between others, are filled.
        device : str
        progress, cancel : callable, optional

        Raises
        ------
        NormativeError
            ``GEN-010`` to ``GEN-012``; otherwise as for :meth:`detect`.

        Examples
        --------
        >>> made = model.inpaint(scan, slices=["k:40-42"], device="cpu")
        >>> made.record["missing"]
        ['slices k:40-42']
        """
        from napari_normative.engine.inpaint import inpaint
        from napari_normative.io.nifti import read_with_gaps

        gaps = None
        if isinstance(scan, str | Path):
            given, gaps = read_with_gaps(scan)
        else:
            given = as_volume(scan)
        mask = None if missing is None else as_volume(missing)
        return inpaint(
            self, given, gaps=gaps, mask=mask, slices=slices, device=device,
            progress=progress, cancel=cancel,
        )  # fmt: skip

    def denoise(
        self,
        scan: ScanLike,
        *,
        noise: float | None = None,
        device: str = "auto",
        force: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Denoised:
        """Take noise out of a scan: simple filters, mixed with the model's reconstruction.

        The mixture is the one of least estimated error (Stein's unbiased estimate), so that the
        model has no more say than the scan itself shows that it deserves. For white noise; where
        a scan was interpolated, less is taken out than there is.

        Parameters
        ----------
        scan : scan
            As for :meth:`detect`.
        noise : float, optional
            Its standard deviation in the scan's units; measured unless given.
        device : str
        force : bool
            Also for a scan of another contrast than the model's (``PRE-004``).
        progress, cancel : callable, optional

        Raises
        ------
        NormativeError
            ``GEN-013`` and ``GEN-014``; otherwise as for :meth:`detect`.

        Examples
        --------
        >>> made = model.denoise(scan, device="cpu")
        >>> made.record["expected_rmse"]["with_model"] < made.record["noise_sd"]
        True
        """
        from napari_normative.engine.denoise import denoise

        return denoise(
            self, as_volume(scan), noise=noise, device=device, force=force,
            progress=progress, cancel=cancel,
        )  # fmt: skip

    def explain(
        self, detection: Detection, candidate: int = 1, *, directions: int = 5, device: str = "auto"
    ) -> CandidateReport:
        """Say why a place is a candidate: what was expected, which voxels and latents made it so.

        Parameters
        ----------
        detection : Detection
            By this model, from this session.
        candidate : int
            Its rank; 1 is the strongest.
        directions : int
            Latent directions to name.
        device : str

        Raises
        ------
        ExplanationError
            ``WHY-001`` when there is no such candidate.

        Examples
        --------
        >>> why = model.explain(detection, 1, device="cpu")
        >>> shares = why.attribution.shares
        >>> bool(abs(why.attribution.error) < 0.01 * abs(shares.total))
        True
        """
        from napari_normative.engine.candidate_report import report_candidate

        return report_candidate(self, detection, candidate, directions=directions, device=device)

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

    def prepare(self, scan: ScanLike, *, volume: int | None = None) -> Volume:
        """Return a scan as the network sees it: on the model's grid, in model units.

        What an exported network takes (:meth:`export`); 0 outside the foreground.
        """
        from napari_normative.engine.export import prepared_scan

        return prepared_scan(self, as_volume(scan, volume=volume))[0]

    def export(self, folder: str | Path, format: Format) -> dict[str, Any]:
        """Write the network as ONNX, torch.export or MONAI bundle; return its record.

        See :func:`napari_normative.engine.export.export`.
        """
        from napari_normative.engine.export import export

        return export(self, folder, format)

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


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be loaded by name.

    Attributes
    ----------
    name : str
    path : Path
    packaged : bool
        Whether it came with the package.
    """

    name: str
    path: Path
    packaged: bool

    @property
    def card(self) -> ModelCard:
        """The model's card, read from the file (and checked)."""
        return load_model_file(self.path)[0]


def available_models() -> list[ModelEntry]:
    """Return the models that came with the package."""
    folder = resources.files("napari_normative") / "models"
    with resources.as_file(folder) as path:
        return [ModelEntry(p.stem, p, True) for p in sorted(path.glob("*.safetensors"))]


def load_model(name_or_path: str | Path = DEFAULT_MODEL) -> NormativeModel:
    """Load a packaged model by name, or a model file by path.

    Raises
    ------
    ModelFileError
        ``MOD-004`` when there is neither.
    """
    packaged = {entry.name: entry.path for entry in available_models()}
    if str(name_or_path) in packaged:
        return NormativeModel.load(packaged[str(name_or_path)])
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        names = ", ".join(packaged) or "none"
        raise ModelFileError(
            "MOD-004",
            "there is no such packaged model or file",
            f"Packaged models: {names}. Otherwise pass the path of a .safetensors file.",
            subject=path.name,
        )
    return NormativeModel.load(path)
