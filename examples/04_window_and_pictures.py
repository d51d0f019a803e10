"""A napari window, driven by a script.

Opens a window, compares a scan, goes to the strongest candidate and takes the standard
pictures, each checked not to be blank and to show the map. Without a display run it as
xvfb-run python examples/04_window_and_pictures.py

Makes: pictures/axial.png, pictures/planes.png, pictures/side-by-side.png, pictures/window.png,
pictures/volume-3d.png
"""

import argparse
from pathlib import Path

import napari_normative as nn


def main(out: Path) -> None:
    with nn.open_session() as session:
        session.dock("Anomaly map")
        session.detect(nn.make_sample("brain-with-lesion"), model="brain-t1")
        session.go_to(1)
        for picture in session.screenshots(out / "pictures"):
            print(picture.name)
        # session.hand_over() would leave the window to you until you close it.


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
