"""Records what the published environment's package does, for the tests to compare with.

Run it with the interpreter of an environment that has gym-pusht
(`benchmarks/peers/make_gym_pusht.sh DIRECTORY` makes one):

    DIRECTORY/bin/python tests/envs/golden/record_golden.py

It writes `gym_pusht.npz` beside itself. gym-pusht draws its starts from another generator than the
published evaluation, so the states are set here, in both orders of placing the block.
"""

import math
from pathlib import Path
from typing import Any

import cv2
import gym_pusht  # type: ignore[import-not-found]  # noqa: F401 - registers the environment
import gymnasium
import numpy as np
import pymunk

SEEDS = tuple(range(100_000, 100_008))
STEPS = 60
FRAME_EVERY = 20


def draw_start(seed: int) -> np.ndarray:
    """The draw of the published reset."""
    random = np.random.RandomState(seed)
    return np.array(
        [
            random.randint(50, 450),
            random.randint(50, 450),
            random.randint(100, 400),
            random.randint(100, 400),
            random.randn() * 2 * np.pi - np.pi,
        ]
    )


def place(env: Any, start: np.ndarray, *, legacy_reset: bool) -> None:
    """Set a state; gym-pusht itself only knows the legacy order."""
    env.reset(seed=0)
    env._setup()
    if legacy_reset:
        env._set_state(start)
        return
    env.agent.position = list(start[:2])
    env.block.angle = start[4]
    env.block.position = list(start[2:4])
    env.space.step(env.dt)


def record(env: Any, seed: int, *, legacy_reset: bool) -> tuple[list[Any], ...]:
    """One episode of targets scattered about the block's centre, one per half second."""
    place(env, draw_start(seed), legacy_reset=legacy_reset)
    random = np.random.RandomState(seed)
    states, actions, rewards, frames = [env.get_obs()], [], [], []
    for step in range(STEPS):
        if step % 5 == 0:
            center = np.array(env.block.local_to_world(env.block.center_of_gravity))
            target = np.clip(center + random.randn(2) * 60, 0, 512)
        _, reward, *_ = env.step(target)
        states.append(env.get_obs())
        actions.append(target)
        rewards.append(reward)
        if step % FRAME_EVERY == FRAME_EVERY - 1:
            frames.append(env._render())
    return states, actions, rewards, frames


def main() -> None:
    """Record every seed in both orders."""
    env: Any = gymnasium.make(
        "gym_pusht/PushT-v0", obs_type="state", render_mode="rgb_array"
    ).unwrapped
    orders = [index % 2 == 0 for index in range(len(SEEDS))]
    episodes = [
        record(env, seed, legacy_reset=legacy_reset)
        for seed, legacy_reset in zip(SEEDS, orders, strict=True)
    ]
    states, actions, rewards, frames = (np.array(part) for part in zip(*episodes, strict=True))
    states[..., 4] %= 2 * math.pi
    np.savez_compressed(
        Path(__file__).with_name("gym_pusht.npz"),
        seeds=np.array(SEEDS),
        legacy_reset=np.array(orders),
        states=states,
        actions=actions,
        rewards=rewards,
        frames=frames,
        frame_every=np.array(FRAME_EVERY),
        versions=np.array([f"pymunk {pymunk.version}", f"opencv {cv2.__version__}"]),
    )


if __name__ == "__main__":
    main()
