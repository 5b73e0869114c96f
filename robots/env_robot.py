"""A Gymnasium environment behind the Robot protocol, so that one loop drives both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from diffusion_controller.robots.errors import (
    FaultTokenError,
    NotArmedError,
    NotConnectedError,
    RobotError,
    RobotFaultError,
    UnsupportedStopError,
)
from diffusion_controller.robots.robot import (
    ClockOwner,
    RobotDescription,
    RobotState,
    StopKind,
    check_command,
)

Environment: TypeAlias = gymnasium.Env[dict[str, NDArray[Any]], NDArray[Any]]


class UnsupportedEnvironmentError(RobotError, ValueError):
    """An environment whose spaces are not those of a robot."""


@dataclass(frozen=True)
class EpisodeOutcome:
    """How the environment scored the episode so far.

    Attributes:
        steps: Commands executed.
        max_reward: Largest reward of any of them; −∞ before the first.
        info: What the environment told with the last observation.
    """

    steps: int
    max_reward: float
    info: Mapping[str, Any]


class EnvRobot:
    """One episode of a Gymnasium environment as a robot.

    The robot owns the clock: it stands at 0 s after `connect`, which resets the environment, and
    every `write` advances it, and the environment, by one control period. Between writes no time
    passes, however long the policy thinks.

    The environment stays the caller's: `close` does not close it, and the next episode is
    another `EnvRobot` around it.
    """

    def __init__(
        self,
        env: Environment,
        *,
        seed: int,
        reset_options: Mapping[str, Any] | None = None,
        control_hz: float | None = None,
    ) -> None:
        """Describe the environment; it is not touched before `connect`.

        Args:
            env: Observations are a Dict of arrays, actions a vector.
            seed: Of the episode's start.
            reset_options: Options of the reset.
            control_hz: Rate of its actions in [Hz]; by default its `metadata["render_fps"]`.

        Raises:
            UnsupportedEnvironmentError: If its spaces are others or its rate is unknown.
        """
        self._env, self._seed, self._options = env, seed, dict(reset_options or {})
        self._description = _describe(env, control_hz)
        self._is_connected = self._is_armed = self._is_finished = False
        self._fault: RobotFaultError | None = None
        self._faults = 0
        self._observation: Mapping[str, NDArray[Any]] = {}
        self._outcome = EpisodeOutcome(0, -np.inf, {})

    @property
    def seed(self) -> int:
        """Seed of the episode's start."""
        return self._seed

    @property
    def outcome(self) -> EpisodeOutcome:
        """How the environment scored the episode so far."""
        return self._outcome

    def describe(self) -> RobotDescription:
        """Spaces and rate of the environment."""
        return self._description

    def connect(self) -> None:
        """Reset the environment to the start of the episode; again does nothing."""
        if self._is_connected:
            return
        self._observation, info = self._env.reset(seed=self._seed, options=dict(self._options))
        self._outcome = EpisodeOutcome(0, -np.inf, info)
        self._is_connected, self._is_armed, self._is_finished = True, False, False

    def arm(self) -> None:
        """Allow `write`."""
        self._refuse_unless_ready()
        self._is_armed = True

    def read(self) -> RobotState:
        """The observation after the last action, at the simulated time."""
        if not self._is_connected:
            raise self._not_connected()
        return RobotState(self._now, self._observation, self._is_finished)

    def write(self, command: NDArray[np.float64], *, deadline: float) -> NDArray[np.float64]:
        """Step the environment, and with it the clock, by one control period."""
        self._refuse_unless_ready()
        if not self._is_armed:
            raise NotArmedError(f"{self._description.name} is not armed; call arm() before write()")
        if self._is_finished:
            raise NotArmedError(
                f"the episode of {self._description.name} is over after {self._outcome.steps} "
                "commands; begin another one with a new EnvRobot"
            )
        sent = check_command(command, self._description, now=self._now, deadline=deadline)
        try:
            action = sent.astype(self._env.action_space.dtype)
            self._observation, reward, terminated, truncated, info = self._env.step(action)
        except Exception as error:  # a simulation may fail in any way, as a device may
            raise self._latch(error) from error
        self._outcome = EpisodeOutcome(
            self._outcome.steps + 1, max(self._outcome.max_reward, float(reward)), info
        )
        self._is_finished = terminated or truncated
        return sent

    def stop(self, kind: StopKind) -> None:
        """Disarm; a simulation that is not written to stands still."""
        if not self._is_connected:
            raise self._not_connected()
        if kind not in self._description.stop_kinds:
            raise UnsupportedStopError(
                f"{self._description.name} cannot do a stop of kind {kind.value}; it can do "
                f"{', '.join(sorted(known.value for known in self._description.stop_kinds))}"
            )
        self._is_armed = False

    def clear_fault(self, token: int) -> None:
        """Forget the fault; the environment goes on from where it failed."""
        if self._fault is None or self._fault.token != token:
            latched = "no fault" if self._fault is None else f"fault {self._fault.token}"
            raise FaultTokenError(
                f"token {token} does not name the fault of {self._description.name}, where "
                f"{latched} is latched; pass the token of the RobotFaultError"
            )
        self._fault = None

    def close(self) -> None:
        """End the episode; the environment stays open."""
        self._is_connected = self._is_armed = False

    @property
    def _now(self) -> float:
        return self._outcome.steps / self._description.control_hz

    def _refuse_unless_ready(self) -> None:
        if not self._is_connected:
            raise self._not_connected()
        if self._fault is not None:
            raise self._fault

    def _not_connected(self) -> NotConnectedError:
        return NotConnectedError(
            f"{self._description.name} is not connected; call connect() before using it"
        )

    def _latch(self, error: Exception) -> RobotFaultError:
        self._faults += 1
        self._is_armed = False
        self._fault = RobotFaultError(
            f"{self._description.name} failed at {self._now:.3f} s ({type(error).__name__}: "
            f"{error}); find the cause, then clear_fault({self._faults}) and arm() again",
            token=self._faults,
        )
        return self._fault


def _describe(env: Environment, control_hz: float | None) -> RobotDescription:
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, spaces.Dict):
        raise UnsupportedEnvironmentError(
            f"observations of {name} are {type(observations).__name__}; expected a Dict of arrays"
        )
    if not isinstance(actions, spaces.Box) or len(actions.shape) != 1:
        raise UnsupportedEnvironmentError(
            f"actions of {name} are {actions}; expected a Box of shape (action_dim,)"
        )
    rate = control_hz or env.metadata.get("render_fps")
    if not rate or rate <= 0:
        raise UnsupportedEnvironmentError(
            f"the rate of {name} is unknown (metadata has render_fps "
            f"{env.metadata.get('render_fps')}); give control_hz"
        )
    return RobotDescription(
        name=name,
        action_low=actions.low.astype(np.float64),
        action_high=actions.high.astype(np.float64),
        action_units=tuple(env.metadata.get("action_units", ("1",) * actions.shape[0])),
        observation_shapes={key: entry.shape or () for key, entry in observations.spaces.items()},
        control_hz=float(rate),
        clock_owner=ClockOwner.ROBOT,
        has_watchdog=True,  # without a command it does not move
        stop_kinds=frozenset({StopKind.CONTROLLED, StopKind.IMMEDIATE}),
    )
