"""Health of the latents against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from napari_normative.core.latent import (
    AggregatedPosterior,
    People,
    RunningMoments,
    between,
    directions_of,
    draws_about,
    latent_health,
    shrunk_correlation,
)


def test_distance_of_the_aggregate_from_the_prior_equals_that_of_torch() -> None:
    random = np.random.default_rng(0)
    factor = np.tril(random.normal(size=(5, 5))).astype(np.float32)
    np.fill_diagonal(factor, np.abs(np.diag(factor)) + 0.5)
    mean = random.normal(size=5).astype(np.float32)
    ours = AggregatedPosterior(mean, factor).prior_kl_nats()
    q = MultivariateNormal(torch.from_numpy(mean), scale_tril=torch.from_numpy(factor))
    wanted = kl_divergence(q, MultivariateNormal(torch.zeros(5), torch.eye(5)))
    assert ours == pytest.approx(float(wanted), rel=1e-5)


def test_distance_of_independent_entries_is_their_sum() -> None:
    mean, sd = np.full((2, 1, 1, 2), 0.5, np.float32), np.full((2, 1, 1, 2), 2.0, np.float32)
    one = 0.5 * (0.5**2 + 4 - 1) - np.log(2)
    assert AggregatedPosterior(mean, sd).prior_kl_nats() == pytest.approx(4 * one)


def test_latents_that_ignore_the_scan_carry_nothing() -> None:
    health = latent_health(np.zeros((50, 6), np.float32), np.ones((50, 6), np.float32))
    assert health.total_kl_nats == 0
    assert health.active == 0
    assert health.aggregate_kl_nats == pytest.approx(0, abs=1e-4)


def test_latents_that_tell_people_apart_and_look_like_the_prior_together() -> None:
    means = np.random.default_rng(1).normal(size=(4000, 3)).astype(np.float32)
    means[:, 2] = 0  # one direction is not used
    variances = np.full_like(means, 0.05)
    variances[:, 2] = 1
    means[:, :2] *= np.sqrt(0.95)
    health = latent_health(means, variances)
    assert health.active == 2
    assert health.total_kl_nats == pytest.approx(2 * 0.5 * -np.log(0.05), rel=0.02)
    assert health.aggregate_kl_nats < 0.02


def test_a_cohort_far_from_the_prior_shows() -> None:
    means = np.random.default_rng(1).normal(size=(4000, 2)).astype(np.float32) * 0.1 + 2
    health = latent_health(means, np.full_like(means, 0.01))
    assert health.aggregate_kl_nats > 0.8 * health.total_kl_nats


def test_people_lie_in_an_order_that_says_nothing() -> None:
    random = np.random.default_rng(0)
    training, unseen = random.normal(size=(9, 4)), random.normal(size=(5, 4))
    one = People.anonymous(training, unseen)
    other = People.anonymous(training[random.permutation(9)], unseen[::-1])
    np.testing.assert_array_equal(one.latents, other.latents)
    np.testing.assert_array_equal(one.unseen, other.unseen)
    assert one.unseen.sum() == 5
    for latent, held_out in zip(one.latents, one.unseen, strict=True):
        source = unseen if held_out else training
        assert np.abs(source - latent).max(axis=1).min() < 2e-3  # half precision


def test_people_come_back_from_the_file_or_are_none() -> None:
    people = People.anonymous(np.eye(3)[:2], np.eye(3)[2:])
    again = People.of(people.tensors(), 3)
    assert again is not None
    np.testing.assert_array_equal(again.latents, people.latents)
    np.testing.assert_array_equal(again.unseen, people.unseen)
    assert People.of({}, 3) is None
    with pytest.raises(ValueError, match="do not fit"):
        People.of(people.tensors(), 4)
    with pytest.raises(ValueError, match="do not fit"):
        People.of({"latent.people": people.latents}, 3)


def test_running_moments_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1e4, 1.0, size=(9, 3, 4)).astype(np.float32)
    moments = RunningMoments()
    for value in values:
        moments.add(value)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(moments.mean(), exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(moments.sd(), exact.std(axis=0, ddof=1), rtol=1e-6)


def test_one_array_has_no_spread() -> None:
    moments = RunningMoments()
    moments.add(np.full((2, 2), 3.0, np.float32))
    assert (moments.mean() == 3).all()
    assert (moments.sd() == 0).all()


def test_the_sd_of_a_latent_is_the_root_of_its_variance() -> None:
    factor = np.array([[3.0, 0.0], [4.0, 1.0]], np.float32)
    posterior = AggregatedPosterior(np.zeros(2, np.float32), factor)
    np.testing.assert_allclose(posterior.sd(), np.sqrt([9.0, 17.0]), rtol=1e-6)


def test_mean_kl_from_moments_is_the_mean_of_kls_where_variances_are_alike() -> None:
    random = np.random.default_rng(2)
    means = random.normal([1.0, 0.0, -0.5], [0.3, 1.0, 2.0], size=(500, 3)).astype(np.float32)
    variances = np.tile(np.array([0.5, 0.02, 0.9], np.float32), (500, 1))
    sd = np.sqrt(means.var(axis=0) + variances.mean(axis=0))
    posterior = AggregatedPosterior(means.mean(axis=0), np.diag(sd).astype(np.float32))
    wanted = 0.5 * (means**2 + variances - 1 - np.log(variances)).mean(axis=0)
    np.testing.assert_allclose(posterior.mean_kl_nats(np.log(variances[0])), wanted, rtol=1e-4)
    order = [d.index for d in directions_of(posterior, np.log(variances[0]))]
    assert order == list(np.argsort(-wanted))


def test_a_straight_line_has_its_ends_exactly_and_equal_steps() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 2, 5)).astype(np.float32)
    line = between(a, b, 4)
    np.testing.assert_array_equal(line[0], a)
    np.testing.assert_array_equal(line[-1], b)
    np.testing.assert_allclose(np.diff(line, axis=0), np.stack([(b - a) / 3] * 3), atol=1e-6)


def test_draws_about_two_levels_have_their_moments_and_one_seed() -> None:
    levels = (
        (np.array([1.0, -1.0], np.float32), np.array([4.0, 0.25], np.float32)),
        (np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)),
    )
    drawn = list(draws_about(levels, 4000, seed=0))
    first = np.stack([z for z, _ in drawn])
    np.testing.assert_allclose(first.mean(axis=0), [1.0, -1.0], atol=0.1)
    np.testing.assert_allclose(first.std(axis=0), [2.0, 0.5], rtol=0.05)
    again = list(draws_about(levels, 2, seed=0))
    np.testing.assert_array_equal(again[1][1], drawn[1][1])
    for level, (mean, _) in zip(next(draws_about(levels, 1, 0, 0.0)), levels, strict=True):
        np.testing.assert_array_equal(level, mean)


def unequal(people: int) -> tuple[np.ndarray, np.ndarray]:
    """Return latents of people and their covariance: SDs of .3 to 3, one pair correlated."""
    sd = np.geomspace(0.3, 3.0, 40)
    correlation = np.eye(40)
    correlation[2, 30] = correlation[30, 2] = -0.8
    wanted = correlation * np.outer(sd, sd)
    noise = np.random.default_rng(5).standard_normal((people, 40))
    return (noise @ np.linalg.cholesky(wanted).T).astype(np.float32), wanted


def test_few_people_keep_their_variances_and_the_correlation_that_is_no_chance() -> None:
    means, _ = unequal(100)
    posterior = AggregatedPosterior.fit(means, np.full_like(means, 0.01))
    factor = posterior.cholesky.astype(np.float64)
    found = factor @ factor.T
    np.testing.assert_allclose(np.diag(found), means.var(axis=0) + 0.01, rtol=1e-4)
    sd = np.sqrt(np.diag(found))
    correlation = found / np.outer(sd, sd)
    assert correlation[2, 30] == pytest.approx(-0.8, abs=0.15)
    correlation[2, 30] = correlation[30, 2] = 0
    off = correlation - np.eye(40)
    sample = np.corrcoef(means.T)
    sample[2, 30] = sample[30, 2] = 0
    assert np.abs(sample - np.eye(40)).max() > 0.3  # what chance makes of so few
    assert np.abs(off).max() < 0.05


def test_draws_are_as_wide_as_the_cohort_along_every_latent() -> None:
    means, wanted = unequal(100)
    posterior = AggregatedPosterior.fit(means, np.full_like(means, 0.01))
    drawn = posterior.draw(20000, seed=0)
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(means.var(axis=0) + 0.01), rtol=0.03)
    np.testing.assert_allclose(posterior.sd() / np.sqrt(np.diag(wanted)), 1, atol=0.25)


def test_many_people_keep_all_their_correlations() -> None:
    random = np.random.default_rng(1)
    mixing = np.linalg.qr(random.standard_normal((12, 12)))[0] * np.geomspace(0.2, 4, 12)
    means = (random.standard_normal((5000, 12)) @ mixing.T).astype(np.float32)
    factor = AggregatedPosterior.fit(means, np.full_like(means, 1e-4)).cholesky.astype(float)
    found, wanted = factor @ factor.T, np.cov(means.T)
    scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
    np.testing.assert_allclose(found / scale, wanted / scale, atol=0.01)


@pytest.mark.parametrize("people", [2, 4, 6, 12, 30])
def test_fewer_people_than_latents_give_a_covariance(people: int) -> None:
    means, _ = unequal(people)
    means[:, 7] = 0.5  # unused
    means[:, 12:16] = means[:, 11:12] * [1, -1, 2, 3]  # and one five times over
    posterior = AggregatedPosterior.fit(means, np.full_like(means, 1e-4))
    factor = posterior.cholesky.astype(np.float16).astype(np.float64)  # as a file holds it
    assert np.linalg.eigvalsh(factor @ factor.T)[0] > 0
    assert posterior.sd()[7] == pytest.approx(0.01, rel=0.01)
    used = np.delete(np.arange(40), 7)
    wanted = means.var(axis=0) + 1.01e-4
    np.testing.assert_allclose(posterior.sd()[used] ** 2, wanted[used], rtol=1e-4)
    assert np.isfinite([posterior.distance(x) for x in means]).all()


def test_correlations_that_contradict_each_other_are_shrunk_until_they_are_possible() -> None:
    # Neighbours correlate .75, the next but one .5: beyond what 24 people can prove.
    random = np.random.default_rng(0)
    common = random.standard_normal((24, 34))
    means = sum(common[:, k : k + 30] for k in range(5)).astype(np.float32)
    standard = (means - means.mean(axis=0)) / means.std(axis=0)
    kept = np.corrcoef(standard.T)
    kept[np.abs(kept) < np.tanh(4.1 / np.sqrt(21))] = 0
    assert np.linalg.eigvalsh(kept)[0] < 0
    assert np.linalg.eigvalsh(shrunk_correlation(standard))[0] > 0


def test_spatial_latents_keep_an_sd_for_every_cell() -> None:
    random = np.random.default_rng(3)
    means = random.normal(2.0, 0.5, size=(9, 2, 3, 3, 2)).astype(np.float32)
    variances = random.uniform(0.1, 0.2, size=means.shape).astype(np.float32)
    posterior = AggregatedPosterior.fit(means, variances)
    np.testing.assert_allclose(posterior.mean, means.mean(axis=0), rtol=1e-6)
    wanted = np.sqrt(means.var(axis=0) + variances.mean(axis=0))
    np.testing.assert_allclose(posterior.cholesky, wanted, rtol=1e-6)


def test_two_draws_lie_about_1_4_apart_and_distances_follow_the_spread():
    posterior = AggregatedPosterior(
        np.float32([3, -1]), np.float32([[2, 0], [0, 0.5]])
    )  # SD 2 and .5
    one, others = np.float32([3, -1]), np.float32([[5, -1], [3, -0.5], [3, -1]])
    np.testing.assert_allclose(posterior.apart(one, others), [0.5**0.5, 0.5**0.5, 0], atol=1e-6)
    draws = posterior.draw(4000, seed=3)
    mean = np.sqrt((posterior.apart(posterior.mean, draws) ** 2).mean())
    assert mean == pytest.approx(1, abs=0.05)
    pairs = [
        posterior.apart(a, b[None])[0] ** 2 for a, b in zip(draws[::2], draws[1::2], strict=True)
    ]
    assert np.mean(pairs) ** 0.5 == pytest.approx(2**0.5, abs=0.05)
