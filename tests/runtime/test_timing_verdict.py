"""The verdict on measured latencies: quantiles, deadlines, order, choice of threads."""

import math
from dataclasses import replace

import numpy as np
import pytest

from diffusion_controller.runtime import (
    QUANTILES,
    ColdStart,
    Latencies,
    Measurement,
    Parts,
    Requirement,
    Score,
    Setting,
    TimingError,
    best_threads,
    judge,
)

SETTING = Setting("ddim", 10, "eager", "fp32", 1, "passive")
AT_10_HZ = Requirement(10.0, action_horizon=8, margin=0.2)  # 80 ms, or 640 ms with slack


def measured(
    alone: float, busy: float | None = None, *, setting: Setting = SETTING, calls: int = 100
) -> Measurement:
    """All chunks took the same time, in [s]."""
    return Measurement(
        setting=setting,
        alone=Latencies((alone,) * calls),
        busy=None if busy is None else Latencies((busy,) * calls),
        cold_start=ColdStart(imports=2.0, load=0.5, first_chunk=0.1, warm_up=(0.1,)),
        parts=None,
        peak_memory=400 * 2**20,
    )


@pytest.mark.parametrize(
    ("name", "calls"), [("p50", 2), ("p90", 10), ("p99", 100), ("p99.9", 1000)]
)
def test_a_quantile_takes_so_many_calls_that_one_lies_beyond_it(name: str, calls: int) -> None:
    durations = tuple(np.random.default_rng(0).uniform(0.01, 0.02, calls).tolist())
    expected = float(np.quantile(durations, QUANTILES[name]))
    assert Latencies(durations).quantile(name) == pytest.approx(expected)
    assert Latencies(durations[:-1]).quantile(name) is None


def test_with_too_few_calls_for_p99_the_longest_is_judged() -> None:
    few, many = Latencies((0.01,) * 98 + (0.5,)), Latencies((0.01,) * 999 + (0.5,))
    assert (few.judged, few.judged_by) == (0.5, "max")
    assert many.judged == pytest.approx(0.01)
    assert many.judged_by == "p99"


def test_a_chunk_that_comes_at_its_deadline_is_not_late() -> None:
    latencies = Latencies((0.09, 0.1, 0.1, 0.11, 0.9))
    assert latencies.later_than(0.1) == 2
    assert latencies.to_json({"synchronous": 0.1, "slack": 0.8})["missed"] == {
        "synchronous": 2,
        "slack": 1,
    }


@pytest.mark.parametrize("durations", [(0.02,), (0.02,) * 7, (0.01, 0.02, 0.5, 3.0)])
def test_the_histogram_holds_every_call(durations: tuple[float, ...]) -> None:
    edges, counts = Latencies(durations).histogram(bins=20)
    assert sum(counts) == len(durations)
    assert len(edges) == 21
    assert edges[0] <= min(durations) <= max(durations) <= edges[-1]


@pytest.mark.parametrize("rate", [0.0, -10.0, math.inf, math.nan])
def test_a_rate_that_no_loop_can_have_is_refused(rate: float) -> None:
    with pytest.raises(TimingError, match=r"control_hz is .*; expected a positive, finite rate"):
        Requirement(rate, action_horizon=8)


@pytest.mark.parametrize("margin", [-0.1, 1.0, math.nan])
def test_a_margin_that_leaves_no_time_is_refused(margin: float) -> None:
    with pytest.raises(TimingError, match=r"margin is .*; expected a part of the control period"):
        Requirement(10.0, action_horizon=8, margin=margin)


@pytest.mark.parametrize(
    ("latency", "in_time"),
    [(0.0799, "synchronous"), (0.0801, "slack"), (0.6399, "slack"), (0.6401, "never")],
)
def test_the_margin_is_taken_from_the_period_and_from_the_actions_of_a_chunk(
    latency: float, in_time: str
) -> None:
    assert AT_10_HZ.in_time(latency) == in_time


def test_the_busy_machine_decides() -> None:
    (judgement,) = judge([measured(0.02, 0.3)], AT_10_HZ, {})
    assert judgement.in_time == "slack"
    assert judgement.measurement.worse.judged == pytest.approx(0.3)


def test_settings_are_ordered_by_deadline_then_score_then_latency() -> None:
    good, bad = Score(0.97, 0.96, 0.98, 500), Score(0.9, 0.88, 0.92, 500)

    def setting(steps: int, engine: str = "eager") -> Setting:
        return replace(SETTING, num_inference_steps=steps, engine=engine)

    found = judge(
        [
            measured(0.9, setting=setting(100)),
            measured(0.2, setting=setting(50)),
            measured(0.01, setting=setting(2)),
            measured(0.02, setting=setting(4)),
            measured(0.05, setting=setting(10)),
            measured(0.03, setting=setting(10, "openvino")),
        ],
        AT_10_HZ,
        {("ddim", 50, "fp32"): good, ("ddim", 10, "fp32"): good, ("ddim", 4, "fp32"): bad},
    )
    order = [(one.measurement.setting.num_inference_steps, one.in_time) for one in found]
    assert order == [
        (10, "synchronous"),
        (10, "synchronous"),
        (4, "synchronous"),
        (2, "synchronous"),  # its score is not known
        (50, "slack"),
        (100, "never"),
    ]
    assert found[0].measurement.setting.engine == "openvino"  # the same chunks, sooner


def test_a_score_is_not_that_of_another_precision() -> None:
    score = Score(0.97, 0.96, 0.98, 500)
    (judgement,) = judge([measured(0.02)], AT_10_HZ, {("ddim", 10, "bf16"): score})
    assert judgement.score is None


def test_parts_and_rest_are_the_whole() -> None:
    parts = Parts(0.001, 0.002, 0.003, 0.004, whole=0.050, num_inference_steps=10)
    assert parts.denoising == pytest.approx(0.030)
    whole = parts.copy_in + parts.encode + parts.denoising + parts.copy_out + parts.rest
    assert whole == pytest.approx(0.050)


def test_threads_that_spin_lose_when_the_machine_is_busy() -> None:
    one = measured(0.025, 0.026)
    spinning = measured(0.015, 0.250, setting=replace(SETTING, num_threads=2, wait_policy="active"))
    assert best_threads([spinning, one]) == SETTING
    alone = [replace(each, busy=None) for each in (one, spinning)]
    assert best_threads(alone).wait_policy == "active"


def test_a_second_thread_that_hardly_helps_is_left_to_others() -> None:
    two = measured(0.024, setting=replace(SETTING, num_threads=2))
    assert best_threads([two, measured(0.025)]) == SETTING


@pytest.mark.parametrize(
    ("latency", "says"),
    [
        (0.02, "In time for 10 Hz: a chunk is there within 20 ms (p99), and a control period is"),
        (0.09, "a control period of 100 ms with 20 % of it left, but the actions of the chunk"),
        (0.9, "Too slow for 10 Hz here: a chunk takes up to 900 ms (p99)"),
    ],
)
def test_the_verdict_is_a_sentence(latency: float, says: str) -> None:
    assert says in AT_10_HZ.explain(latency)
