"""A look inside a policy while it plans changes nothing of what it plans."""

import pytest
import torch

from diffusion_controller.runtime import ChunkError
from diffusion_controller.runtime.timing_parts import EngineWithStopwatch, measure_parts
from tests.policy.policies import observation, small_policy

HISTORY = {name: values[0] for name, values in observation(batch=1).items()}


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 3), ("ddpm", 8)])
def test_the_chunk_is_that_of_the_engine_itself(sampler: str, steps: int) -> None:
    policy = small_policy()
    policy.set_sampler(sampler, steps)
    expected = policy.predict_chunk(observation(batch=1), seeds=[3])
    stopwatch = EngineWithStopwatch(policy)
    policy.engine = stopwatch
    assert torch.equal(policy.predict_chunk(observation(batch=1), seeds=[3]), expected)
    assert len(stopwatch.step_times) == steps
    assert stopwatch.ended - stopwatch.began >= stopwatch.encode_time + sum(stopwatch.step_times)


def test_every_part_takes_time_and_the_engine_is_put_back() -> None:
    policy = small_policy()
    engine = policy.engine
    parts = measure_parts(policy, HISTORY, calls=4)
    assert policy.engine is engine
    assert parts.num_inference_steps == policy.num_inference_steps
    spent = (parts.copy_in, parts.encode, parts.denoising_step, parts.copy_out, parts.whole)
    assert min(spent) > 0


def test_the_engine_is_put_back_when_planning_fails() -> None:
    policy = small_policy()
    engine = policy.engine
    with torch.no_grad():
        next(iter(policy.network.parameters())).fill_(torch.nan)  # type: ignore[attr-defined]
    with pytest.raises(ChunkError):
        measure_parts(policy, HISTORY, calls=4)
    assert policy.engine is engine
