import math

import pytest

from diffusion_controller.runtime import ClockError, MonotonicTime, PeriodicClock, SimulatedTime


def test_ticks_lie_on_the_grid_however_long_the_work_takes() -> None:
    time = SimulatedTime(start=123.4)
    clock = PeriodicClock(time, period=0.01)
    for index in range(1000):
        tick = clock.wait()
        assert tick.index == index
        assert tick.time == pytest.approx(123.4 + 0.01 * index, abs=1e-9)
        time.advance(0.0099 * (index % 2))


def test_a_missed_tick_is_skipped_not_replayed() -> None:
    time = SimulatedTime()
    clock = PeriodicClock(time, period=0.1)
    clock.wait()
    time.advance(0.35)
    late = clock.wait()
    assert (late.index, late.skipped) == (3, 2)
    assert late.lateness == pytest.approx(0.05)
    after = clock.wait()
    assert (after.index, after.skipped) == (4, 0)
    assert after.time == pytest.approx(0.4)


def test_work_of_exactly_one_period_misses_nothing() -> None:
    time = SimulatedTime(start=0.3)
    clock = PeriodicClock(time, period=0.1)
    for _ in range(500):
        tick = clock.wait()
        assert tick.skipped == 0
        assert abs(tick.lateness) < 1e-9
        time.advance(0.1)


class OversleepingTime(SimulatedTime):
    """Wakes up 2 ms late, as an operating system may."""

    def sleep_until(self, instant: float) -> None:
        if instant > self.now():
            super().sleep_until(instant + 0.002)


def test_sleep_overshoot_does_not_accumulate() -> None:
    clock = PeriodicClock(OversleepingTime(), period=0.01)
    ticks = [clock.wait() for _ in range(200)]
    assert all(tick.lateness <= 0.002 + 1e-9 for tick in ticks)
    assert ticks[-1].index == 199


def test_a_tick_is_over_when_the_next_one_is_due() -> None:
    time = SimulatedTime()
    clock = PeriodicClock(time, period=0.1)
    tick = clock.wait()
    time.advance(0.099)
    assert not clock.is_over(tick)
    time.advance(0.001)
    assert clock.is_over(tick)


@pytest.mark.parametrize("period", [0.0, -0.1, math.inf, math.nan])
def test_a_period_that_is_not_positive_and_finite_is_refused(period: float) -> None:
    with pytest.raises(ClockError, match="give a positive one"):
        PeriodicClock(SimulatedTime(), period=period)


def test_the_monotonic_clock_does_not_wait_for_what_has_passed() -> None:
    time = MonotonicTime()
    began = time.now()
    time.sleep_until(began - 3600.0)
    assert time.now() - began < 60.0
