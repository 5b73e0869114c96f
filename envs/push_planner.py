"""Finds the next push of the demonstrator by rolling the simulation forward."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from diffusion_controller.envs.push import Push, sample_pushes, targets_of_push
from diffusion_controller.envs.pusht import (
    AGENT_RADIUS,
    FIELD_SIZE,
    SUCCESS_COVERAGE,
    PushTSimulation,
)
from diffusion_controller.envs.tee import CENTER_OF_GRAVITY, GOAL_POSE, OUTLINE, block_to_world
from diffusion_controller.envs.travel import Points, distance_to_block, is_inside_block

_SUCCESS_BONUS: Final = 100.0
_LOST: Final = 15.0  # a push is given up when the gap grows so much beyond its best [px]
_MEAN_X: Final = sum(x for x, _ in OUTLINE) / len(OUTLINE)
_MEAN_Y: Final = sum(y for _, y in OUTLINE) / len(OUTLINE)
_MEAN_SQUARE: Final = sum(x * x + y * y for x, y in OUTLINE) / len(OUTLINE)


@dataclass(frozen=True)
class Plan:
    """Actions that carry out one push.

    Attributes:
        targets: In [px]. Shape (steps, 2).
        cost: Gap that remains plus what the actions cost, in [px].
    """

    targets: Points
    cost: float


def gap_to_goal(x: float, y: float, angle: float) -> float:
    """Root mean square distance of the T's eight corners from where they belong in [px]."""
    dx, dy = x - GOAL_POSE[0], y - GOAL_POSE[1]
    cos = math.cos(angle) - math.cos(GOAL_POSE[2])
    sin = math.sin(angle) - math.sin(GOAL_POSE[2])
    cross = dx * (cos * _MEAN_X - sin * _MEAN_Y) + dy * (sin * _MEAN_X + cos * _MEAN_Y)
    square = dx * dx + dy * dy + 2 * cross + (cos * cos + sin * sin) * _MEAN_SQUARE
    return math.sqrt(max(0.0, square))


def _overlaps_block(state: npt.NDArray[np.float64]) -> bool:
    """Whether agent and block share more than a touch, as a reset may leave them."""
    if is_inside_block(state[:2], state[2:]):
        return True
    return bool(distance_to_block(state[None, :2], state[2:])[0] < AGENT_RADIUS - 1.0)


class PushPlanner:
    """Plans one push at a time: samples pushes, simulates them, keeps a good one.

    Every sampled push is first simulated from its own beginning, which also tells how far to
    push. The most promising are then simulated as they would happen, with the way there. Among
    these one is drawn by cost: the lower the temperature, the surer the best is taken.
    """

    def __init__(
        self,
        *,
        num_candidates: int,
        num_verified: int,
        step_cost: float,
        temperature: float,
        travel_speed: float,
        push_speed: float,
        random: np.random.Generator,
    ) -> None:
        """Remember the settings.

        Args:
            num_candidates: Pushes sampled per plan.
            num_verified: Pushes simulated with the way there.
            step_cost: What one action costs in [px] of gap.
            temperature: Of the draw in [px] of cost, positive.
            travel_speed: Of the target between pushes in [px] per action.
            push_speed: Of the target in a push in [px] per action.
            random: Source of all draws.
        """
        self._num_candidates = num_candidates
        self._num_verified = num_verified
        self._step_cost = step_cost
        self._temperature = temperature
        self._travel_speed = travel_speed
        self._push_speed = push_speed
        self._random = random
        self._simulation = PushTSimulation()

    def plan(
        self,
        state: npt.NDArray[np.float64],
        *,
        agent_velocity: tuple[float, float],
        last_target: Points,
    ) -> Plan:
        """The next push.

        Args:
            state: (agent x, agent y, block x, block y, block angle).
            agent_velocity: In [px/s].
            last_target: The action before this plan. Shape (2,).

        Returns:
            A plan that brings the block nearer to its goal; where none of many samples does, one
            that loses little; where the agent is stuck, one that frees it.
        """
        if _overlaps_block(state):
            return self._breaking_free(state, last_target)
        gap = gap_to_goal(*state[2:].tolist())
        for effort, allowed_gap in ((1, gap - 0.1), (3, gap - 0.1), (3, gap + 2 * _LOST)):
            pushes = self._promising(state[2:], effort=effort, allowed_gap=allowed_gap)
            tweaks = (0.0,) if gap > 25.0 else (0.0, -2.0, -1.0, 1.0, 2.0)
            plans = [
                self._verified(targets, state, agent_velocity)
                for push in pushes[: self._num_verified]
                for targets in self._variants(push, tweaks, state, agent_velocity, last_target)
            ]
            if plans:
                return self._draw(plans)
        return self._breaking_free(state, last_target)

    def _promising(
        self, pose: npt.NDArray[np.float64], *, effort: int, allowed_gap: float
    ) -> list[Push]:
        """Sampled pushes that leave less than the allowed gap, best first."""
        sampled = sample_pushes(
            pose, count=effort * self._num_candidates, speed=self._push_speed, random=self._random
        )
        judged = [self._with_best_length(push, pose) for push in sampled]
        kept = [(cost, push) for cost, gap, push in judged if gap < allowed_gap]
        return [push for _, push in sorted(kept, key=lambda entry: entry[0])]

    def _with_best_length(
        self, push: Push, pose: npt.NDArray[np.float64]
    ) -> tuple[float, float, Push]:
        """Cost, gap that remains, and the push stopped where its cost is least."""
        simulation, (x, y) = self._simulation, push.start
        simulation.set_state((x, y, *pose.tolist()))
        longest = 40.0 + 1.5 * gap_to_goal(*pose.tolist())
        best_cost, best_gap, best_length = math.inf, math.inf, 0.0
        for step in range(1, math.ceil(longest / push.speed) + 1):
            simulation.follow(*push.point(step * push.speed))
            agent_x, agent_y, *block = simulation.state.tolist()
            gap = gap_to_goal(*block)
            cost = gap + self._step_cost * step
            if cost < best_cost:
                best_cost, best_gap = cost, gap
                best_length = math.hypot(agent_x - x, agent_y - y)
            elif gap > best_gap + _LOST:
                break
        return best_cost, best_gap, replace(push, length=best_length)

    def _variants(
        self,
        push: Push,
        tweaks: Iterable[float],
        state: npt.NDArray[np.float64],
        agent_velocity: tuple[float, float],
        last_target: Points,
    ) -> Iterable[Points]:
        """Actions of the push, a little shorter and longer."""
        for tweak in tweaks:
            targets = targets_of_push(
                replace(push, length=max(1.0, push.length + tweak)),
                state=state,
                agent_velocity=agent_velocity,
                last_target=last_target,
                travel_speed=self._travel_speed,
            )
            if targets is None:
                return
            yield targets

    def _verified(
        self,
        targets: Points,
        state: npt.NDArray[np.float64],
        agent_velocity: tuple[float, float],
    ) -> Plan:
        """What the actions really cost from here."""
        simulation = self._simulation
        simulation.set_state(state, agent_velocity=agent_velocity)
        for step, (x, y) in enumerate(targets.tolist(), start=1):
            simulation.follow(x, y)
            if simulation.coverage > SUCCESS_COVERAGE:
                return Plan(targets[:step], self._step_cost * step - _SUCCESS_BONUS)
        gap = gap_to_goal(*simulation.state[2:].tolist())
        return Plan(targets, gap + self._step_cost * len(targets))

    def _breaking_free(self, state: npt.NDArray[np.float64], last_target: Points) -> Plan:
        """Some steps away from the block, whatever they do to it."""
        center = block_to_world([CENTER_OF_GRAVITY], state[2:])[0]
        away = state[:2] - center
        heading = math.atan2(away[1], away[0]) + self._random.normal(0.0, 0.3)
        direction = np.array([math.cos(heading), math.sin(heading)])
        steps = np.arange(1, 6)[:, None]
        targets = np.clip(last_target + 0.7 * self._travel_speed * steps * direction, 0, FIELD_SIZE)
        return Plan(targets, math.inf)

    def _draw(self, plans: list[Plan]) -> Plan:
        costs = np.array([plan.cost for plan in plans])
        weights = np.exp((costs.min() - costs) / self._temperature)
        return plans[int(self._random.choice(len(plans), p=weights / weights.sum()))]
