"""Adding transformed copies of the demonstrations, for tasks with a symmetry."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion_controller.data.errors import EpisodeError

if TYPE_CHECKING:
    from diffusion_controller.data.windows import WindowDataset

Transform = Callable[[NDArray[Any]], NDArray[Any]]
"""Maps values of one name, of shape (steps, ...), to others of the same shape and dtype."""


def with_transformed_copy(
    windows: "WindowDataset", transforms: Mapping[str, Transform]
) -> "WindowDataset":
    """The windows and, after them, the same windows with every value transformed.

    Args:
        windows: On the CPU.
        transforms: One for each observation, by the name that the policy sees, and one for
            `action`. Others are ignored.

    Raises:
        EpisodeError: An observation has no transform.
    """
    missing = sorted({*windows.observations, "action"} - set(transforms))
    if missing:
        raise EpisodeError(
            f"no transform for {', '.join(missing)}; expected one for every observation and for "
            f"action, found {', '.join(sorted(transforms))}. Train without the augmentation"
        )

    def doubled(name: str, values: torch.Tensor) -> torch.Tensor:
        return torch.cat((values, torch.from_numpy(transforms[name](np.asarray(values)))))

    steps = len(windows.actions)
    return replace(
        windows,
        observations={name: doubled(name, values) for name, values in windows.observations.items()},
        actions=doubled("action", windows.actions),
        starts=torch.cat((windows.starts, windows.starts + steps)),
        first_steps=torch.cat((windows.first_steps, windows.first_steps + steps)),
        last_steps=torch.cat((windows.last_steps, windows.last_steps + steps)),
    )
