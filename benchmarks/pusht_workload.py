"""The work that both Push-T environments do in the benchmark; needs Gymnasium and NumPy only."""

import time
from typing import Any

import numpy as np

EPISODE_STEPS = 100


def steps_per_second(env: Any, *, seconds: float) -> float:
    """Steps per second of processor time in whole episodes, resets included.

    The targets jump about the middle of the field twice a second, so that the agent is in
    contact with the block for part of the time. Processor time, so that other work on the machine
    counts little.
    """
    random = np.random.default_rng(0)
    steps, seed = 0, 0
    start = time.process_time()
    while (elapsed := time.process_time() - start) < seconds:
        targets = random.uniform(100, 400, size=(EPISODE_STEPS // 5, 2)).astype(np.float32)
        env.reset(seed=seed)
        for target in targets.repeat(5, axis=0):
            env.step(target)
            steps += 1
        seed += 1
    return steps / elapsed
