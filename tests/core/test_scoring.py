"""From residual to candidates and p values."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.calibration import (
    TAIL,
    Calibration,
    VoxelStatistics,
    conformal_p,
    z_tail,
)
from napari_normative.core.candidates import (
    components,
    describe,
    false_curve,
    threshold_for_rate,
)
from napari_normative.core.latent import AggregatedPosterior
from napari_normative.core.residual import (
    fit_contrast,
    guided_average,
    local_ssim,
    residual,
    smooth_inside,
    tolerant_residual,
)
from napari_normative.core.score import (
    ScoreConfig,
    anomaly_z,
    erode,
    evidence_maps,
    judge,
    scan_score,
)
from napari_normative.errors import GeometryMismatchError
from napari_normative.volume import Volume

SHAPE = (24, 24, 24)
INSIDE = np.ones(SHAPE, bool)


def brain_like(seed: int = 0) -> np.ndarray:
    from scipy import ndimage

    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    smooth = ndimage.gaussian_filter(noise, 2)
    return (0.7 + 0.2 * smooth / smooth.std()).astype(np.float32)


def plain(**more: object) -> ScoreConfig:
    """Return a score of one scale without the steps that a test is not about."""
    bare = {"scales_mm": (2.0,), "erosion_mm": 0.0, "asymmetry": 0.0, "guide_mm": ()}
    return ScoreConfig(**{**bare, **more})  # type: ignore[arg-type]


def calibration(sd: float = 0.05, scales: int = 1, **more: object) -> Calibration:
    facts = {
        "mean": np.zeros((scales, *SHAPE), np.float32),
        "sd": np.full((scales, *SHAPE), sd, np.float32),
        "z_tail": np.linspace(0.0, 5.0, len(TAIL)),
        "scan_scores": np.array([1.0, 2.0, 3.0]),
        "evidence": np.array([0.0, 1.0, 4.0]),
        "threshold_z": 4.0,
        "false_per_scan": 1.0,
        "rate_low": 0.5,
        "rate_high": 1.5,
        "n": 3,
    }
    return Calibration(**{**facts, **more})  # type: ignore[arg-type]


def test_residual_is_positive_where_the_scan_is_brighter() -> None:
    scan = Volume.from_array(np.full(SHAPE, 5.0), np.eye(4))
    model = Volume.from_array(np.full(SHAPE, 3.0), np.eye(4))
    mask = INSIDE.copy()
    mask[0] = False
    found = residual(scan, model, mask)
    assert (found.data[1:] == 2.0).all()
    assert (found.data[0] == 0.0).all()


def test_residual_of_other_grids_is_refused() -> None:
    moved = np.eye(4)
    moved[0, 3] = 0.01
    scan = Volume.from_array(np.ones(SHAPE), np.eye(4))
    with pytest.raises(GeometryMismatchError, match="GEO-001"):
        residual(scan, Volume.from_array(np.ones(SHAPE), moved))


def test_contrast_of_another_scanner_is_fitted_and_a_lesion_does_not_pull() -> None:
    model = brain_like()
    scan = 0.1 + 0.8 * model + 0.15 * model**2
    scan[8:14, 8:14, 8:14] -= 0.5
    fitted = fit_contrast(scan, model, INSIDE)
    outside = INSIDE.copy()
    outside[8:14, 8:14, 8:14] = False
    inner = outside & (model > 0.3) & (model < 1.1)
    assert np.abs(fitted - scan)[inner].max() < 0.01
    assert (fitted - scan)[9:13, 9:13, 9:13].mean() == pytest.approx(0.5, abs=0.02)


def test_an_edge_that_is_off_by_a_voxel_costs_half_and_a_lesion_keeps_its_sign() -> None:
    model = np.zeros(SHAPE, np.float32)
    model[12:] = 1.0
    scan = np.zeros(SHAPE, np.float32)
    scan[13:] = 1.0
    plain = scan - model
    tolerant = tolerant_residual(scan, model, 1.0)
    np.testing.assert_allclose(tolerant, 0.5 * plain)
    scan[4:8, 4:8, 4:8] = -1.0
    assert tolerant_residual(scan, model, 1.0)[5, 5, 5] == -1.0
    np.testing.assert_array_equal(tolerant_residual(scan, model, 0.0), scan - model)


def test_smoothing_takes_nothing_from_outside_the_mask() -> None:
    data = np.ones(SHAPE, np.float32)
    mask = INSIDE.copy()
    mask[:12] = False
    data[:12] = 99.0
    smooth = smooth_inside(data, mask, 2.0)
    np.testing.assert_allclose(smooth[mask], 1.0, atol=1e-4)
    assert not smooth[~mask].any()


@pytest.mark.parametrize(("spacing", "left"), [(2.0, 20), (1.0, 16), (4.0, 22)])
def test_erosion_is_in_millimetres(spacing: float, left: int) -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[8:32, 8:32, 8:32] = True
    assert erode(mask, 4.0, spacing)[20, 20].sum() == left


def test_erosion_leaves_the_edge_of_the_field_of_view() -> None:
    assert erode(INSIDE, 4.0, 2.0).all()


def test_z_is_the_residual_over_the_healthy_sd() -> None:
    config = plain()
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, *SHAPE)).astype(np.float32)
    noise[0, 12, 12, 12] = 1.0
    z = anomaly_z(noise, noise[0], INSIDE, calibration(sd=0.1), config, 2.0)
    assert z[12, 12, 12] == pytest.approx(10.0, rel=0.05)
    assert np.std(z) == pytest.approx(1.0, abs=0.05)


def test_a_noisier_scanner_does_not_raise_every_voxel() -> None:
    config = plain()
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, *SHAPE)).astype(np.float32)
    quiet, loud = (
        anomaly_z(k * noise, noise[0], INSIDE, calibration(sd=0.1), config, 2.0) for k in (1.0, 3.0)
    )
    np.testing.assert_allclose(loud, quiet, rtol=1e-3, atol=1e-4)


def test_voxels_without_healthy_statistics_are_not_scored() -> None:
    known = calibration()
    known.sd[:, :5] = 0.0
    z = anomaly_z(np.ones((1, *SHAPE), np.float32), brain_like(), INSIDE, known, plain(), 2.0)
    assert not z[:5].any()


def test_a_dark_lesion_is_the_lowest_of_the_map() -> None:
    model = brain_like()
    scan = model + np.random.default_rng(1).normal(0, 0.02, SHAPE).astype(np.float32)
    scan[10:15, 10:15, 10:15] -= 0.4
    config = ScoreConfig(erosion_mm=0.0)
    assert evidence_maps(scan, model, INSIDE, config, 2.0).shape == (5, *SHAPE)
    z = judge(scan, model, INSIDE, calibration(scales=5), config, 2.0)
    assert np.unravel_index(z.argmin(), SHAPE) == pytest.approx((12, 12, 12), abs=2)
    assert scan_score(z) > 5


def test_scan_score_is_the_mean_of_the_highest_hundredth() -> None:
    z = np.zeros((10, 10, 20), np.float32)
    z.ravel()[:1000] = -1.0
    z.ravel()[:10] = -7.0
    assert scan_score(z) == pytest.approx(7.0)
    assert scan_score(np.zeros(SHAPE, np.float32)) == 0.0


def statistics(people: list[np.ndarray], masks: list[np.ndarray]) -> VoxelStatistics:
    made = VoxelStatistics(people[0].shape)
    for maps, mask in zip(people, masks, strict=True):
        made.add(maps, mask)
    return made


def test_statistics_without_a_person_are_those_of_the_others() -> None:
    random = np.random.default_rng(0)
    people = [random.normal(0.3, 0.2, (2, *SHAPE)).astype(np.float32) for _ in range(6)]
    masks = [random.random(SHAPE) < 0.9 for _ in people]
    found = statistics(people, masks)
    found.add(people[2], masks[2], times=-1)
    others = statistics(people[:2] + people[3:], masks[:2] + masks[3:])
    for one, other in zip(found.mean_and_sd(), others.mean_and_sd(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_is_mirrored_alike_counts_less_than_what_is_on_one_side() -> None:
    maps = np.random.default_rng(0).normal(0.0, 0.1, (1, *SHAPE)).astype(np.float32)
    maps[0, [6, 17], 12, 12] = 1.0  # mirror images of each other
    maps[0, 6, 4, 4] = 1.0
    known = calibration(sd=0.1)
    without = anomaly_z(maps, maps[0], INSIDE, known, plain(), 2.0)
    z = anomaly_z(maps, maps[0], INSIDE, known, plain(asymmetry=0.5), 2.0)
    both, single = z[6, 12, 12] / without[6, 12, 12], z[6, 4, 4] / without[6, 4, 4]
    assert single / both == pytest.approx(1.5, rel=0.03)
    assert abs(z[17, 4, 4]) < 5  # the healthy side gets no finding of its own


def test_an_average_guided_by_the_scan_stays_inside_a_lesion() -> None:
    scan = np.ones(SHAPE, np.float32)
    scan[8:16, 8:16, 8:16] = 0.4
    noise = np.random.default_rng(0).normal(0.0, 1.0, SHAPE).astype(np.float32)
    data = np.where(scan < 1, -4.0, 0.0).astype(np.float32) + noise
    averaged = guided_average(data, scan, INSIDE, 2)
    assert averaged[8:16, 8:16, 8:16].mean() == pytest.approx(-4.0, abs=0.2)
    assert averaged[8:16, 8:16, 8:16].std() < 0.4
    assert abs(averaged[6:8, 8:16, 8:16].mean()) < 0.3  # not across the edge
    box = guided_average(data, np.ones(SHAPE, np.float32), INSIDE, 2)
    assert box[6:8, 8:16, 8:16].mean() < -0.7  # no edge in the guide: a plain average


def test_texture_is_judged_apart_from_intensity() -> None:
    model = brain_like()
    scan = 0.9 * model + 0.1
    assert local_ssim(scan, model, INSIDE, 2.0).min() > 0.95
    other = brain_like(seed=5)
    scan[8:16, 8:16, 8:16] = other[8:16, 8:16, 8:16]
    alike = local_ssim(scan, model, INSIDE, 2.0)
    assert alike[10:14, 10:14, 10:14].mean() < 0.5
    config = plain(texture_mm=4.0)
    assert config.maps == 2
    maps = evidence_maps(scan, model, INSIDE, config, 2.0)
    np.testing.assert_allclose(
        maps[1], 1 - local_ssim(scan, fit_contrast(scan, model, INSIDE), INSIDE, 2.0), atol=1e-6
    )


def test_a_reconstruction_that_is_off_is_bent_to_the_scan_only_when_asked() -> None:
    model = brain_like()
    scan = np.roll(model, 1, axis=1)
    still = evidence_maps(scan, model, INSIDE, plain(tolerance_mm=0.0), 2.0)
    bent = evidence_maps(scan, model, INSIDE, plain(tolerance_mm=0.0, deform_mm=4.0), 2.0)
    inner = (slice(4, 20),) * 3
    assert np.abs(bent[0][inner]).mean() < 0.9 * np.abs(still[0][inner]).mean()


def test_mean_and_sd_of_healthy_people_are_found_and_few_people_are_not_trusted() -> None:
    random = np.random.default_rng(0)
    people = [random.normal(0.3, 0.2, (1, *SHAPE)).astype(np.float32) for _ in range(40)]
    mean, sd = statistics(people, [INSIDE] * 40).mean_and_sd()
    assert mean.mean() == pytest.approx(0.3, abs=0.01)
    assert sd.mean() == pytest.approx(0.2, abs=0.01)
    few_mean, few = statistics(people[:4], [INSIDE] * 4).mean_and_sd()
    raw = np.std([p[0] for p in people[:4]], axis=0, ddof=1)
    assert few[0].std() < 0.4 * raw.std()  # shrunk towards the neighbourhood
    assert few_mean.shape == mean.shape


def test_a_voxel_seen_in_two_people_has_no_sd() -> None:
    people = [np.full((1, *SHAPE), float(k), np.float32) for k in range(4)]
    masks = [INSIDE.copy() for _ in range(4)]
    for mask in masks[:2]:
        mask[0] = False
    _, sd = statistics(people, masks).mean_and_sd()
    assert not sd[:, 0].any()
    assert (sd[:, 1:] > 0).all()


@pytest.mark.parametrize(("value", "p"), [(0.5, 1.0), (2.0, 0.75), (2.5, 0.5), (9.0, 0.25)])
def test_conformal_p_counts_the_scan_itself(value: float, p: float) -> None:
    assert conformal_p(np.array([1.0, 2.0, 3.0]), value) == p
    assert calibration().scan_p(value) == p


def test_conformal_p_holds_for_exchangeable_people() -> None:
    random = np.random.default_rng(0)
    below = [
        conformal_p(scores[1:], scores[0]) <= 0.1 for scores in random.standard_normal((4000, 20))
    ]
    assert np.mean(below) == pytest.approx(0.1, abs=0.015)


def test_voxel_p_gives_back_the_healthy_frequencies() -> None:
    z = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    known = calibration(z_tail=z_tail([z]))
    p = known.voxel_p(z)
    for nominal in (0.5, 0.1, 0.01):
        assert (p <= nominal).mean() == pytest.approx(nominal, rel=0.15)
    assert known.voxel_p(np.zeros(3, np.float32)).tolist() == [1.0, 1.0, 1.0]
    assert known.voxel_p(np.array([-99.0], np.float32))[0] == pytest.approx(1e-5)


def two_lesions() -> np.ndarray:
    z = np.zeros(SHAPE, np.float32)
    z[2:6, 2:6, 2:6] = -6.0  # 64 voxels
    z[14:20, 14:20, 14:20] = 5.0  # 216 voxels
    z[10, 10, 10] = 20.0  # one voxel: below the smallest size
    return z


def test_components_have_one_sign_a_least_size_and_are_ranked_by_evidence() -> None:
    labels, found = components(two_lesions(), 4.0, minimum_ml=0.1, voxel_ml=0.008)
    assert [(c.sign, c.peak_z) for c in found] == [(1, 5.0), (-1, -6.0)]
    assert [c.evidence for c in found] == pytest.approx([216 * 0.008, 64 * 2 * 0.008])
    assert (labels == 1).sum() == 216
    assert (labels == 2).sum() == 64
    assert labels[10, 10, 10] == 0


def test_candidates_are_measured_on_the_scan_in_its_world() -> None:
    labels, found = components(two_lesions(), 4.0, 0.1, 0.008)
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (40, -10, 5)
    on_scan = Volume.from_array(labels, affine)
    first, second = describe(found, on_scan, calibration(), "key")
    assert first.volume_mm3 == pytest.approx(216 * 8)
    assert first.centroid_mm == pytest.approx((40 - 2 * 16.5, -10 + 2 * 16.5, 5 + 2 * 16.5))
    assert first.box == ((14, 20), (14, 20), (14, 20))
    assert second.sign == -1
    assert first.p == 0.5  # one of three healthy scans has evidence of 1.7 or more
    assert first.id != second.id
    assert first.id == describe(found, on_scan, calibration(), "key")[0].id


def test_the_threshold_keeps_to_the_rate() -> None:
    random = np.random.default_rng(0)
    maps = [random.standard_normal(SHAPE).astype(np.float32) for _ in range(4)]
    for z, top in zip(maps, (3.0, 5.0, 6.0, 8.0), strict=True):
        z[4:8, 4:8, 4:8] = top
    assert 5.0 <= threshold_for_rate(maps, 0.5, 0.1, 0.008) < 6.0
    assert threshold_for_rate(maps, 0.0, 0.1, 0.008) == pytest.approx(8.0)


def test_the_curve_counts_candidates_at_each_threshold() -> None:
    maps = [np.zeros(SHAPE, np.float32) for _ in range(4)]
    for z, top in zip(maps, (3.0, 5.0, 6.0, 8.0), strict=True):
        z[4:8, 4:8, 4:8] = top
    thresholds, rates = false_curve(maps, 4.1, 0.1, 0.008)
    assert 4.1 in thresholds
    found = dict(zip(thresholds.round(1), rates, strict=True))
    assert found[2.5] == 1.0
    assert found[4.1] == found[4.5] == 0.75
    assert found[5.5] == 0.5
    assert found[8.0] == 0.0


def test_the_rate_at_another_threshold_is_read_off_the_curve() -> None:
    curve = np.array([[2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [0.5, 4.0, 1.0, 0.4, 0.6, 0.2]])
    known = calibration(false_curve=curve)
    assert known.false_per_scan_at(4.0) == 1.0  # what the card says of the model's own
    assert known.false_per_scan_at(3.5) == 2.5
    assert known.false_per_scan_at(2.0) == 0.5  # below, candidates have grown together
    assert known.false_per_scan_at(5.0) == 0.6  # candidates that fall apart do not lower it
    assert known.false_per_scan_at(6.5) == pytest.approx(0.4)
    assert known.false_per_scan_at(99.0) == 0.2
    assert known.false_per_scan_at(1.9) is None
    assert calibration().false_per_scan_at(4.0) is None


def test_draws_have_the_covariance_of_the_cohort() -> None:
    random = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 2.0]])
    latents = (random.standard_normal((2000, 3)) @ mixing.T + [1, 2, 3]).astype(np.float32)
    posterior = AggregatedPosterior.fit(latents, np.full((2000, 3), 0.1, np.float32))
    drawn = posterior.draw(20000, seed=1)
    wanted = mixing @ mixing.T + 0.1 * np.eye(3)
    np.testing.assert_allclose(np.cov(drawn.T), wanted, atol=0.2)
    np.testing.assert_allclose(drawn.mean(0), [1, 2, 3], atol=0.1)
    np.testing.assert_allclose(posterior.draw(5, 1, temperature=0.0), [[1, 2, 3]] * 5, atol=0.1)


def test_distance_is_one_for_the_cohort_and_large_for_a_stranger() -> None:
    latents = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    posterior = AggregatedPosterior.fit(latents, np.full((500, 8), 1e-3, np.float32))
    usual = np.mean([posterior.distance(x) for x in latents])
    assert usual == pytest.approx(1.0, abs=0.1)
    assert posterior.distance(np.full(8, 5.0, np.float32)) > 4
