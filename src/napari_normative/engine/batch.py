"""Detection over many scans: each a whole folder of results, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import CancelledError
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import read_volume
from napari_normative.io.transforms import Trust

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.model import NormativeModel

RECORD = "detection.json"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a scan: a detection in a folder, or the reason why there is none."""

    scan: Path
    folder: Path
    detection: Detection | None
    error: Exception | None = None


def detect_scans(
    model: NormativeModel,
    jobs: Iterable[tuple[Path, str]],
    out: Path,
    *,
    volume: int | None = None,
    trust: Trust | None = None,
    any_size: bool = False,
    report: bool = False,
    begin: Callable[[Path], None] = lambda scan: None,
    **options: Any,
) -> Iterator[Outcome]:
    """Compare scans with a model one after another; a bad one stops none of the others.

    Parameters
    ----------
    model : NormativeModel
    jobs : iterable of (path, name)
        Scans and the names of their folders in ``out``.
    out : Path
    volume, trust, any_size
        As for :func:`read_volume`.
    report : bool
        Write ``report.html`` too.
    begin : callable of (path)
        Told before each scan.
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
        folder = out / name
        try:
            with whole_folder(folder, RECORD) as fresh:
                given = read_volume(scan, volume=volume, trust=trust, any_size=any_size)
                found = model.detect(given, **options)
                found.save(fresh)
                if report:
                    from napari_normative.engine.case_report import save_case_report

                    save_case_report(found, fresh / "report.html", card=model.card)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
            yield Outcome(scan, folder, None, error)
        else:
            yield Outcome(scan, folder, found)
