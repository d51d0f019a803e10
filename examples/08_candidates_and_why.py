"""The table of candidates, and why each is there.

For every candidate: where it is, how large, and in one sentence what the model expected
there and what the most similar healthy people look like.

Makes: why.txt
"""

import argparse
from pathlib import Path

from napari.components import ViewerModel

import napari_normative as nn


def main(out: Path) -> None:
    lines = []
    with nn.open_session(viewer=ViewerModel()) as session:
        detection = session.detect(nn.make_sample("brain-with-lesion"), model="brain-t1")
        print(session.layers["candidates"].features.round(2).to_string(index=False))
        for candidate in session.candidates:
            why = session.why(candidate)
            lines += [f"{candidate.rank}. {detection.place_of(candidate)}: {why.sentence}"]
            lines += [f"   {line}" for line in (*why.directions, *why.neighbours)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "why.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
