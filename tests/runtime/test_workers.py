import multiprocessing

import numpy as np
import pytest

from diffusion_controller.runtime import WorkerError
from diffusion_controller.runtime.episode_slots import EnvironmentSpec
from diffusion_controller.runtime.workers import WorkerPool

PUSH_T = EnvironmentSpec("diffusion_controller/PushT-v0", {"observation": "state"})


def rollout_workers() -> list[multiprocessing.process.BaseProcess]:
    return [child for child in multiprocessing.active_children() if "rollout-" in child.name]


def pool(num_workers: int) -> WorkerPool:
    seeds = {slot: [100_000 + slot] for slot in range(3)}
    return WorkerPool(
        PUSH_T, seeds, num_workers=num_workers, obs_horizon=1, observation_names=["state"]
    )


def test_a_worker_that_is_killed_is_reported_and_the_others_end() -> None:
    with pool(2) as workers:
        assert sorted(workers.begin().requests) == [0, 1, 2]
        victim = rollout_workers()[0]
        victim.kill()
        victim.join()
        with pytest.raises(WorkerError, match="exit code -9"):
            workers.advance({slot: np.full((2, 2), 256.0) for slot in range(3)})
    assert rollout_workers() == []


def test_no_more_workers_start_than_there_are_slots() -> None:
    with pool(8) as workers:
        workers.begin()
        assert len(rollout_workers()) == 3
    assert rollout_workers() == []
