"""The command line from the outside: what is printed where, what is left, which status."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import napari_normative
from napari_normative.cli import app
from napari_normative.io.nifti import read_volume, write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    return write_volume(folder / "patient.nii.gz", phantom(7, lesion_ml=20.0))


@pytest.fixture
def damaged(tmp_path: Path, scan: Path) -> Path:
    content = bytearray(scan.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "damaged.nii.gz"
    path.write_bytes(content)
    return path


def test_version_and_help_say_what_it_is_not_for() -> None:
    for option in ("--version", "--help"):
        result = run(option)
        assert result.exit_code == 0
        assert "not for diagnosis" in " ".join(result.stdout.split())
    assert napari_normative.__version__ in run("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("detect",),
        ("detect", "a.nii.gz"),
        ("detect", "a.nii.gz", "--out", "o", "--samples", "-1"),
        ("detect", "a.nii.gz", "b.nii.gz", "--out", "o", "--mask", "m.nii.gz"),
        ("detect", "a.nii.gz", "--out", "o", "--trust", "neither"),
        ("train", "cohort"),
        ("sample", "--out", "o", "-n", "0"),
        ("unknown",),
    ],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr
    assert not Path("o").exists()


def test_detect_leaves_a_folder_on_the_grid_of_the_scan(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    out = tmp_path / "results"
    result = run("detect", scan, "--out", out, "--model", tiny_model_path, "--samples", 1)
    assert result.exit_code == 0, result.stderr
    folder = out / "patient"
    source = read_volume(scan)
    for name in ("reconstruction", "residual", "anomaly_z", "candidates", "sample_01"):
        assert read_volume(folder / f"{name}.nii.gz").same_grid(source), name
    record = json.loads((folder / "detection.json").read_text())
    assert record["model"]["sha256"] in run("inspect", tiny_model_path).stdout
    assert record["scan"]["sha256"] == source.source.digest
    assert f"{scan.name} -> {folder}" in result.stdout
    assert "1 of 1 done" in result.stdout
    assert "Research use only" in result.stdout
    assert result.stderr == "", "without a terminal there is no bar"


def test_the_strongest_candidate_is_said_to_lie_left(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    result = run("detect", scan, "--out", tmp_path / "o", "--model", tiny_model_path)
    first = next(line for line in result.stdout.splitlines() if line.startswith("  1."))
    assert "darker" in first
    assert ", left " in first


def test_a_report_lies_beside_the_record_and_does_not_name_the_file(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    arguments = ("detect", scan, "--out", tmp_path / "o", "--model", tiny_model_path)
    result = run(*arguments, "--report")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "o" / "patient"
    record = json.loads((folder / "detection.json").read_text())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert record["scan"]["sha256"] in page
    assert record["model"]["sha256"] in page
    assert "patient.nii" not in page
    assert str(tmp_path) not in page
    again = run(*arguments)
    assert again.exit_code == 0, "results with a report can be replaced by some without"
    assert not (folder / "report.html").exists()


def test_one_bad_scan_is_one_line_and_the_others_are_done(
    tmp_path: Path, scan: Path, damaged: Path, tiny_model_path: Path
) -> None:
    out = tmp_path / "o"
    missing = tmp_path / "missing.nii.gz"
    result = run("detect", damaged, missing, scan, "--out", out, "--model", tiny_model_path)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[NIF-")
    assert "damaged.nii.gz" in lines[0]
    assert "missing.nii.gz" in lines[1]
    assert str(tmp_path) not in result.stderr, "private folders are not in messages"
    assert "1 of 3 done" in result.stdout
    assert [p.name for p in out.iterdir()] == ["patient"]


def test_a_failed_rerun_keeps_the_results_of_before(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    mine = tmp_path / "patient.nii.gz"
    mine.write_bytes(scan.read_bytes())
    out = tmp_path / "o"
    arguments = ("detect", mine, "--out", out, "--model", tiny_model_path)
    assert run(*arguments).exit_code == 0
    before = {p.name: p.read_bytes() for p in (out / "patient").iterdir()}
    mine.write_bytes(scan.read_bytes()[:-50])
    assert run(*arguments).exit_code == 1
    assert {p.name: p.read_bytes() for p in (out / "patient").iterdir()} == before
    assert [p.name for p in out.iterdir()] == ["patient"]


def test_equal_names_get_folders_of_their_own_and_it_is_said(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    other = tmp_path / "patient.nii"
    nib.save(nib.load(scan), other)
    out = tmp_path / "o"
    result = run("detect", scan, other, "--out", out, "--model", tiny_model_path, "--quiet")
    assert result.exit_code == 0
    assert sorted(p.name for p in out.iterdir()) == ["patient", "patient-2"]
    assert "patient.nii: another scan has this name; results go to patient-2" in result.stderr
    assert result.stdout == ""


def test_json_is_one_object_per_scan(
    tmp_path: Path, scan: Path, damaged: Path, tiny_model_path: Path
) -> None:
    result = run(
        "detect", damaged, scan, "--out", tmp_path / "o", "--model", tiny_model_path, "--json"
    )
    bad, good = (json.loads(line) for line in result.stdout.splitlines())
    assert bad["scan"] == "damaged.nii.gz"
    assert bad["error"].startswith("[NIF-")
    assert good["candidates"] >= 1
    assert (Path(good["folder"]) / "detection.json").exists()


def test_a_series_needs_the_choice_of_a_volume(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    image = nib.load(scan)
    data = np.asarray(image.dataobj)
    path = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([data * 0, data], axis=-1), image.affine), path)
    arguments = ("detect", path, "--out", tmp_path / "o", "--model", tiny_model_path)
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "--volume" in refused.stderr
    assert run(*arguments, "--volume", 1).exit_code == 0
    assert '"volumes": 2' in run("inspect", path, "--json").stdout


def test_a_missing_model_is_one_line(tmp_path: Path, scan: Path) -> None:
    result = run("detect", scan, "--out", tmp_path / "o", "--model", "nothing.safetensors")
    assert result.exit_code == 1
    assert result.stderr.startswith("[MOD-004] nothing.safetensors")
    assert len(result.stderr.splitlines()) == 1


def test_samples_are_labelled_synthetic_and_repeat_with_the_seed(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    for folder in ("a", "b"):
        result = run(
            "sample", "--out", tmp_path / folder, "-n", 2, "--model", tiny_model_path, "--seed", 5
        )
        assert result.exit_code == 0, result.stderr
        assert "synthetic" in result.stdout
    record = json.loads((tmp_path / "a" / "samples.json").read_text())
    assert record["synthetic"] is True
    assert record["seed"] == 5
    for number in (1, 2):
        name = f"sample_{number:02d}.nii.gz"
        assert np.array_equal(
            read_volume(tmp_path / "a" / name).data, read_volume(tmp_path / "b" / name).data
        )
    first, second = (read_volume(tmp_path / "a" / f"sample_0{n}.nii.gz").data for n in (1, 2))
    assert not np.array_equal(first, second)


def test_inspect_shows_geometry_and_cards_and_names_what_it_cannot_read(
    scan: Path, damaged: Path, tiny_model_path: Path
) -> None:
    result = run("inspect", scan, damaged, tiny_model_path, "--json")
    assert result.exit_code == 1
    assert "damaged.nii.gz" in result.stderr
    geometry, bad, card = (json.loads(line) for line in result.stdout.splitlines())
    assert bad["error"].startswith("[NIF-")
    assert geometry["shape"] == [42, 50, 42]
    assert geometry["orientation"] == "RAS"
    assert geometry["spacing_mm"] == [4.0, 4.0, 4.0]
    assert card["title"] == "Phantom"
    text = run("inspect", scan).stdout
    assert "42 x 50 x 42" in text
    assert "RAS" in text


def test_a_defect_is_one_line_and_the_traceback_only_with_debug(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError("inner detail")

    monkeypatch.setattr("napari_normative.engine.model.load_model", broken)
    arguments = ("detect", scan, "--out", tmp_path / "o")
    result = run(*arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "please report" in result.stderr
    assert "ZeroDivisionError: inner detail" in result.stderr
    assert "Traceback" in run("--debug", *arguments).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "objective.beat=1"), "TRN-007"),
        (("--set", "objective.beta=lots"), "TRN-007"),
        (("--balance", "handedness"), "COH-007"),
    ],
)
def test_train_refuses_a_slip_before_any_work(
    tmp_path: Path, phantom_cohort: Path, words: tuple[str, ...], says: str
) -> None:
    out = tmp_path / "model.safetensors"
    result = run("train", phantom_cohort, "--out", out, "--preset", "brain-8mm", *words)
    assert result.exit_code == 1
    assert says in result.stderr
    assert not list(tmp_path.iterdir())


def test_train_refuses_a_wrong_ending_before_anything_else(tmp_path: Path) -> None:
    result = run("train", tmp_path, "--out", tmp_path / "model.pt")
    assert result.exit_code == 1
    assert result.stderr.startswith("[TRN-002] model.pt")


def test_train_writes_a_model_that_inspect_reads(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path
) -> None:
    out = tmp_path / "mine.safetensors"
    result = run(
        *("train", phantom_cohort, "--out", out, "--preset", "brain-8mm", "--max-minutes", 0.05),
        *("--template", phantom_template, "--seed", 3, "--title", "Mine", "--device", "cpu"),
        *("--set", "objective.ssim=0.1", "--set", "widths=8,16,16", "--balance", "subject"),
    )
    assert result.exit_code == 0, result.stderr
    assert "Mine" in result.stdout
    assert "latents: " in result.stdout
    assert "Too few people (2) to tell" in result.stdout
    assert "distance from N(0, I)" in result.stdout
    assert "ELBO" in result.stderr
    assert "nats" in result.stderr
    card = json.loads(run("inspect", out, "--json").stdout)
    assert card["verdict"] in result.stdout
    assert len(card["comparison"]) == 8
    text = run("inspect", out).stdout
    assert text.count("lesions AP ") == 6
    assert card["verdict"] in text
    assert card["training"]["seed"] == 3
    assert card["objective"]["ssim"] == 0.1
    assert card["network"]["widths"] == [8, 16, 16]
    wanted = "--set objective.ssim=0.1 --set widths=8,16,16 --set balance_by=subject"
    assert wanted in card["training"]["command"]
    assert card["sha256"] in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_is_status_130_with_nothing_half_left(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    scans = []
    for number in range(40):
        copy = tmp_path / "in" / f"p{number:02d}.nii.gz"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(scan.read_bytes())
        scans.append(str(copy))
    out = tmp_path / "o"
    program = [sys.executable, "-c", "from napari_normative.cli import main; main()"]
    program += ["detect", *scans, "--out", str(out), "--model", str(tiny_model_path)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # the first scan is done
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip() == "Interrupted. Results that were finished before are kept."
    left = list(out.iterdir())
    assert 1 <= len(left) < 40
    assert all((folder / "detection.json").exists() for folder in left)
    assert not any(folder.name.startswith(".") for folder in left)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_in_training_says_how_to_go_on(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path
) -> None:
    out = tmp_path / "mine.safetensors"
    program = [sys.executable, "-c", "from napari_normative.cli import main; main()", "train"]
    program += [str(phantom_cohort), "--out", str(out), "--preset", "brain-8mm"]
    program += ["--template", str(phantom_template), "--device", "cpu", "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True)
    assert process.stderr is not None
    while json.loads(process.stderr.readline())["stage"] != "train":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("Interrupted. Add --resume")
    assert json.loads(stdout)["error"] == stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    assert not out.exists()


def test_asking_for_help_loads_neither_torch_nor_qt() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from napari_normative.cli import app;"
        "CliRunner().invoke(app, ['detect', '--help']);"
        "print(sorted({'torch', 'napari', 'qtpy', 'SimpleITK', 'monai'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
