"""Save a session and open it again.

The file names the scan, the model, what was run and how everything looked, and holds no
voxel. Opened again, the same inputs give the same outputs, and the session says so.

Makes: morning.session.json
"""

import argparse
from pathlib import Path

from napari.components import ViewerModel

import napari_normative as nn


def main(out: Path) -> None:
    scan = nn.write_volume(out / "scans" / "stroke.nii.gz", nn.make_sample("brain-with-lesion"))
    with nn.open_session(viewer=ViewerModel()) as session:
        session.detect(scan, model="brain-t1", device="cpu")
        session.layout("planes")
        session.window(level=350, width=500)
        session.go_to(1)
        saved = session.save(out / "morning.session.json")
    print(f"{saved.name}: {saved.stat().st_size / 1024:.0f} KiB")

    with nn.open_session(saved, viewer=ViewerModel()) as session:
        print(session.reopened)
        assert session.reopened.equal
        print(f"{session.layout()} at {session.position_mm} mm")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
