"""The window of ``napari-normative demo``: a sample scan with everything found in it.

Run as ``python -m napari_normative.plugin.demo``; the command line starts it as a program
of its own, on the person's display or on a virtual one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import NormativeError
from napari_normative.plugin.scripting.opening import open_session

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.plugin.scripting.session import ScriptedSession
    from napari_normative.volume import Volume

SAMPLES_SHOWN = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="napari-normative demo")
    parser.add_argument("--sample", default="brain-with-lesion")
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="save screenshots and results, then close")
    options = parser.parse_args(arguments)
    try:
        return _run(options.sample, options.model, options.seed, options.out)
    except NormativeError as error:
        print(error, file=sys.stderr)
        return 1


def _run(key: str, model: str, seed: int, out: Path | None) -> int:
    from napari_normative.io.samples import make_sample, sample_truth

    _say(f"making the sample scan {key}")
    scan = make_sample(key, seed=seed)
    with open_session(title="napari-normative demo") as session:
        session.open(scan)
        session.dock("Anomaly map")
        _say(f"comparing it with the model {model}")
        detection = session.detect(model=model, samples=SAMPLES_SHOWN, seed=seed)
        if out is not None:
            _save(detection, sample_truth(key, seed=seed), out)
        for path in present(session, out):
            print(f"{path}  ({path.stat().st_size / 1024:.0f} KiB)")
    return 0


def present(session: ScriptedSession, out: Path | None) -> list[Path]:
    """Leave the window to a person, or save its pictures; return what lies in ``out`` then."""
    if session.candidates:
        session.go_to(1)
    if out is None:
        _say("close the window to end; research use only, not for diagnosis")
        session.hand_over()
        return []
    session.screenshots(out)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _save(detection: Detection, truth: Volume | None, out: Path) -> None:
    from napari_normative.io.folders import whole_folder
    from napari_normative.io.nifti import write_volume

    name = detection.scan.source.name
    with whole_folder(out / name, "detection.json") as folder:
        detection.save(folder)
    write_volume(out / f"{name}.nii.gz", detection.scan)
    if truth is not None:
        write_volume(out / f"{truth.source.name}.nii.gz", truth)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
