"""Intervals for what an evaluation found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NORMAL_QUANTILE_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def wilson_interval(successes: int, trials: int, *, z: float = NORMAL_QUANTILE_95) -> Interval:
    """Score interval of a proportion: Wilson (1927).

    Unlike p ± z √(p (1 − p) / n) it stays within [0, 1] and says something at 0 and at n.

    Args:
        successes: In [0, trials].
        trials: At least 1.
        z: Quantile of the standard normal distribution; the default gives 95 %.
    """
    share = successes / trials
    denominator = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / denominator
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / denominator
    low = 0.0 if successes == 0 else float(centre - half)  # exactly, without rounding
    high = 1.0 if successes == trials else float(centre + half)
    return Interval(low, high)


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, level: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Percentile bootstrap of the mean: Efron (1979).

    Args:
        values: One per independent start. At least 1.
        seed: Of the resampling; the same seed gives the same interval.
        level: How much of the bootstrap distribution the interval holds, in (0, 1).
        resamples: How many means are drawn.
    """
    numbers = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, 2_000_000 // numbers.size)  # bounds the memory for long lists
    for first in range(0, resamples, rows):
        picked = random.integers(numbers.size, size=(min(rows, resamples - first), numbers.size))
        means[first : first + len(picked)] = numbers[picked].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
