"""Steps gym-pusht on request: reads "OBSERVATION SECONDS" lines, answers with steps per second.

Started by `benchmarks/bench_pusht.py` with the interpreter of gym-pusht's own environment.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import gym_pusht  # type: ignore[import-not-found]  # noqa: F401 - registers the environment
import gymnasium
from pusht_workload import steps_per_second

OBSERVATION_TYPES = {"state": "state", "image": "pixels_agent_pos"}


def main() -> None:
    """Answer until the input ends."""
    envs = {
        name: gymnasium.make(
            "gym_pusht/PushT-v0", obs_type=obs_type, disable_env_checker=True, max_episode_steps=300
        )
        for name, obs_type in OBSERVATION_TYPES.items()
    }
    for line in sys.stdin:
        name, seconds = line.split()
        print(steps_per_second(envs[name], seconds=float(seconds)), flush=True)


if __name__ == "__main__":
    main()
