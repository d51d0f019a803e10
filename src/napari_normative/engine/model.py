"""A trained normative model: load it, ask it, save it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import ModelCard
from napari_normative.engine.detection import Detection
from napari_normative.engine.latent_model import LatentModel
from napari_normative.engine.made import MadeVolume
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.engine.stored_model import Cancel, Progress
from napari_normative.errors import ModelFileError
from napari_normative.io.checkpoint import load_model_file
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.batch import Outcome
    from napari_normative.engine.candidate_report import CandidateReport
    from napari_normative.engine.denoise import Denoised
    from napari_normative.engine.export import Format
    from napari_normative.engine.head import Head
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.engine.segmentation import Segmentation
    from napari_normative.engine.stored_reconstruction import StoredReconstruction
    from napari_normative.io.transforms import Trust

DEFAULT_MODEL = "brain-t1"


class NormativeModel(LatentModel):
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
