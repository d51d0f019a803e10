"""An evaluation: its figures are those of a detection, a bad case is one line, nothing is lost."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from napari_normative.core import metrics, preprocess
from napari_normative.core.lesions import LESION_KINDS
from napari_normative.engine import evaluate as module
from napari_normative.engine.cases import read_cases
from napari_normative.engine.evaluate import evaluate
from napari_normative.engine.evaluation import Evaluation
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.verdict import headline, verdicts
from napari_normative.errors import CancelledError, EvaluationError, OutputError
from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume
from phantoms import phantom

RESULTS = ["cases.tsv", "evaluation.html", "evaluation.json", "summary.tsv"]
SECRET = "sub-Mueller1953"


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of two sites; the ill of site north have a dark ball on the left."""
    folder = tmp_path_factory.mktemp("people")
    rows = ["path\ttruth\tsubject\tsite\tkind"]
    for n in range(4):
        site, well = ("north", "south")[n % 2], phantom(30 + n)
        write_volume(folder / f"{SECRET}{n}.nii.gz", well)
        rows.append(f"{SECRET}{n}.nii.gz\t\t{SECRET}{n}\t{site}\t")
    for n in range(2):
        ill = phantom(40 + n, lesion_ml=14)
        lesion = ill.data != phantom(40 + n).data
        write_volume(folder / f"{SECRET}-ill{n}.nii.gz", ill)
        truth = ill.with_data(lesion & (ill.data > 0), is_label=True)
        write_volume(folder / f"{SECRET}-truth{n}.nii.gz", truth)
        rows.append(f"{SECRET}-ill{n}.nii.gz\t{SECRET}-truth{n}.nii.gz\t{SECRET}i{n}\tnorth\tball")
    (folder / "cases.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def made(
    folder: Path, model: NormativeModel, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    """All cases, simulated lesions of one seed, a model beside itself."""
    out = tmp_path_factory.mktemp("out")
    return evaluate(folder / "cases.tsv", [model, model], out, seeds=1, device="cpu")


@pytest.fixture(scope="module")
def saved(made: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved")
    assert sorted(p.name for p in made.save(out)) == RESULTS
    return out


def rows(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_the_figures_are_those_of_a_detection(
    made: Evaluation, folder: Path, model: NormativeModel
) -> None:
    found = model.detect(folder / f"{SECRET}-ill0.nii.gz", device="cpu")
    lesion = found.scan.data != phantom(40).data
    lesion &= found.scan.data > 0
    z, foreground = found.anomaly_z.data, found.scan.data > 0
    (row,) = rows(made.cases, case="case-005", model="tiny").to_dict("records")
    assert row["lesion_ml"] == pytest.approx(lesion.sum() * found.scan.voxel_ml)
    assert row["scan_score"] == pytest.approx(found.scan_score, abs=1e-4)
    assert row["candidates"] == len(found.candidates) >= 1
    region, truth = z[foreground], lesion[foreground]
    assert row["prevalence"] == pytest.approx(truth.mean())
    exact = metrics.average_precision(np.abs(region), truth)
    assert row["ap"] == pytest.approx(exact, abs=3e-3)
    assert row["ap"] > 10 * row["prevalence"]
    dice = metrics.dice(np.abs(region) > found.threshold_z, truth)
    assert row["dice"] == pytest.approx(dice, abs=5e-3)
    assert row["best_dice"] >= row["dice"]


def test_a_dark_lesion_is_found_by_the_darker_side_of_the_map(made: Evaluation) -> None:
    for row in rows(made.cases, kind="ball").to_dict("records"):
        assert row["ap_darker"] >= row["ap"] > 5 * row["ap_brighter"]
    bright = rows(made.summary, kind="hyperintense", site="all", size="all", model="tiny")
    bright = bright[bright["against"] == ""].set_index("figure")["value"]
    assert bright["ap_brighter"] > 3 * bright["ap_darker"]
    assert bright["pooled_ap_brighter"] > 3 * bright["pooled_ap_darker"]


def test_pictures_show_the_patients_left_on_the_right(made: Evaluation) -> None:
    (index,) = rows(made.cases, case="case-005", model="tiny").index
    scan, reconstruction, _ = made.measured[index].picture.astype(int)
    outline = made.measured[index].outline
    columns = np.flatnonzero(outline.any(axis=0))
    assert columns.min() > outline.shape[1] / 2
    assert scan[outline].mean() < scan[outline[:, ::-1]].mean() - 30, "the ball is dark"
    assert scan[outline].mean() < reconstruction[outline].mean() - 30


def test_every_healthy_person_gets_a_lesion_of_every_kind_and_the_ill_none(
    made: Evaluation,
) -> None:
    simulated = rows(made.cases, group="simulated", model="tiny")
    assert set(simulated["case"]) == {f"case-00{n}" for n in (1, 2, 3, 4)}
    assert len(simulated) == 4 * len(LESION_KINDS)
    assert set(simulated["kind"]) == set(LESION_KINDS)
    assert (simulated["lesion_ml"] > 0).all()
    assert rows(made.cases, group="healthy")["ap"].isna().all()


def test_a_model_is_no_better_than_itself(made: Evaluation) -> None:
    assert made.models == ["tiny", "tiny-2"]
    differences = made.summary[made.summary["against"] == "tiny-2"]
    assert {"ap", "dice", "mae", "fpr_at_1pct"} <= set(differences["figure"])
    assert (differences["value"] == 0).all()
    spread = differences.dropna(subset=["low"])
    assert ((spread["low"] == 0) & (spread["high"] == 0)).all()
    compared = [text for text in verdicts(made) if text.startswith("Against")]
    assert len(compared) == 2
    assert all("no difference shown" in text and "better on" not in text for text in compared)


def test_scan_scores_are_compared_within_a_site_only(made: Evaluation) -> None:
    auroc = rows(made.summary, figure="auroc")
    assert set(rows(auroc, group="real")["site"]) == {"north"}
    assert set(rows(auroc, group="simulated")["site"]) == {"north", "south"}
    assert (auroc["site"] != "all").all()
    healthy = rows(made.cases, group="healthy", site="north", model="tiny")["scan_score"]
    ill = rows(made.cases, group="real", model="tiny")["scan_score"]
    (value,) = rows(auroc, group="real", model="tiny")["value"]
    assert value == metrics.auroc(healthy.to_numpy(), ill.to_numpy())


def test_a_site_without_healthy_people_is_named(folder: Path, model: NormativeModel) -> None:
    ill = [case for case in read_cases(folder / "cases.tsv") if case.truth is not None]
    made = evaluate(ill, [model], simulate=False, device="cpu")
    text = " ".join(verdicts(made))
    assert "Site north has patients and no healthy people: no scan AUROC" in text
    assert "judged alone" in text
    assert "no healthy person" in text
    assert not len(rows(made.summary, figure="auroc"))
    assert headline(made)["cases"] == 2


def test_a_lesion_that_is_simulated_does_not_cost_another_alignment(
    folder: Path, model: NormativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = preprocess.align

    def counted(*args: object) -> object:
        calls.append(args)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocess, "align", counted)
    case = read_cases(folder / "cases.tsv")[0]
    evaluate([case], [model, model], seeds=1, device="cpu")
    assert len(calls) == 1


def test_the_same_people_in_another_order_get_the_same_lesions(
    made: Evaluation, folder: Path, model: NormativeModel
) -> None:
    third = read_cases(folder / "cases.tsv")[2]
    again = evaluate([third], [model], seeds=1, device="cpu").cases
    before = rows(made.cases, case="case-003", model="tiny")
    np.testing.assert_array_equal(before["lesion_ml"], again["lesion_ml"])
    np.testing.assert_allclose(before["scan_score"], again["scan_score"], atol=1e-3)


def test_real_shapes_are_laid_into_the_scan(
    folder: Path, model: NormativeModel, tmp_path: Path
) -> None:
    grid = model.card.preprocess.grid
    shape = np.zeros(grid.shape, np.float32)
    where = np.linalg.inv(grid.affine) @ [30, 10, 10, 1]  # the right half of the template's world
    i, j, k = np.rint(where[:3]).astype(int)
    shape[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1
    write_volume(tmp_path / "shapes" / "a.nii.gz", Volume.from_array(shape, grid.affine))
    # The person lies elsewhere in the scanner: shapes follow the head, not the scanner.
    head = phantom(30)
    elsewhere = head.affine.copy()
    elsewhere[:3, 3] += (45, -30, 20)
    write_volume(tmp_path / "moved.nii.gz", Volume.from_array(head.data, elsewhere))
    (tmp_path / "t.tsv").write_text("path\nmoved.nii.gz\n")
    (case,) = read_cases(tmp_path / "t.tsv")
    made = evaluate([case], [model], seeds=1, device="cpu", shapes=tmp_path / "shapes")
    (index,) = rows(made.cases, kind="hypointense").index
    assert made.cases["lesion_ml"][index] == pytest.approx(27 * 0.512, rel=0.4)
    columns = np.flatnonzero(made.measured[index].outline.any(axis=0))
    # Seen from below: what lies at the patient's right is in the left half of the picture.
    assert columns.max() < made.measured[index].outline.shape[1] / 2
    assert made.record["parameters"]["shapes"] == 1
    with pytest.raises(EvaluationError, match="EVA-003"):
        (tmp_path / "empty").mkdir()
        evaluate([case], [model], shapes=tmp_path / "empty")


def test_a_bad_case_is_one_line_and_the_others_are_judged(
    folder: Path, model: NormativeModel, tmp_path: Path
) -> None:
    lines = (folder / "cases.tsv").read_text().splitlines()
    write_volume(folder / "coarse.nii.gz", phantom(1, spacing_mm=8.0))
    bad = [f"gone.nii.gz\t\t{SECRET}\tnorth\t", f"{SECRET}0.nii.gz\tcoarse.nii.gz\t\tnorth\t"]
    table = folder / "bad.tsv"
    table.write_text("\n".join([lines[0], bad[0], lines[1], bad[1]]) + "\n")
    made = evaluate(table, [model], tmp_path, simulate=False, device="cpu")
    assert set(made.cases["case"]) == {"case-002"}
    assert len(made.refused) == 2
    assert made.refused[0].startswith("[NIF-001] gone.nii.gz")
    assert "GEO-001" in made.refused[1]
    record = json.loads((tmp_path / "evaluation.json").read_text())
    codes = [(r["case"], r["code"]) for r in record["cases"]["refused"]]
    assert codes == [("case-001", "NIF-001"), ("case-003", "GEO-001")]
    assert "case-003" in (tmp_path / "evaluation.html").read_text()


def test_when_no_case_can_be_used_it_is_said_why(model: NormativeModel, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("path\ngone.nii\n")
    with pytest.raises(EvaluationError, match=r"\[EVA-002\].*NIF-001.*gone.nii"):
        evaluate(tmp_path / "t.tsv", [model], tmp_path / "out")


def test_an_unforeseen_error_is_a_line_where_the_caller_explains_it(
    folder: Path, model: NormativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = module.load_case, []

    def broken_once(case: object) -> object:
        calls.append(case)
        if len(calls) == 1:
            raise ZeroDivisionError("inner")
        return real(case)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_case", broken_once)
    made = evaluate(
        folder / "cases.tsv", [model], simulate=False, device="cpu",
        explain=lambda error, name: f"{name}: {error}",
    )  # fmt: skip
    assert made.refused == (f"{SECRET}0.nii.gz: inner",)
    calls.clear()
    with pytest.raises(ZeroDivisionError):
        evaluate(folder / "cases.tsv", [model], simulate=False, device="cpu")


def test_what_was_measured_before_an_interruption_is_kept(
    folder: Path, model: NormativeModel, tmp_path: Path
) -> None:
    seen: list[str] = []

    def stop_at_third() -> bool:
        return any(text.startswith("case-003") for text in seen)

    def run(cancel: bool) -> Evaluation:
        return evaluate(
            folder / "cases.tsv", [model], tmp_path, simulate=False, device="cpu",
            progress=lambda text, fraction: seen.append(text),
            cancel=stop_at_third if cancel else None,
        )  # fmt: skip

    seen.append("case-000")
    with pytest.raises(CancelledError):
        # Cancel is asked before a step is announced: the third is begun, the fourth is not.
        run(cancel=True)
    kept = pd.read_csv(tmp_path / "cases.tsv", sep="\t")
    assert set(kept["case"]) == {"case-001", "case-002", "case-003"}
    assert json.loads((tmp_path / "evaluation.json").read_text())["finished"] is False
    assert not list(tmp_path.glob(".*"))
    seen.clear()
    run(cancel=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == RESULTS
    assert json.loads((tmp_path / "evaluation.json").read_text())["finished"] is True


def test_files_that_are_not_results_are_never_replaced(
    folder: Path, model: NormativeModel, tmp_path: Path
) -> None:
    before = (folder / "cases.tsv").read_bytes()
    with pytest.raises(OutputError, match=r"OUT-014.*cases.tsv"):
        evaluate(folder / "cases.tsv", [model], folder)
    assert (folder / "cases.tsv").read_bytes() == before
    # Not even beside results of ours.
    (tmp_path / "evaluation.json").write_text('{"format": "napari-normative-evaluation/1"}')
    (tmp_path / "cases.tsv").write_text("path\ngone.nii\n")
    with pytest.raises(OutputError, match="OUT-014"):
        evaluate(tmp_path / "cases.tsv", [model], tmp_path)
    (tmp_path / "evaluation.json").write_text("[1]")
    with pytest.raises(OutputError, match="OUT-014"):
        evaluate(folder / "cases.tsv", [model], tmp_path)


def test_no_name_of_a_file_or_person_is_in_the_results(saved: Path) -> None:
    for path in saved.iterdir():
        assert SECRET.casefold() not in path.read_text().casefold(), path.name
        assert "Mueller" not in path.read_text()
        assert str(saved.parent) not in path.read_text()


def test_tables_and_record_say_the_same(saved: Path, made: Evaluation) -> None:
    record = json.loads((saved / "evaluation.json").read_text())
    summary = pd.read_csv(saved / "summary.tsv", sep="\t", na_values="n/a", keep_default_na=False)
    assert len(summary) == len(record["summary"]) == len(made.summary)
    np.testing.assert_allclose(
        summary["value"].astype(float),
        [np.nan if r["value"] is None else r["value"] for r in record["summary"]],
        rtol=1e-4,
    )
    assert record["models"][0]["sha256"] == made.record["models"][0]["sha256"]
    assert "not for diagnosis" in record["notice"]
    assert record["models"][0]["samples"]["people"] == 4
    assert record["models"][0]["samples"]["mmd2"] > record["models"][0]["samples"]["mmd2_real"]


class Page(HTMLParser):
    """Follows what is open, and collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for k, v in attrs if k in {"src", "href", "xlink:href"}]
        if tag not in {"meta", "img", "br", "path", "circle"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "circle"}:
            assert self.open.pop() == tag


def test_the_report_is_whole_and_needs_no_network(saved: Path) -> None:
    text = (saved / "evaluation.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert text.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0
    assert "<script" not in text
    assert "Research use only, not for diagnosis." in text
    for words in ("Simulated lesions", "oracle", "FROC", "Real lesions", "Healthy people"):
        assert words in text
    drawings = text.split("<svg ")[1:]
    assert len(drawings) >= 2 + 2 * 7
    for drawing in drawings:
        ElementTree.fromstring("<svg " + drawing.split("</svg>")[0] + "</svg>")


@pytest.mark.shared
def test_a_real_patient_is_judged_by_the_packaged_model(shared_data: Path, tmp_path: Path) -> None:
    end = "N4_noneck_reduced_winsor_regtoFLAIR"
    case = shared_data / "open-ms-mni" / "patient19"
    row = f"{case}/T1_{end}_brain_N4_regtoMNI.nii.gz\t{case}/GOLD_STANDARD_{end}_regtoMNI.nii.gz"
    (tmp_path / "t.tsv").write_text(f"path\ttruth\tkind\n{row}\tms\n")
    made = evaluate(tmp_path / "t.tsv", ["brain-t1"], tmp_path / "out", device="cpu")
    (row_,) = made.cases.to_dict("records")
    assert row_["lesion_ml"] == pytest.approx(49.8, abs=0.1)
    assert row_["prevalence"] < 0.06
    assert row_["ap_darker"] > 3 * row_["prevalence"]
