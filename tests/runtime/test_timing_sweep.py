"""Which settings are measured, in which processes, and what is told of those that cannot be."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from diffusion_controller.policy import save_policy
from diffusion_controller.runtime import (
    Effort,
    Measurement,
    Setting,
    SettingError,
    Sweep,
    measure_in_new_process,
    run_sweep,
    threads_to_try,
)
from diffusion_controller.runtime.timing_sweep import environment_of
from tests.policy.image_policies import image_policy
from tests.policy.policies import small_policy
from tests.runtime.test_timing_verdict import SETTING, measured

SWEEP = Sweep(
    samplers=("ddim", "dpm_solver++"),
    num_inference_steps=(4, 8),
    engines=("eager", "compiled"),
    precisions=("fp32",),
    num_threads=(1, 2),
    wait_policies=("passive", "active"),
)
EFFORT = Effort(calls=50, seconds=8.0)


class Workbench:
    """Notes what is to be measured; two passive threads are fastest, `compiled` is not there."""

    def __init__(self, *, missing: Sequence[str] = ("compiled",)) -> None:
        self.missing = missing
        self.asked: list[tuple[Setting, Effort]] = []

    def measure(self, setting: Setting, effort: Effort) -> Measurement:
        self.asked.append((setting, effort))
        if setting.engine in self.missing:
            raise SettingError(f"{setting.engine} is not there")
        is_best = (setting.num_threads, setting.wait_policy) == (2, "passive")
        return measured(0.01 if is_best else 0.02, 0.02 if is_best else 0.04, setting=setting)


def test_threads_are_chosen_once_and_used_for_every_sampler() -> None:
    bench = Workbench()
    found = run_sweep(SWEEP, EFFORT, bench.measure, part=0.25)
    assert len(found.threads) == 3  # one thread waits for nobody, whatever the policy
    assert [one.seconds for _, one in bench.asked[:3]] == [2.0] * 3
    (chosen,) = found.chosen_threads
    assert (chosen.num_threads, chosen.wait_policy) == (2, "passive")
    assert [one.setting for one in found.measurements] == [
        replace(chosen, sampler=sampler, num_inference_steps=steps)
        for sampler in ("ddim", "dpm_solver++")
        for steps in (4, 8)
    ]


def test_an_engine_on_the_threads_of_another_does_not_choose_again() -> None:
    bench = Workbench(missing=())
    found = run_sweep(SWEEP, EFFORT, bench.measure)
    assert {one.setting.engine for one in found.threads} == {"eager"}
    engines = [one.setting.engine for one in found.measurements]
    assert engines == ["eager"] * 4 + ["compiled"] * 4
    assert {one.setting.num_threads for one in found.measurements} == {2}


def test_an_engine_that_is_not_there_is_named_and_the_others_are_measured() -> None:
    found = run_sweep(SWEEP, EFFORT, Workbench().measure)
    assert found.impossible == {("compiled", "fp32"): "compiled is not there"}
    assert {one.setting.engine for one in found.measurements} == {"eager"}


def test_without_any_possible_setting_there_is_nothing_to_tell() -> None:
    bench = Workbench(missing=("eager", "compiled"))
    with pytest.raises(SettingError, match="eager is not there; compiled is not there"):
        run_sweep(SWEEP, EFFORT, bench.measure)


def test_without_a_choice_of_threads_none_are_tried() -> None:
    bench = Workbench()
    found = run_sweep(replace(SWEEP, num_threads=(1,)), EFFORT, bench.measure)
    assert (found.threads, found.chosen_threads) == ((), ())
    assert len(found.measurements) == 4


@pytest.mark.parametrize(
    ("cores", "threads"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_threads_to_try_double_up_to_the_cores(cores: int, threads: tuple[int, ...]) -> None:
    assert threads_to_try(cores) == threads


def test_the_environment_gives_threads_and_wait_policy() -> None:
    mine = {"HOME": "/", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "7"}
    active = replace(SETTING, num_threads=2, wait_policy="active")
    expected = {"HOME": "/", "OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "2"}
    assert environment_of(active, mine) == expected
    default = environment_of(replace(active, wait_policy="default"), mine)
    assert "OMP_WAIT_POLICY" not in default


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(small_policy(), tmp_path_factory.mktemp("run") / "policy", metrics={})


def test_a_setting_is_measured_in_a_process_of_its_own(checkpoint: Path) -> None:
    setting = replace(SETTING, num_inference_steps=3)
    effort = Effort(calls=6, seconds=60.0, rest=0.001, busy_cores=1)
    found = measure_in_new_process(checkpoint, setting, effort, device="cpu")
    assert found.setting == setting
    assert found.busy is not None
    assert (found.alone.calls, found.busy.calls) == (6, 6)
    assert found.peak_device_memory is None
    assert 50 * 2**20 < found.peak_memory < 4 * 2**30
    start = found.cold_start
    assert start.total == pytest.approx(start.imports + start.load + start.first_chunk)
    assert min(start.imports, start.load, start.first_chunk, *start.warm_up) > 0


def test_a_policy_that_sees_is_given_pictures(tmp_path: Path) -> None:
    save_policy(image_policy(), tmp_path / "policy", metrics={})
    effort = Effort(calls=1, seconds=0.0, rest=0.0)
    found = measure_in_new_process(tmp_path / "policy", SETTING, effort, device="cpu")
    assert found.alone.calls == 1


def test_a_policy_that_cannot_be_loaded_so_says_why(checkpoint: Path) -> None:
    with pytest.raises(SettingError, match="num_inference_steps is 101"):
        measure_in_new_process(
            checkpoint, replace(SETTING, num_inference_steps=101), Effort(calls=1), device="cpu"
        )
