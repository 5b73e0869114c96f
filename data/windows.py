"""Training windows: short pieces of episodes, gathered without Python per sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from diffusion_controller.data.errors import TransformError
from diffusion_controller.data.images import Images, RearrangedCopy, Transform


@dataclass(frozen=True)
class WindowBatch:
    """Several windows.

    Attributes:
        observation: Per name, the first `obs_horizon` steps. Shape (batch, obs_horizon, ...).
        action: Shape (batch, horizon, action_dim).
    """

    observation: dict[str, Tensor]
    action: Tensor

    def to(self, device: torch.device) -> "WindowBatch":
        """The same on a device; from pinned memory, the host does not wait for the copies."""
        return WindowBatch(
            {name: v.to(device, non_blocking=True) for name, v in self.observation.items()},
            self.action.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "WindowBatch":
        """The same in memory of the host that a GPU can copy from by itself."""
        return WindowBatch(
            {name: values.pin_memory() for name, values in self.observation.items()},
            self.action.pin_memory(),
        )


@dataclass(frozen=True, eq=False)
class WindowDataset:
    """All windows of some episodes, over arrays that lie whole on one device, and images.

    A window may begin up to `obs_horizon - 1` steps before its episode and end up to
    `action_horizon - 1` steps after it; there the first or last step is repeated, as in the
    published implementation of Chi et al. (2023).

    Attributes:
        observations: By the name that the policy sees; float32. Shape of each (steps, ...).
        actions: float32. Shape (steps, action_dim).
        starts: First step of each window, before repetition. Shape (windows,).
        first_steps: First step of the episode of each window. Shape (windows,).
        last_steps: Last step of the episode of each window. Shape (windows,).
        horizon: Steps of actions in a window.
        obs_horizon: Steps of observations in a window.
        images: Observations that are images, likewise by name.
        device: Where batches are wanted, which is where the data lies if it can.
    """

    observations: dict[str, Tensor]
    actions: Tensor
    starts: Tensor
    first_steps: Tensor
    last_steps: Tensor
    horizon: int
    obs_horizon: int
    images: Mapping[str, Images] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.starts)

    @property
    def is_on_device(self) -> bool:
        """Whether all data is in memory where batches are wanted; otherwise, gather ahead."""
        return self.actions.device == self.device and not self._has_stored_images

    def gather(self, indices: Tensor) -> WindowBatch:
        """The windows `indices`, of shape (batch,), on `device`."""
        batch = self.gather_in_place(indices)
        return batch if self.is_on_device else batch.to(self.device)

    def gather_in_place(self, indices: Tensor) -> WindowBatch:
        """The windows `indices`, of shape (batch,), on the device where the data is."""
        indices = indices.to(self.starts.device)
        steps = self.starts[indices, None] + torch.arange(self.horizon, device=self.starts.device)
        first, last = self.first_steps[indices, None], self.last_steps[indices, None]
        steps = torch.minimum(torch.maximum(steps, first), last)  # (batch, horizon)
        observed = steps[:, : self.obs_horizon]
        return WindowBatch(
            observation={
                name: _take(values, observed) for name, values in self.observations.items()
            }
            | {name: images.take(observed) for name, images in self.images.items()},
            action=_take(self.actions, steps),
        )

    def with_transformed_copy(self, transforms: Mapping[str, Transform]) -> "WindowDataset":
        """These windows and, after them, the same with every value transformed.

        For tasks with a symmetry. The data must be on the CPU. Images are not doubled: what a
        transform does to their pixels is found out here and done when a window is gathered.

        Args:
            transforms: One for each observation, by the name that the policy sees, and one for
                `action`. Others are ignored.

        Raises:
            TransformError: An observation has no transform, or that of images does more than to
                move pixels.
        """
        missing = sorted({*self.observations, *self.images, "action"} - set(transforms))
        if missing:
            raise TransformError(
                f"no transform for {', '.join(missing)}; expected one for every observation and "
                f"for action, found {', '.join(sorted(transforms))}. Train without it"
            )

        steps = len(self.actions)
        return replace(
            self,
            observations={
                name: _with_copy(values, transforms[name])
                for name, values in self.observations.items()
            },
            images={
                name: RearrangedCopy.by(images, transforms[name], name=name)
                for name, images in self.images.items()
            },
            actions=_with_copy(self.actions, transforms["action"]),
            starts=torch.cat((self.starts, self.starts + steps)),
            first_steps=torch.cat((self.first_steps, self.first_steps + steps)),
            last_steps=torch.cat((self.last_steps, self.last_steps + steps)),
        )

    def to(self, device: torch.device | str) -> "WindowDataset":
        """The same windows for another device.

        The data goes there, but for images in a store, and data that would fill more than half
        of a GPU's free memory: from these, batches go there.
        """
        device = torch.device(device)
        if self._has_stored_images or not self._fits(device):
            return replace(self, device=device)
        return replace(
            self,
            observations={name: values.to(device) for name, values in self.observations.items()},
            images={name: images.to(device) for name, images in self.images.items()},
            actions=self.actions.to(device),
            starts=self.starts.to(device),
            first_steps=self.first_steps.to(device),
            last_steps=self.last_steps.to(device),
            device=device,
        )

    @property
    def _has_stored_images(self) -> bool:
        return any(images.is_stored for images in self.images.values())

    def _fits(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return True
        free_bytes, _ = torch.cuda.mem_get_info(device)
        needed_bytes = sum(images.nbytes for images in self.images.values())
        return 2 * needed_bytes <= free_bytes


def _with_copy(values: Tensor, transform: Transform) -> Tensor:
    """Values and, after them, the same transformed."""
    return torch.cat((values, torch.from_numpy(transform(values.numpy()))))


def _take(values: Tensor, steps: Tensor) -> Tensor:
    taken = values.index_select(0, steps.reshape(-1))
    return taken.view(*steps.shape, *values.shape[1:])
