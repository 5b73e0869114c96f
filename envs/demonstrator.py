"""A scripted demonstrator for Push-T: as many successful episodes as one wants.

It plans over the simulation itself (`PushPlanner`): push, look again, push. The targets it gives
move smoothly at 10 Hz like those of a person with a pointer: they travel around the block, speed
up and slow down, and never jump. Paces and choices are drawn, so strategies vary.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffusion_controller import DiffusionControllerError
from diffusion_controller.envs.push_planner import PushPlanner
from diffusion_controller.envs.pusht import SUCCESS_COVERAGE, PushTSimulation
from diffusion_controller.envs.tee import keypoints_of_state


class DemonstratorSettingsError(DiffusionControllerError, ValueError):
    """Settings that the demonstrator cannot work with."""


@dataclass(frozen=True, kw_only=True)
class DemonstratorSettings:
    """How the demonstrator searches and moves.

    Attributes:
        max_steps: Actions after which an episode is given up.
        num_candidates: Pushes sampled per plan.
        num_verified: Pushes simulated with the way there, per plan.
        step_cost: What one action costs in [px] of gap; more makes hasty pushes.
        temperature: Of the choice among good pushes in [px]; more gives more varied episodes.
        travel_speed: Range that an episode's pace between pushes is drawn from, in [px] per action.
        push_speed: Range that an episode's pace of pushing is drawn from, in [px] per action.
    """

    max_steps: int = 300
    num_candidates: int = 192
    num_verified: int = 20
    step_cost: float = 0.12
    temperature: float = 0.5
    travel_speed: tuple[float, float] = (16.0, 26.0)
    push_speed: tuple[float, float] = (7.0, 12.0)

    def __post_init__(self) -> None:
        for name in ("max_steps", "num_candidates", "num_verified", "temperature"):
            if not getattr(self, name) > 0:
                raise DemonstratorSettingsError(
                    f"{name} is {getattr(self, name)}; give a positive number"
                )
        for name in ("travel_speed", "push_speed"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise DemonstratorSettingsError(
                    f"{name} is ({low}, {high}) px per action; give a range with 0 < low <= high"
                )


@dataclass(frozen=True)
class Demonstration:
    """One episode: `states[i]` was seen when `actions[i]` was given.

    Attributes:
        seed: Of the start and of the demonstrator's draws.
        states: (agent x, agent y, block x, block y, block angle). Shape (steps, 5).
        actions: Targets in [px]. Shape (steps, 2).
        coverages: Coverage after each action. Shape (steps,).
    """

    seed: int
    states: npt.NDArray[np.float64]
    actions: npt.NDArray[np.float64]
    coverages: npt.NDArray[np.float64]

    @property
    def is_success(self) -> bool:
        """Whether coverage exceeded 0.95."""
        return bool((self.coverages > SUCCESS_COVERAGE).any())

    @property
    def keypoints(self) -> npt.NDArray[np.float64]:
        """The block's keypoints in [px]. Shape (steps, 9, 2)."""
        return keypoints_of_state(self.states)


def demonstrate(seed: int, settings: DemonstratorSettings | None = None) -> Demonstration:
    """One episode from the published reset with this seed; a pure function of its arguments.

    Args:
        seed: In [0, 2³²). Published evaluations start from 100000 and human demonstrations from 0
            upwards; scripted ones are made from 1000000 upwards.
        settings: How to search and move; the defaults if None.

    Returns:
        The episode, which ends with the action that reaches success.

    Raises:
        InvalidSeedError: If the seed is out of range.
    """
    settings = settings or DemonstratorSettings()
    simulation = PushTSimulation()
    simulation.reset(seed)
    random = np.random.default_rng(seed)
    planner = PushPlanner(
        num_candidates=settings.num_candidates,
        num_verified=settings.num_verified,
        step_cost=settings.step_cost,
        temperature=settings.temperature,
        travel_speed=float(random.uniform(*settings.travel_speed)),
        push_speed=float(random.uniform(*settings.push_speed)),
        random=random,
    )
    states: list[npt.NDArray[np.float64]] = []
    actions: list[npt.NDArray[np.float64]] = []
    coverages: list[float] = []
    last_target = simulation.state[:2]
    while len(actions) < settings.max_steps:
        plan = planner.plan(
            simulation.state, agent_velocity=simulation.agent_velocity, last_target=last_target
        )
        for target in plan.targets[: settings.max_steps - len(actions)]:
            states.append(simulation.state)
            actions.append(target)
            simulation.step(target)
            coverages.append(simulation.coverage)
            if coverages[-1] > SUCCESS_COVERAGE:
                return Demonstration(seed, np.array(states), np.array(actions), np.array(coverages))
        last_target = actions[-1]
    return Demonstration(seed, np.array(states), np.array(actions), np.array(coverages))
