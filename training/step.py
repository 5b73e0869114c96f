"""One optimizer step, queued on the device without waiting for it."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from diffusion_controller.data import WindowDataset

from .batches import BatchReader
from .data_order import DataOrder, draw_augmentation, draw_training_noise
from .precision import autocast
from .replay import ReplayedStep
from .settings import TrainingSettings, TrainingSettingsError
from .state import TrainState
from .step_inputs import StepInputs, send


class OptimizerStep:
    """The next optimizer step of a training: batch, loss, gradients, weights, average.

    Nothing here waits for a GPU. What a step depends on is drawn on the host, as a function of
    (seed, step), and copied from pinned memory; rates are arguments of kernels or are filled in on
    the device; the loss stays there until a line of metrics asks for it. The host is therefore
    ahead of the GPU, preparing the next steps while this one runs.

    Attributes:
        compute: From inputs to the loss: `learn`, or its replay as a CUDA graph.
    """

    def __init__(
        self,
        state: TrainState,
        settings: TrainingSettings,
        *,
        batches: BatchReader,
        accelerator: Accelerator,
    ) -> None:
        """Prepare the steps after `state.step`.

        Args:
            state: What a step changes.
            settings: How it changes it.
            batches: Of this process, step by step.
            accelerator: Of this process, which computes its share of each batch.

        Raises:
            TrainingSettingsError: If the processes cannot share a batch evenly, or a CUDA graph
                is asked for where there is none.
        """
        self._state, self._settings, self._batches = state, settings, batches
        self._accelerator = accelerator
        self._share = share_of_batch(settings.batch_size, accelerator)
        self._device = state.policy.device
        if settings.compile:
            state.policy.network.compile()  # type: ignore[attr-defined]
        self._loss_of = accelerator.prepare_model(state.policy, device_placement=False)
        self.compute: Callable[[StepInputs], Tensor] = self.learn
        if settings.cuda_graph:
            _check_graph(self._device, accelerator)
            self.compute = ReplayedStep(self.learn, self._device)

    def __call__(self) -> None:
        """Take the step; `state` is then as after it, once the device is done."""
        state, step = self._state, self._state.step
        state.set_learning_rate(self._settings.learning_rate_at(step))
        state.loss_sum += self.compute(self.inputs(step))
        state.ema.update(state.policy)  # once per optimizer step: the decay counts updates
        state.step = step + 1

    def inputs(self, step: int) -> StepInputs:
        """This process's share of what a step is a function of."""
        policy, settings = self._state.policy, self._settings
        shape = (settings.batch_size, policy.horizon, policy.action_dim)
        noise, timestep = draw_training_noise(settings.seed, step, shape, len(policy.schedule))
        numbers = (settings.batch_size, policy.augmentation_dim)
        augmentation = draw_augmentation(settings.seed, step, numbers)
        return StepInputs(
            batch=self._batches.batch(step),
            noise=send(noise[self._share], self._device),
            timestep=send(timestep[self._share], self._device),
            augmentation=send(augmentation[self._share], self._device),
        )

    def learn(self, inputs: StepInputs) -> Tensor:
        """Loss and gradients, and with them new weights; gives the loss."""
        policy, optimizer = self._state.policy, self._state.optimizer
        with autocast(self._settings.precision, self._device):
            loss: Tensor = self._loss_of(inputs.batch, noise=inputs.noise, timestep=inputs.timestep)
        self._accelerator.backward(loss)
        nn.utils.clip_grad_norm_(policy.parameters(), self._settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def batch_indices(
    order: DataOrder, windows: WindowDataset, accelerator: Accelerator
) -> Callable[[int], Tensor]:
    """Which windows this process sees in a step, on the device where it gathers them."""
    share = share_of_batch(order.batch_size, accelerator)
    place = windows.device if windows.is_on_device else torch.device("cpu")
    return lambda step: send(order.indices(step)[share], place)


def share_of_batch(batch_size: int, accelerator: Accelerator) -> slice:
    """Part of each batch that this process computes.

    Raises:
        TrainingSettingsError: If the processes cannot share a batch evenly.
    """
    processes = accelerator.num_processes
    if batch_size % processes:
        raise TrainingSettingsError(
            f"batch_size is {batch_size}, which {processes} processes cannot share "
            f"evenly; choose a multiple of {processes}"
        )
    size = batch_size // processes
    return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)


def _check_graph(device: torch.device, accelerator: Accelerator) -> None:
    if device.type != "cuda" or accelerator.num_processes > 1:
        raise TrainingSettingsError(
            f"cuda_graph is true with {accelerator.num_processes} process(es) on "
            f"{str(device)!r}; it needs one process on a CUDA device; set it to false"
        )
