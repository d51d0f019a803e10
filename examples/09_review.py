"""A review, driven by a script.

Makes a blind review of a detection and decides every candidate by its size; each decision is
on the disk when the method returns. A person would do the same in the dock "Review".

Makes: study/ada.review, decisions.tsv
"""

import argparse
from pathlib import Path

from napari.components import ViewerModel

import napari_normative as nn


def main(out: Path) -> None:
    scan = nn.write_volume(out / "scans" / "stroke.nii.gz", nn.make_sample("brain-with-lesion"))
    nn.load_model("brain-t1").detect(scan).save(out / "detections" / "stroke")

    with nn.open_session(viewer=ViewerModel()) as session:
        review = session.new_review(
            out / "detections", out / "study", "ada", scans=out / "scans", labels=["infarct"]
        )
        for row in review.undecided():
            if row.volume_ml >= 1:
                review.accept(label="infarct")
            else:
                review.reject("too small to tell")
        print(review.progress)
        review.submit()

    with nn.open_review(out / "study" / "ada.review", read_only=True) as book:
        lines = [f"{read.candidate}\t{read.decision}\t{read.label}" for read in book.reads("all")]
    (out / "decisions.tsv").write_text("\n".join(["candidate\tdecision\tlabel", *lines]) + "\n")
    print(*lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("output"))
    main(parser.parse_args().out)
