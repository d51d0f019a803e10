"""What leaves a review: other programs read it, and it names nobody."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK

from napari_normative.engine.cases import load_case, read_cases
from napari_normative.errors import NormativeError, ReviewError
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from napari_normative.review.export import FORMATS, export_review
from napari_normative.review.imports import import_labels
from napari_normative.review.records import NewEvent
from placed import rotation
from reviewed import PLACES, add_ball, decide_all, material, read_material, write_detection


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    plan = Plan(order="evidence", repeats=0, labels=("infarct", "other"))
    (path,) = create_reviews(root / "study", ["Anna Secret"], material(root, 3), plan)
    decide_all(
        path, lambda c, again: "" if c == "case-003-c3" else "reject" if "c2" in c else "accept"
    )
    with Book.open(path) as book:
        number = book.reading.first_passes()["case-001"].number
        book.record(NewEvent("label", number, "case-001-c1", {"label": "infarct"})).result()
        words = {"comment": "Mrs Doe, see letter"}
        book.record(NewEvent("comment", number, "case-001-c1", words)).result()
    add_ball(path, "case-001", (0.0, 60.0, -20.0))
    return root


@pytest.fixture
def review(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study" / "Anna-Secret.review"


def test_labels_lie_where_the_candidates_lay_and_the_table_says_what_they_are(review, tmp_path):
    made = export_review(review, tmp_path / "out", "labels")
    assert (made.cases, made.unfinished, made.refused) == (2, 1, ())  # case-003 is not done
    image = nib.load(tmp_path / "out/case-001_findings.nii.gz")
    labels = np.asarray(image.dataobj)
    assert set(np.unique(labels)) == {0, 1, 3, 4}
    table = pd.read_csv(tmp_path / "out/case-001_findings.tsv", sep="\t").set_index("index")
    assert table.loc[1, "label"] == "infarct" and table.loc[1, "decision"] == "accept"
    for value, place in ((1, PLACES[0]), (3, PLACES[2]), (4, (0.0, 60.0, -20.0))):
        centre = nib.affines.apply_affine(image.affine, np.argwhere(labels == value).mean(0))
        np.testing.assert_allclose(centre, place, atol=2)
        np.testing.assert_allclose(table.loc[value, ["x_mm", "y_mm", "z_mm"]], centre, atol=1e-3)


ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR", "ASL", "SRP", "IPL", "RSA")


@pytest.mark.parametrize("codes", [*ORIENTATIONS, "oblique"])
def test_every_orientation_comes_out_where_it_was_in_other_programs(codes, tmp_path):
    grid = {"codes": codes}
    if codes == "oblique":
        tilt = rotation(0, 20) @ rotation(2, 12)
        grid = {"codes": "LAS", "tilt": tilt, "spacing_mm": (3.0, 4.0, 5.0)}
    write_detection(tmp_path, "a", **grid)
    (path,) = create_reviews(tmp_path / "s", ["anna"], read_material(tmp_path), Plan(repeats=0))
    decide_all(path, lambda c, again: "accept")
    source = nib.load(tmp_path / "scans/a.nii.gz")
    export_review(path, tmp_path / "labels", "labels")
    export_review(path, tmp_path / "slicer", "slicer")
    image = nib.load(tmp_path / "labels/case-001_findings.nii.gz")
    np.testing.assert_allclose(image.affine, source.affine, atol=1e-5)
    wanted = np.asarray(nib.load(tmp_path / "detections/a/candidates.nii.gz").dataobj)
    np.testing.assert_array_equal(np.asarray(image.dataobj), wanted)
    corner = np.array(source.shape) - 1
    for name in ("labels/case-001_findings.nii.gz", "slicer/case-001.seg.nrrd"):
        other = SimpleITK.ReadImage(str(tmp_path / name))
        values = SimpleITK.GetArrayFromImage(other).transpose(2, 1, 0)
        np.testing.assert_array_equal(values, wanted)
        for index in (corner, corner * (1, 0, 0), (0, 0, 0)):
            lps = other.TransformIndexToPhysicalPoint([int(n) for n in index])
            ras = nib.affines.apply_affine(source.affine, index)
            np.testing.assert_allclose(np.array(lps) * (-1, -1, 1), ras, atol=1e-3)
    points = json.loads((tmp_path / "slicer/case-001.mrk.json").read_text())["markups"][0]
    assert points["coordinateSystem"] == "LPS"
    for point, place in zip(points["controlPoints"], PLACES, strict=False):
        np.testing.assert_allclose(np.array(point["position"]) * (-1, -1, 1), place, atol=3)


def test_tables_hold_reads_and_log_with_a_word_for_every_column(review, tmp_path):
    export_review(review, tmp_path / "out", "tables")
    for name in ("reads", "events"):
        table = pd.read_csv(tmp_path / f"out/{name}.tsv", sep="\t")
        described = json.loads((tmp_path / f"out/{name}.json").read_text())
        assert list(table.columns) == list(described)
        assert len(table)
    reads = pd.read_csv(tmp_path / "out/reads.tsv", sep="\t").set_index("candidate")
    assert reads.loc["case-001-c2", "decision"] == "reject"
    assert reads.loc["case-001-c1", "seconds"] == 1.5
    assert reads.loc["case-001-c1", "model_peak_z"] == 9.5
    events = pd.read_csv(tmp_path / "out/events.tsv", sep="\t")
    with Book.open(review, read_only=True) as book:
        assert list(events["digest"]) == [e.digest for e in book.store.events()]
    assert "letter" not in (tmp_path / "out/events.tsv").read_text()
    export_review(review, tmp_path / "said", "tables", comments=True)
    assert "letter" in (tmp_path / "said/reads.tsv").read_text()


def test_cases_can_be_judged_and_masks_trained_on(review, tmp_path):
    export_review(review, tmp_path / "out" / "cases", "cases")
    cases = read_cases(tmp_path / "out/cases/cases.tsv")
    loaded = load_case(cases[0])
    with Book.open(review, read_only=True) as book:
        assert loaded.scan.source.digest == book.images["case-001"].digest
    export_review(review, tmp_path / "masks", "masks")
    mask = nib.load(tmp_path / "masks/case-001_mask.nii.gz")
    assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, loaded.truth)


def test_decisions_choose_what_leaves(review, tmp_path):
    export_review(review, tmp_path / "out", "labels", decisions=("reject",))
    labels = np.asarray(nib.load(tmp_path / "out/case-001_findings.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 2}


def test_an_export_is_whole_or_not_at_all_and_says_what_made_it(review, tmp_path):
    out = tmp_path / "out"
    export_review(review, out, "labels")
    record = json.loads((out / "export.json").read_text())
    with Book.open(review, read_only=True) as book:
        assert record["last_event"] == book.store.events()[-1].digest
        assert record["reader"] == book.project.reader_code
    assert record["models"] == ["ab" * 32] and "Research use only" in record["notice"]
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    for scan in (tmp_path / "scans").iterdir():
        scan.unlink()
    with pytest.raises(ReviewError, match="REV-052"):
        export_review(review, out, "labels")
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    with pytest.raises(ReviewError, match="REV-050"):
        export_review(review, out, "xml")


def test_one_scan_that_is_gone_is_a_line_and_the_others_are_exported(review, tmp_path):
    (tmp_path / "scans/sub-00_T1w.nii.gz").unlink()
    made = export_review(review, tmp_path / "out", "labels")
    assert made.cases == 1 and len(made.refused) == 1
    assert made.refused[0].startswith("case-001: [NIF-001]")


def test_nothing_that_names_anybody_leaves(tmp_path):
    """Fifty identifiers: in header fields, extensions, file and folder names, and the reader's."""
    secrets = [f"SECRET{n:02d}X" for n in range(50)]
    root = tmp_path / secrets[0]
    write_detection(root, secrets[1])
    path = root / "scans" / f"{secrets[1]}.nii.gz"
    image = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    image.header["descrip"] = f"{secrets[2]} {secrets[3]} {secrets[4]}"
    image.header["aux_file"] = f"{secrets[5]} {secrets[6]}"
    image.header["intent_name"] = secrets[7]
    image.header["db_name"] = secrets[8]
    for secret in secrets[10:]:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", secret.encode()))
    nib.save(image, path)
    record = root / "detections" / secrets[1] / "detection.json"
    told = json.loads(record.read_text())
    told["scan"]["sha256"] = read_volume(path).source.digest
    record.write_text(json.dumps(told))
    (review,) = create_reviews(root / "study", [secrets[9]], read_material(root), Plan(repeats=0))
    decide_all(review, lambda c, again: "accept")
    for format in sorted(set(FORMATS) - {"cases", "dicom"}):
        out = tmp_path / "out" / format
        export_review(review, out, format)
        for file in (p for p in out.rglob("*") if p.is_file()):
            data = file.read_bytes()
            if file.name.endswith(".gz"):
                data += gzip.decompress(data)
            if file.name.endswith(".nrrd"):
                _, _, packed = data.partition(b"\n\n")
                data += gzip.decompress(packed)
            text = data + str(file.relative_to(tmp_path)).encode()
            found = [secret for secret in secrets if secret.encode() in text]
            assert not found, (file.name, found)


def test_masks_edited_elsewhere_come_back_as_edits(review, tmp_path):
    export_review(review, tmp_path / "out", "labels")
    path = tmp_path / "out/case-001_findings.nii.gz"
    with Book.open(review) as book:
        assert import_labels(book, "case-001", path) == 0  # nothing was changed
        labels = read_volume(path)
        data = labels.data.copy()
        first = np.argwhere(data == 1)
        data[tuple(first[:5].T)] = 0  # smaller
        data[2:4, 2:4, 2:4] = 9  # and a new one
        write_volume(path, labels.with_data(data))
        assert import_labels(book, "case-001", path) == 2
        reads = book.reading.first_passes()["case-001"].reads
        by_origin = {read.candidate: read for read in reads}
        assert by_origin["case-001-c1"].edited and not by_origin["case-001-c3"].edited
        assert [read.decision for read in reads][-1] == "accept"
        with pytest.raises(ReviewError, match="REV-060"):
            import_labels(book, "case-099", path)
        shifted = labels.affine.copy()
        shifted[0, 3] += 0.5
        nib.save(nib.Nifti1Image(data.astype(np.uint8), shifted), tmp_path / "shifted.nii.gz")
        with pytest.raises(NormativeError, match="GEO-01"):
            import_labels(book, "case-001", tmp_path / "shifted.nii.gz")


def test_a_slicer_segmentation_comes_back(review, tmp_path):
    export_review(review, tmp_path / "out", "slicer")
    with Book.open(review) as book:
        assert import_labels(book, "case-001", tmp_path / "out/case-001.seg.nrrd") == 0


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "oblique"])
def test_findings_go_back_to_the_archive_where_they_lay(codes, tmp_path):
    """SEG and SR of a review, read back with pydicom; the series was written from the scan."""
    pydicom = pytest.importorskip("pydicom")
    from dicoms import world, world_of_segment, write_slices

    grid = {"codes": codes, "spacing_mm": (8.0, 8.0, 8.0)}
    if codes == "oblique":
        grid |= {"codes": "LAS", "tilt": rotation(0, 20) @ rotation(2, 12)}
    write_detection(tmp_path, "a", **grid)
    scan = read_volume(tmp_path / "scans" / "a.nii.gz")
    write_slices(tmp_path / "series" / "case-001", scan.canonical())
    (path,) = create_reviews(tmp_path / "s", ["anna"], read_material(tmp_path), Plan(repeats=0))
    decide_all(path, lambda c, again: "accept")
    made = export_review(path, tmp_path / "out", "dicom", dicom=tmp_path / "series")
    assert made.refused == ()
    labels = read_volume(tmp_path / "detections/a/candidates.nii.gz")
    for value in (1, 2, 3):
        found = world_of_segment(tmp_path / "out/case-001_seg.dcm", value)
        wanted = world(labels.data == value, labels.affine)
        np.testing.assert_allclose(found, wanted, atol=1e-3)
    with Book.open(path) as book:  # and it comes back as it went
        assert import_labels(book, "case-001", tmp_path / "out/case-001_seg.dcm") == 0
    report = pydicom.dcmread(tmp_path / "out/case-001_sr.dcm")
    assert (
        report.Modality == "SR" and b"anna" not in (tmp_path / "out/case-001_sr.dcm").read_bytes()
    )
