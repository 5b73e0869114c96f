"""A policy without a network, an environment, a robot and a planner that are easy to foresee."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from diffusion_controller.robots import (
    ClockOwner,
    FaultTokenError,
    NotArmedError,
    NotConnectedError,
    RobotDescription,
    RobotFaultError,
    RobotState,
    StopKind,
    UnsupportedStopError,
    check_command,
)
from diffusion_controller.runtime import SimulatedTime


class ScriptedPolicy:
    """Pushes the agent to the block and on, with noise that its seeds decide."""

    obs_horizon = 2
    horizon = 12
    action_horizon = 8
    action_dim = 2
    observation_shapes: Mapping[str, tuple[int, ...]] = {"keypoints": (9, 2), "agent": (2,)}

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        keypoints = np.asarray(observation["keypoints"], dtype=np.float64)
        agent = np.asarray(observation["agent"], dtype=np.float64)
        batch, steps = agent.shape[0], self.action_horizon
        self.batch_sizes.append(batch)
        noise = np.stack(
            [np.random.default_rng(seed).normal(size=(steps, 2)) for seed in seeds or [0] * batch]
        )
        velocity = agent[:, -1] - agent[:, 0]  # the whole history matters
        aim = keypoints[:, -1].mean(axis=1) + 0.3 * velocity
        way = np.linspace(0.2, 1.4, steps)[:, None]
        path = agent[:, -1:] + way * (aim - agent[:, -1])[:, None]
        chunks: NDArray[np.float64] = np.clip(path + 15.0 * noise, 0.0, 512.0)
        return chunks


class CountingEnv(gymnasium.Env[dict[str, Any], NDArray[np.float32]]):
    """Counts: the position is the sum of the actions, the reward position / `goal`, at most 1."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012

    def __init__(self, *, goal: float = 5.0) -> None:
        self.goal = goal
        self.observation_space = spaces.Dict(
            {"position": spaces.Box(-np.inf, np.inf, shape=(1,), dtype=np.float32)}
        )
        self.action_space = spaces.Box(-1.0, 1.0, shape=(1,), dtype=np.float32)
        self.actions: list[float] = []
        self.position = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.position = float(options["start"]) if options else 0.0
        self.actions.clear()
        return self._observation(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.position += float(action[0])
        self.actions.append(float(action[0]))
        reward = min(1.0, self.position / self.goal)
        return self._observation(), reward, reward >= 1.0, False, {}

    def _observation(self) -> dict[str, Any]:
        return {"position": np.array([self.position], dtype=np.float32)}


class FakeRobot:
    """An arm whose controller keeps time: it stamps states and commands with a shared clock.

    Attributes:
        commands: Every command received, with the time at which it came.
        stops: Every stop asked for.
        is_broken: Whether the next command fails.
        stuck_at: Time stamp that its states keep, as those of a sensor that hangs.
    """

    def __init__(self, time_source: SimulatedTime, *, control_hz: float = 10.0) -> None:
        self._time, self._control_hz = time_source, control_hz
        self._is_connected = self._is_armed = False
        self._fault: RobotFaultError | None = None
        self._faults = 0
        self.commands: list[tuple[float, NDArray[np.float64]]] = []
        self.stops: list[StopKind] = []
        self.is_broken = False
        self.stuck_at: float | None = None

    def describe(self) -> RobotDescription:
        return RobotDescription(
            name="fake arm",
            action_low=np.full(2, -100.0),
            action_high=np.full(2, 100.0),
            action_units=("rad", "rad"),
            observation_shapes={"position": (2,)},
            control_hz=self._control_hz,
            clock_owner=ClockOwner.CONTROLLER,
            has_watchdog=False,
            stop_kinds=frozenset({StopKind.CONTROLLED}),
        )

    def connect(self) -> None:
        self._is_connected = True

    def arm(self) -> None:
        self._refuse_unless_ready()
        self._is_armed = True

    def read(self) -> RobotState:
        if not self._is_connected:
            raise NotConnectedError("not connected; call connect()")
        now = self._time.now() if self.stuck_at is None else self.stuck_at
        return RobotState(now, {"position": np.zeros(2)})

    def write(self, command: NDArray[np.float64], *, deadline: float) -> NDArray[np.float64]:
        self._refuse_unless_ready()
        if not self._is_armed:
            raise NotArmedError("not armed; call arm()")
        sent = check_command(command, self.describe(), now=self._time.now(), deadline=deadline)
        if self.is_broken:
            self._faults += 1
            self._is_armed = False
            self._fault = RobotFaultError("broken; mend it", token=self._faults)
            raise self._fault
        self.commands.append((self._time.now(), sent))
        return sent

    def stop(self, kind: StopKind) -> None:
        if not self._is_connected:
            raise NotConnectedError("not connected; call connect()")
        if kind not in self.describe().stop_kinds:
            raise UnsupportedStopError(f"cannot do a stop of kind {kind.value}")
        self._is_armed = False
        self.stops.append(kind)

    def clear_fault(self, token: int) -> None:
        if self._fault is None or self._fault.token != token:
            raise FaultTokenError(f"token {token} names no fault")
        self._fault = None

    def close(self) -> None:
        self._is_connected = self._is_armed = False

    def _refuse_unless_ready(self) -> None:
        if not self._is_connected:
            raise NotConnectedError("not connected; call connect()")
        if self._fault is not None:
            raise self._fault


class NumberingPlanner:
    """Action i of chunk k is (10 k + i, i); planning takes as long as told."""

    def __init__(self, time_source: SimulatedTime, *, actions: int = 4) -> None:
        self._time, self._actions = time_source, actions
        self.duration = 0.0

    def plan(self, observation: Mapping[str, NDArray[Any]], *, index: int) -> NDArray[np.float64]:
        assert set(observation) == {"position"}
        self._time.advance(self.duration)
        steps = np.arange(self._actions)
        return np.stack([10.0 * index + steps, steps.astype(np.float64)], axis=1)
