"""The policy: from a history of observations to a chunk of actions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from diffusion_controller import DiffusionControllerError

from .encoders import Encoder, augmentation_dim_of
from .engines import Denoiser, Engine, Precision, make_engine
from .noise_schedule import NoiseSchedule
from .normalization import Normalization
from .observation_check import ObservationError, checked_observation
from .samplers import SAMPLERS, samplers_for
from .shapes import ActionChunk, Draws, Features, Modulation, NoiseDraws, Timesteps

if TYPE_CHECKING:
    from diffusion_controller.data import Normalizer, WindowBatch

Conditioning = Literal["film", "inpainting"]


class PolicyConfigError(DiffusionControllerError, ValueError):
    """The parts of a policy do not fit together."""


class Network(Protocol):
    """What `DiffusionPolicy` needs of a denoising network; implementations are `nn.Module`s."""

    action_dim: int
    condition_dim: int

    def modulate(self, timestep: Timesteps, condition: Tensor | None) -> Modulation:
        """What timestep and condition contribute, whatever the noisy chunk."""

    def __call__(self, chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        """Predict the schedule's target from a noisy chunk."""


class DiffusionPolicy(nn.Module):
    """Denoises action chunks conditioned on observations: Chi et al. (2023), *Diffusion Policy*.

    The observations of the last `obs_horizon` control periods condition the denoising of
    `horizon` actions; the first of these belongs to the oldest observation. The
    `action_horizon` actions from the present on are executed before planning again.

    Attributes:
        horizon: Actions predicted in a chunk.
        obs_horizon: Observations conditioned on.
        action_horizon: Actions executed before replanning.
        action_dim: Numbers in one action.
        observation_shapes: Name and shape of each observation that the policy reads.
        augmentation_dim: Uniform numbers per sample that decide how `loss` augments; 0 for none.
        sampler: Name of the sampler; may be changed at any time.
        num_inference_steps: Denoising steps per chunk; may be changed at any time.
        timesteps: Noise levels that the sampler visits, strictly decreasing.
        engine: What computes chunks; may be changed at any time.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        network: nn.Module,
        noise_scheduler: Any,
        normalizer: "Normalizer",
        horizon: int = 16,
        obs_horizon: int = 2,
        action_horizon: int = 8,
        conditioning: Conditioning = "film",
        sampler: str = "ddim",
        num_inference_steps: int = 10,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Makes features of normalized observations; see `Encoder`.
            network: Predicts the noise; see `Network`.
            noise_scheduler: diffusers scheduler whose process the network is trained with.
            normalizer: Physical units to [−1, 1], for every observation and for `action`.
            horizon: Actions predicted in a chunk.
            obs_horizon: Observations conditioned on.
            action_horizon: Actions executed before replanning.
            conditioning: `film`: the features of all observations modulate the network.
                `inpainting`: they fill channels beside the actions, held fixed at every
                denoising step (Janner et al. 2022).
            sampler: One of `SAMPLERS`.
            num_inference_steps: Denoising steps per chunk.

        Raises:
            PolicyConfigError: If the parts do not fit together.
        """
        super().__init__()
        self._encoder, self._network = encoder, network
        self.normalization = Normalization(normalizer)
        self.noise_scheduler = noise_scheduler
        self.schedule = NoiseSchedule.from_scheduler(noise_scheduler)
        self._schedules: dict[torch.device, NoiseSchedule] = {}
        self.horizon, self.obs_horizon, self.action_horizon = horizon, obs_horizon, action_horizon
        self.conditioning = conditioning
        self.observation_shapes = dict(self.encoder.observation_shapes)
        self.augmentation_dim = augmentation_dim_of(encoder)
        self._check_horizons()
        self._check_names()
        self.action_dim = int(np.prod(normalizer.channels["action"].scale.shape))
        self._check_sizes()
        self.set_sampler(sampler, num_inference_steps)
        self.set_engine("eager")

    @property
    def encoder(self) -> Encoder:
        """Makes features of normalized observations."""
        return self._encoder  # type: ignore[return-value]

    @property
    def network(self) -> Network:
        """Predicts the schedule's target from a noisy chunk."""
        return self._network  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the policy computes."""
        return next(self.parameters()).device

    def set_sampler(self, sampler: str, num_inference_steps: int) -> None:
        """Choose how chunks are denoised.

        Raises:
            PolicyConfigError: If there is no such sampler for the policy's noise schedule.
            NoiseScheduleError: If the schedule does not have that many timesteps.
        """
        if sampler not in samplers_for(self.schedule):
            raise PolicyConfigError(
                f"sampler is {sampler!r}; for a {self.schedule.process} schedule expected one of "
                f"{', '.join(samplers_for(self.schedule))}"
            )
        self.timesteps = SAMPLERS[sampler].timesteps(len(self.schedule), num_inference_steps)
        self.sampler, self.num_inference_steps = sampler, num_inference_steps
        self._levels: dict[torch.device, Timesteps] = {}

    def set_engine(self, engine: str, precision: Precision = "fp32") -> None:
        """Choose what computes chunks: see `engines.ENGINES`.

        An engine takes the weights as they are now, on the device where they are now.

        Raises:
            EngineError: If there is no such engine or precision, or not on this device.
        """
        self.engine: Engine = make_engine(engine, self, precision)

    def loss(
        self,
        batch: "WindowBatch",
        *,
        noise: ActionChunk,
        timestep: Timesteps,
        augmentation: Draws | None = None,
    ) -> Tensor:
        """Mean squared error of the network's prediction: Ho et al. (2020), eq. 14.

        All randomness is an argument, so that a training step is a function of its inputs.

        Args:
            batch: Observations and actions in physical units; images as uint8.
            noise: Standard normal, shaped as `batch.action`.
            timestep: Uniform in [0, num_train_timesteps).
            augmentation: Uniform in [0, 1). Shape (batch, augmentation_dim). Without it the
                observations are encoded as in use.

        Returns:
            Scalar.
        """
        clean = self.normalization.normalize("action", batch.action)
        features = self.encode(batch.observation, augmentation)
        schedule = self._schedule_on(clean.device)
        noisy = schedule.add_noise(clean, noise, timestep)
        target = schedule.target(clean, noise, timestep)
        modulation = self._modulate(timestep, features)
        prediction = self._predict(noisy, modulation, features, self.network)
        return nn.functional.mse_loss(prediction, target)

    def forward(
        self,
        batch: "WindowBatch",
        *,
        noise: ActionChunk,
        timestep: Timesteps,
        augmentation: Draws | None = None,
    ) -> Tensor:
        """The loss: what data-parallel training differentiates."""
        return self.loss(batch, noise=noise, timestep=timestep, augmentation=augmentation)

    @torch.inference_mode()
    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> ActionChunk:
        """Plan the next actions.

        Args:
            observation: For each name in `observation_shapes` an array or tensor in physical
                units, images as uint8. Shape (batch, obs_horizon, …), oldest first.
            seeds: One integer per element of the batch, which decides all of its randomness;
                drawn from the operating system if not given.

        Returns:
            Actions in physical units, to be executed from now on. Shape
            (batch, action_horizon, action_dim).

        Raises:
            ObservationError: If an observation is missing, or not as the policy was trained on.
        """
        tensors = checked_observation(
            observation, self.observation_shapes, obs_horizon=self.obs_horizon, device=self.device
        )
        batch = next(iter(tensors.values())).shape[0]
        if seeds is None:
            seeds = np.random.SeedSequence().generate_state(batch).tolist()
        if len(seeds) != batch:
            raise ObservationError(f"{len(seeds)} seeds for a batch of {batch}; give one for each")
        draws = SAMPLERS[self.sampler].num_draws(self.num_inference_steps)
        noise = draw_noise(seeds, (draws, self.horizon, self.action_dim)).to(self.device)
        chunk = self.denoise(tensors, noise)
        first = self.obs_horizon - 1
        return chunk[:, first : first + self.action_horizon]

    def denoise(self, observation: Mapping[str, Tensor], noise: NoiseDraws) -> ActionChunk:
        """Denoise a whole chunk from given noise, by the engine.

        Args:
            observation: In physical units, on the policy's device.
            noise: Draws as the sampler takes them.

        Returns:
            All `horizon` actions in physical units.
        """
        return self.engine.denoise(observation, noise)

    def denoise_features(
        self, features: Features, noise: NoiseDraws, network: Denoiser
    ) -> ActionChunk:
        """Denoise a whole chunk from given noise.

        What the timesteps and the observations contribute is computed once, before the first
        denoising step.

        Args:
            features: Of the observations, as `encode` gives them.
            noise: Draws as the sampler takes them.
            network: The policy's, or an engine's equal of it.

        Returns:
            All `horizon` actions in physical units.
        """
        batch, steps = len(features), len(self.timesteps)
        levels = self._levels_on(features.device).repeat_interleave(batch)
        modulations = self._modulate(levels, features.repeat(steps, 1, 1)).view(steps, batch, -1)
        place = {timestep: step for step, timestep in enumerate(self.timesteps)}

        def predict(noisy: ActionChunk, timestep: int) -> ActionChunk:
            return self._predict(noisy, modulations[place[timestep]], features, network)

        sample = SAMPLERS[self.sampler].sample
        chunk = sample(predict, noise, self.schedule, self.timesteps)
        return self.normalization.denormalize("action", chunk)

    def _schedule_on(self, device: torch.device) -> NoiseSchedule:
        """The schedule on a device, copied there once: a GPU is waited for at every copy."""
        if device not in self._schedules:
            self._schedules[device] = self.schedule.to(device)
        return self._schedules[device]

    def _levels_on(self, device: torch.device) -> Timesteps:
        """The sampler's timesteps on a device, copied there once."""
        if device not in self._levels:
            self._levels[device] = torch.tensor(self.timesteps, device=device)
        return self._levels[device]

    def encode(
        self, observation: Mapping[str, Tensor], augmentation: Draws | None = None
    ) -> Features:
        """Features of observations in physical units. Shape of each (batch, obs_horizon, …)."""
        normalized = {
            name: self.normalization.normalize(name, observation[name])
            for name in self.observation_shapes
        }
        if augmentation is None or self.augmentation_dim == 0:
            return self.encoder(normalized)
        return self.encoder(normalized, augmentation)

    def _modulate(self, timestep: Timesteps, features: Features) -> Modulation:
        film = self.conditioning == "film"
        return self.network.modulate(timestep, features.flatten(1) if film else None)

    def _predict(
        self, noisy: ActionChunk, modulation: Modulation, features: Features, network: Denoiser
    ) -> ActionChunk:
        if self.conditioning == "film":
            return network(noisy, modulation)
        unknown = self.horizon - self.obs_horizon  # steps without an observation hold zeros
        known = nn.functional.pad(features, (0, 0, 0, unknown))
        filled = torch.cat((noisy, known), dim=-1)
        return network(filled, modulation)[..., : self.action_dim]

    def _check_horizons(self) -> None:
        if min(self.horizon, self.obs_horizon, self.action_horizon) < 1:
            raise PolicyConfigError(
                f"horizon {self.horizon}, obs_horizon {self.obs_horizon} and action_horizon "
                f"{self.action_horizon} must all be at least 1"
            )
        if self.obs_horizon - 1 + self.action_horizon > self.horizon:
            raise PolicyConfigError(
                f"obs_horizon {self.obs_horizon} − 1 + action_horizon {self.action_horizon} is "
                f"more than horizon {self.horizon}; lower action_horizon to "
                f"{self.horizon - self.obs_horizon + 1} or raise horizon"
            )

    def _check_names(self) -> None:
        wanted = {*self.observation_shapes, "action"}
        missing = sorted(wanted - set(self.normalization.names))
        if missing:
            raise PolicyConfigError(
                f"the normalizer knows {', '.join(self.normalization.names)}; "
                f"{', '.join(missing)} missing; fit it on every observation and on action"
            )

    def _check_sizes(self) -> None:
        if self.conditioning not in get_args(Conditioning):
            raise PolicyConfigError(
                f"conditioning is {self.conditioning!r}; expected one of "
                f"{', '.join(get_args(Conditioning))}"
            )
        features = self.encoder.feature_dim
        film = self.conditioning == "film"
        action_dim = self.action_dim if film else self.action_dim + features
        condition_dim = self.obs_horizon * features if film else 0
        found = (self.network.action_dim, self.network.condition_dim)
        if found != (action_dim, condition_dim):
            raise PolicyConfigError(
                f"network has action_dim {found[0]} and condition_dim {found[1]}; "
                f"{self.conditioning} conditioning with {features} features of each of "
                f"{self.obs_horizon} observations needs action_dim {action_dim} and "
                f"condition_dim {condition_dim}"
            )


def draw_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> NoiseDraws:
    """Standard normal noise, each element of the batch from a generator of its own.

    Args:
        seeds: One per element of the batch.
        shape: Draws, horizon and action_dim.

    Returns:
        Noise on the CPU, the same on every machine for the same seeds.
    """
    generator = torch.Generator()
    draws = [torch.randn(shape, generator=generator.manual_seed(seed)) for seed in seeds]
    return torch.stack(draws, dim=1)
