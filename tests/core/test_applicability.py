"""What is said of scans that a model was not made for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from napari_normative.core.applicability import (
    Applicability,
    Check,
    HealthyRange,
    check_likeness,
    check_prepared,
    reconstruction_error,
    tissue_contrast,
)
from napari_normative.core.grid import resample
from napari_normative.core.preprocess import PreprocessConfig, Template, prepare
from napari_normative.core.register import Alignment
from napari_normative.errors import PreprocessError
from napari_normative.volume import FloatArray, Volume
from phantoms import phantom

CONFIG = PreprocessConfig(shape=(40, 48, 40), spacing_mm=4.0, origin_mm=(-78.0, -94.0, -78.0))
KNOWN = Alignment(np.eye(4), 0.9)
HEALTHY = HealthyRange(np.array([0.4, 0.5, 0.6]), np.array([0.05, 0.06, 0.08]))


@pytest.fixture(scope="module")
def template() -> Template:
    scan, grid = phantom(1), CONFIG.grid
    image = resample(scan.data, scan.affine, grid.shape, grid.affine)
    return Template(image / np.median(image[image > 0]), image > 0)


def checked(scan: Volume, template: Template, alignment: Alignment = KNOWN) -> Applicability:
    prepared = prepare(scan, CONFIG, template, alignment=alignment)
    return Applicability(check_prepared(scan, prepared, CONFIG, template))


def named(found: Applicability, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


def inverted(scan: Volume) -> Volume:
    """White matter darkest, ventricles brightest: the order of a T2-weighted scan."""
    data = np.where(scan.data > 0, 1.05 * scan.data.max() - scan.data, 0)
    return scan.with_data(data)


@pytest.mark.parametrize("seed", range(2, 8))
def test_a_healthy_person_of_the_models_kind_raises_nothing(seed: int, template: Template) -> None:
    found = checked(phantom(seed), template)
    assert found.verdict == "ok"
    assert found.warnings == ()
    assert [c.name for c in found.checks] == ["spacing", "field of view", "alignment", "contrast"]


def test_a_large_lesion_is_no_reason_to_refuse(template: Template) -> None:
    assert checked(phantom(3, lesion_ml=60), template).verdict == "ok"


def test_the_order_of_tissues_of_another_weighting_is_refused(template: Template) -> None:
    found = checked(inverted(phantom(3)), template)
    contrast = named(found, "contrast")
    assert contrast.status == found.verdict == "refuse"
    assert contrast.found < 0
    with pytest.raises(PreprocessError, match="PRE-004") as caught:
        found.require("sub-07_T2w")
    assert "reversed" in str(caught.value)
    assert "sub-07_T2w" in str(caught.value)
    assert "--force" in str(caught.value)


def shown(image: FloatArray, template: Template) -> Applicability:
    """The checks of an image that lies in the model's space already."""
    prepared = prepare(phantom(1), CONFIG, template, alignment=KNOWN)
    prepared = dataclasses.replace(prepared, image=image, mask=template.mask)
    return Applicability(check_prepared(phantom(1), prepared, CONFIG, template))


def test_an_image_with_no_tissue_contrast_is_refused(template: Template) -> None:
    noise = np.random.default_rng(0).normal(1, 0.2, template.image.shape).astype(np.float32)
    found = shown(noise, template)
    assert named(found, "contrast").found == pytest.approx(0, abs=0.1)
    assert named(found, "contrast").status == "refuse"
    assert "missing" in named(found, "contrast").what


def test_weak_contrast_warns_and_runs(template: Template) -> None:
    noise = np.random.default_rng(0).normal(0, 0.9, template.image.shape).astype(np.float32)
    found = shown(template.image + noise, template)
    assert 0.25 < named(found, "contrast").found < 0.45
    found.require("noisy")  # does not raise
    assert "weak" in " ".join(found.warnings)


def test_contrast_is_one_for_the_template_and_blind_to_gain_and_offset(template: Template) -> None:
    assert tissue_contrast(template.image, template.mask, template) == pytest.approx(1.0)
    other = 7.0 * template.image + 300.0
    assert tissue_contrast(other, template.mask, template) == pytest.approx(1.0, abs=1e-4)
    assert tissue_contrast(-template.image, template.mask, template) == pytest.approx(-1.0)


def test_a_template_without_structure_gives_no_opinion(template: Template) -> None:
    flat = Template(template.mask.astype(np.float32), template.mask)
    assert tissue_contrast(template.image, template.mask, flat) is None
    nowhere = np.zeros_like(template.mask)
    assert tissue_contrast(template.image, nowhere, template) is None


def test_models_that_do_not_align_are_not_asked_for_alignment_and_contrast(
    template: Template,
) -> None:
    config = CONFIG.model_copy(update={"alignment": "none"})
    scan = inverted(phantom(3))
    prepared = prepare(scan, config, template)
    names = [c.name for c in check_prepared(scan, prepared, config, template)]
    assert names == ["spacing", "field of view"]


def test_thick_slices_are_said_with_both_spacings(template: Template) -> None:
    scan = phantom(3)
    thick = Volume.from_array(scan.data[:, :, ::3], scan.affine @ np.diag([1, 1, 3, 1]), "thick")
    found = named(checked(thick, template), "spacing")
    assert (found.found, found.expected, found.status) == (12.0, 6.0, "warn")
    assert "12 mm" in found.what
    assert "4 mm" in found.what


def test_half_a_brain_is_said_and_a_chosen_mask_is_not(template: Template) -> None:
    scan = phantom(3)
    half = scan.data.copy()
    half[:, :, scan.shape[2] // 2 :] = 0
    found = named(checked(scan.with_data(half), template), "field of view")
    assert found.status == "warn"
    assert 0.35 < found.found < 0.6
    mask = scan.with_data((half > 0).astype(np.float32))
    prepared = prepare(scan, CONFIG, template, mask=mask, alignment=KNOWN)
    checks = Applicability(check_prepared(scan, prepared, CONFIG, template))
    assert named(checks, "field of view").status == "ok"


def test_poor_alignment_is_said(template: Template) -> None:
    found = named(checked(phantom(1), template, Alignment(np.eye(4), 0.55)), "alignment")
    assert found.status == "warn"
    assert "aligns poorly" in found.what
    assert "0.55" in found.what


def test_likeness_is_judged_against_unseen_people() -> None:
    usual = Applicability(check_likeness(0.55, 0.09, HEALTHY))
    assert usual.verdict == "ok"
    assert [(c.name, c.expected) for c in usual.checks] == [
        ("latent", pytest.approx(0.75)),
        ("reconstruction", pytest.approx(0.1)),
    ]
    far = Applicability(check_likeness(0.9, 0.2, HEALTHY))
    assert [c.status for c in far.checks] == ["warn", "warn"]
    # Nobody of three is as far: p = 1 / (1 + 3).
    assert all("p = 0.25" in sentence for sentence in far.warnings)


def test_a_model_file_without_healthy_people_asks_nothing() -> None:
    assert check_likeness(99.0, 99.0, HealthyRange()) == ()
    assert HealthyRange.of({}).distances.size == 0


def test_the_healthy_range_survives_the_model_file() -> None:
    again = HealthyRange.of(HEALTHY.tensors())
    np.testing.assert_allclose(again.distances, HEALTHY.distances, rtol=1e-6)
    np.testing.assert_allclose(again.errors, HEALTHY.errors, rtol=1e-6)


def test_a_lesion_has_little_say_in_the_reconstruction_error() -> None:
    random = np.random.default_rng(1)
    image = random.normal(1, 0.1, (20, 20, 20)).astype(np.float32)
    mask = np.ones(image.shape, bool)
    reconstruction = np.ones_like(image)
    plain = reconstruction_error(image, reconstruction, mask)
    assert plain == pytest.approx(0.0674, rel=0.03)  # the median of |N(0, .1)|
    image[:8, :8, :8] = 9.0
    assert reconstruction_error(image, reconstruction, mask) < 1.15 * plain


def test_the_verdict_is_the_worst_and_the_record_is_plain() -> None:
    ok, warn = Check("spacing", 1.0, 3.0), Check("contrast", 0.4, 0.5, "warn", "it", "Do.")
    assert Applicability((ok,)).verdict == "ok"
    assert Applicability((ok, warn)).verdict == "warn"
    assert Applicability((ok, warn)).warnings == ("It. Do.",)
    refused = dataclasses.replace(warn, status="refuse")
    found = Applicability((refused, ok, warn))
    assert found.verdict == "refuse"
    assert found.record()["checks"][1] == {
        "name": "spacing", "found": 1.0, "expected": 3.0, "status": "ok", "what": "", "remedy": "",
    }  # fmt: skip
