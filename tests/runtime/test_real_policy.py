"""What the evaluation promises holds for a network on the CPU, whose rounding is real."""

import gymnasium
import pytest

from diffusion_controller.robots import EnvRobot
from diffusion_controller.runtime import (
    ChunkExecutor,
    SynchronousPlanner,
    clock_for,
    evaluate_policy,
    run_control_loop,
)
from tests.policy.policies import small_policy

SEEDS = tuple(range(100_000, 100_006))


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 3), ("ddpm", 8)])
def test_results_repeat_by_seed_whatever_runs_beside(sampler: str, steps: int) -> None:
    policy = small_policy()
    policy.set_sampler(sampler, steps)
    whole = evaluate_policy(policy, seeds=SEEDS, max_steps=40, batch_size=4, num_workers=0)
    spread = evaluate_policy(policy, seeds=SEEDS, max_steps=40, batch_size=4, num_workers=2)
    part = evaluate_policy(policy, seeds=SEEDS[3:5], max_steps=40, batch_size=4, num_workers=0)
    assert spread.episodes == whole.episodes
    assert part.episodes == whole.episodes[3:5]
    other = evaluate_policy(policy, seeds=SEEDS, max_steps=40, batch_size=4, sampling_seed=1)
    assert other.episodes != whole.episodes


def test_the_control_loop_plays_the_episodes_of_an_evaluation_of_batch_size_one() -> None:
    policy = small_policy()
    seed = SEEDS[0]
    (episode,) = evaluate_policy(policy, seeds=[seed], max_steps=40, batch_size=1).episodes
    env = gymnasium.make("diffusion_controller/PushT-v0", observation="keypoints")
    robot = EnvRobot(env, seed=seed)
    robot.connect()
    robot.arm()
    summary = run_control_loop(
        robot,
        SynchronousPlanner(policy, episode_seed=seed),
        ChunkExecutor(obs_horizon=policy.obs_horizon, period=robot.describe().period),
        clock_for(robot),
        max_ticks=40,
    )
    assert (summary.commands, summary.chunks) == (40, 10)
    assert robot.outcome.max_reward == episode.max_reward
    assert robot.outcome.info["coverage"] == episode.final_coverage
