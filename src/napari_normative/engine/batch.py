"""Detection over many scans: each a whole folder of results, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_normative.engine.scans import ScanLike, as_volume, name_of
from napari_normative.errors import CancelledError
from napari_normative.io.folders import another_name, whole_folder
from napari_normative.io.nifti import read_volume
from napari_normative.io.transforms import Trust

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.model import NormativeModel

RECORD = "detection.json"
S = TypeVar("S", bound=ScanLike)


@dataclass(frozen=True, eq=False)
class Outcome(Generic[S]):
    """What became of a scan: a detection, or the reason why there is none.

    Attributes
    ----------
    scan : path, Volume or what else was given
    name : str
        Of the scan among the others, and of its folder.
    folder : Path or None
        Where its results are; None when they were not to be written.
    detection : Detection or None
    error : Exception or None
    """

    scan: S
    name: str
    folder: Path | None
    detection: Detection | None
    error: Exception | None = None


def named(scans: Iterable[S]) -> Iterator[tuple[S, str]]:
    """Yield each scan with a name that none before it has."""
    taken: set[str] = set()
    for scan in scans:
        yield scan, another_name(name_of(scan), taken)


def detect_scans(
    model: NormativeModel,
    jobs: Iterable[tuple[S, str]],
    out: Path | None,
    *,
    volume: int | None = None,
    trust: Trust | None = None,
    any_size: bool = False,
    report: bool = False,
    begin: Callable[[S], None] = lambda scan: None,
    known: Callable[[S], Mapping[str, object]] | None = None,
    **options: Any,
) -> Iterator[Outcome[S]]:
    """Compare scans with a model one after another; a bad one stops none of the others.

    Parameters
    ----------
    model : NormativeModel
    jobs : iterable of (scan, name)
        Scans and the names of their folders in ``out``.
    out : Path or None
        None writes nothing.
    volume, trust, any_size
        As for :func:`read_volume`; the last two concern files.
    report : bool
        Write ``report.html`` too.
    begin : callable of (scan)
        Told before each scan.
    known : callable of (scan), optional
        Returns what the model is told of the scan's person; see :meth:`NormativeModel.given`.
    **options
        As for :meth:`NormativeModel.detect`.

    Yields
    ------
    Outcome
        One for each scan. Its folder holds everything or what it held before.

    Raises
    ------
    CancelledError
        If cancelled; what was done before stays.
    """
    for scan, name in jobs:
        begin(scan)
        folder = None if out is None else out / name
        try:
            if isinstance(scan, str | Path):
                given = read_volume(scan, volume=volume, trust=trust, any_size=any_size)
            else:
                given = as_volume(scan, volume=volume)
            told = model if known is None else model.given({**model.known, **known(scan)})
            found = told.detect(given, **options)
            if folder is not None:
                _save(model, found, folder, report)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
            yield Outcome(scan, name, folder, None, error)
        else:
            yield Outcome(scan, name, folder, found)


def _save(model: NormativeModel, found: Detection, folder: Path, report: bool) -> None:
    with whole_folder(folder, RECORD) as fresh:
        found.save(fresh)
        if report:
            from napari_normative.engine.case_report import save_case_report

            save_case_report(found, fresh / "report.html", card=model.card)
