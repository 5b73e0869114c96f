"""Where the time of a chunk goes, measured from inside a policy while it plans."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion_controller.policy import DiffusionPolicy
from diffusion_controller.runtime.latency import FEWEST_CALLS
from diffusion_controller.runtime.planner import SynchronousPlanner
from diffusion_controller.runtime.timing import Parts


class EngineWithStopwatch:
    """Computes with a policy's engine, part by part, and notes when each part was done.

    On a GPU it waits for each part to be done. An engine that computes the whole chunk in one
    piece is asked for the parts nevertheless.

    Attributes:
        name: Of the engine.
        precision: Of the engine.
        began: When the engine was asked for a chunk, in [s].
        encode_time: Of the encoder, in [s].
        step_times: Of each denoising step, in [s].
        ended: When the chunk was there, in [s].
    """

    def __init__(self, policy: DiffusionPolicy) -> None:
        """Stand in front of the policy's engine."""
        self._policy, self._engine = policy, policy.engine
        self.name, self.precision = self._engine.name, self._engine.precision
        self.began = self.encode_time = self.ended = 0.0
        self.step_times: list[float] = []

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """See `policy.Engine`."""
        began = self._now()
        features = self._engine.encode(observation)
        self.encode_time = self._now() - began
        return features

    def predict(self, chunk: Tensor, modulation: Tensor) -> Tensor:
        """See `policy.Engine`."""
        began = self._now()
        prediction = self._engine.predict(chunk, modulation)
        self.step_times.append(self._now() - began)
        return prediction

    def denoise(self, observation: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """See `policy.Engine`."""
        self.step_times.clear()
        self.began = self._now()
        features = self.encode(observation)
        chunk = self._policy.denoise_features(features, noise, self.predict)
        self.ended = self._now()
        return chunk

    def _now(self) -> float:
        if self._policy.device.type == "cuda":
            torch.cuda.synchronize(self._policy.device)
        return time.monotonic()


def measure_parts(
    policy: DiffusionPolicy,
    observation: Mapping[str, NDArray[Any]],
    *,
    calls: int = 30,
    seconds: float = 5.0,
    rest: float = 0.0,
) -> Parts:
    """Medians of the parts of a chunk, and of whole chunks in between.

    Args:
        policy: Warmed up.
        observation: History to plan from. Shape of each array (obs_horizon, …).
        calls: How many chunks of each kind at most.
        seconds: Begin none after so long, once there are a few.
        rest: Pause before each, in [s].
    """
    planner = SynchronousPlanner(policy, episode_seed=0)
    engine, stopwatch = policy.engine, EngineWithStopwatch(policy)
    copy_in, encode, steps, copy_out, whole = [], [], [], [], []

    def plan(index: int) -> tuple[float, float]:
        time.sleep(rest)
        asked = time.monotonic()
        planner.plan(observation, index=index)
        return asked, time.monotonic()

    end = time.monotonic() + seconds
    for index in range(calls):
        if index >= FEWEST_CALLS and time.monotonic() >= end:
            break
        asked, answered = plan(index)
        whole.append(answered - asked)
        policy.engine = stopwatch
        try:
            asked, answered = plan(index)
        finally:
            policy.engine = engine
        copy_in.append(stopwatch.began - asked)
        encode.append(stopwatch.encode_time)
        steps += stopwatch.step_times
        copy_out.append(answered - stopwatch.ended)
    return Parts(
        copy_in=median(copy_in),
        encode=median(encode),
        denoising_step=median(steps),
        copy_out=median(copy_out),
        whole=median(whole),
        num_inference_steps=policy.num_inference_steps,
    )
