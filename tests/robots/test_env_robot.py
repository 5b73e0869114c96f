from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import diffusion_controller.envs  # noqa: F401 - registers Push-T
from diffusion_controller.robots import (
    ClockOwner,
    EnvRobot,
    NotArmedError,
    UnsupportedEnvironmentError,
)
from tests.contracts.robot_contract import RobotContract, soon, write_middle
from tests.runtime.doubles import CountingEnv


class BreakableEnv(CountingEnv):
    """Fails on demand, as a physics engine may."""

    is_broken = False

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        if self.is_broken:
            raise FloatingPointError("the solver diverged")
        return super().step(action)


class EnvRig:
    def __init__(self) -> None:
        self.env = BreakableEnv()
        self.robot = EnvRobot(self.env, seed=7)

    def received(self) -> list[NDArray[np.float64]]:
        return [np.array([action]) for action in self.env.actions]

    def break_device(self) -> None:
        self.env.is_broken = True

    def mend_device(self) -> None:
        self.env.is_broken = False


class TestEnvRobot(RobotContract):
    def rig(self) -> EnvRig:
        return EnvRig()


def started(env: gymnasium.Env[Any, Any], seed: int = 100_000) -> EnvRobot:
    robot = EnvRobot(env, seed=seed)
    robot.connect()
    robot.arm()
    return robot


def test_every_command_advances_the_clock_by_one_period() -> None:
    robot = started(CountingEnv())
    for count in range(1, 4):
        write_middle(robot)
        assert robot.read().time == count / 10
    assert robot.describe().clock_owner is ClockOwner.ROBOT


def test_no_time_passes_between_commands() -> None:
    robot = started(CountingEnv())
    assert [robot.read().time for _ in range(5)] == [0.0] * 5


def test_the_outcome_keeps_the_largest_reward() -> None:
    robot = started(CountingEnv(goal=4.0))
    for command in (1.0, 1.0, -1.0):
        robot.write(np.array([command]), deadline=soon(robot))
    assert robot.outcome.max_reward == 0.5
    assert robot.outcome.steps == 3


def test_an_episode_that_is_over_takes_no_command() -> None:
    robot = started(CountingEnv(goal=1.0))
    robot.write(np.array([1.0]), deadline=soon(robot))
    assert robot.read().is_finished
    with pytest.raises(NotArmedError, match="over after 1 commands"):
        robot.write(np.array([1.0]), deadline=soon(robot))


def test_push_t_is_stepped_as_gymnasium_steps_it() -> None:
    direct = gymnasium.make("diffusion_controller/PushT-v0", observation="state")
    expected, _ = direct.reset(seed=100_003)
    robot = started(gymnasium.make("diffusion_controller/PushT-v0", observation="state"), 100_003)
    random = np.random.default_rng(0)
    for _ in range(20):
        np.testing.assert_array_equal(robot.read().observation["state"], expected["state"])
        action = random.uniform(0, 512, size=2).astype(np.float32)
        expected, *_ = direct.step(action)
        robot.write(action.astype(np.float64), deadline=soon(robot))
    assert robot.outcome.max_reward > 0


def test_the_environment_stays_the_callers() -> None:
    env = CountingEnv()
    first = started(env)
    write_middle(first)
    first.close()
    second = EnvRobot(env, seed=1, reset_options={"start": 2.0})
    second.connect()
    assert second.read().observation["position"].tolist() == [2.0]


class UnnamedObservations(CountingEnv):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 1, shape=(1,))  # type: ignore[assignment]


class NoRate(CountingEnv):
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012


@pytest.mark.parametrize(
    ("env", "message"),
    [(UnnamedObservations(), "expected a Dict"), (NoRate(), "give control_hz")],
)
def test_environments_that_are_no_robot_are_refused(env: CountingEnv, message: str) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match=message):
        EnvRobot(env, seed=0)


def test_the_rate_can_be_given() -> None:
    assert EnvRobot(NoRate(), seed=0, control_hz=50.0).describe().period == 0.02
