"""Train a small model and read its card.

Trains for a moment on made brains, so that it can be seen how it goes; a model that is worth
using needs a hundred real ones. The card says honestly how far it is from that.

Makes: small.safetensors, card.txt
"""

import argparse
from pathlib import Path

import napari_normative as nn


def main(out: Path) -> None:
    cohort = out / "healthy"
    for seed in range(12):
        brain = nn.make_sample("healthy-brain", seed=seed, spacing_mm=2)
        nn.write_volume(cohort / f"sub-{seed:02d}_T1w.nii.gz", brain)

    model = nn.fit(
        cohort, out / "small.safetensors", preset="brain-8mm", changes={"steps": 60},
        title="Made brains, for show", license_text="CC0", credit="nobody: the brains are made",
        progress=lambda state: print(state.stage) if state.fraction == 0 else None,
    )  # fmt: skip

    card = model.card
    lines = [card.one_line(), card.verdict(), f"{card.calibration.people} people calibrated it"]
    (out / "card.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
