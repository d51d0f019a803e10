"""The viewer without a window.

A ViewerModel holds the same layers, with the same geometry, and needs neither Qt nor a
display: for servers and tests.

Makes: layers.txt
"""

import argparse
from pathlib import Path

from napari.components import ViewerModel

import napari_normative as nn


def main(out: Path) -> None:
    with nn.open_session(viewer=ViewerModel()) as session:
        session.detect(nn.make_sample("brain-with-lesion"), model="brain-t1")
        session.threshold(4.5)  # more candidates than at the model's own threshold
        session.go_to(1)
        lines = [f"position (R, A, S): {session.position_mm} mm"]
        for role, layer in session.layers.items():
            lines.append(f"{role}: {layer.name}, {layer.data.shape}, {layer.scale} mm")
        lines.append(f"{len(session.candidates)} candidates beyond |z| 4.5")
    out.mkdir(parents=True, exist_ok=True)
    (out / "layers.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
