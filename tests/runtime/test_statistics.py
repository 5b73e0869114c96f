import numpy as np
import pytest

from diffusion_controller.runtime import bootstrap_interval, wilson_interval


def test_the_ends_of_the_wilson_interval_solve_its_equation() -> None:
    # Wilson (1927): p̂ lies exactly z standard deviations of Binomial(n, p) from either end p.
    z, trials = 1.959963984540054, 500
    for successes in (1, 137, 250, 499):
        share = successes / trials
        for end in wilson_interval(successes, trials):
            deviation = np.sqrt(end * (1 - end) / trials)
            assert abs(share - end) == pytest.approx(z * deviation, rel=1e-9)


def test_the_wilson_interval_stays_between_zero_and_one_and_touches_them_exactly() -> None:
    assert wilson_interval(0, 50).low == 0.0
    assert 0.05 < wilson_interval(0, 50).high < 0.1
    assert wilson_interval(50, 50).high == 1.0


def test_the_bootstrap_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=2000)
    interval = bootstrap_interval(values.tolist())
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_interval_repeats_by_seed() -> None:
    values = np.random.default_rng(1).random(40).tolist()
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_the_bootstrap_interval_of_equal_values_is_that_value() -> None:
    assert bootstrap_interval([0.5] * 20) == (0.5, 0.5)


def test_the_bootstrap_draws_in_pieces_what_would_not_fit_in_memory() -> None:
    values = np.arange(30_000.0)
    interval = bootstrap_interval(values.tolist(), resamples=200)
    assert interval.low < values.mean() < interval.high
