"""The last observations, as a policy reads them."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ObservationHistory:
    """The last `obs_horizon` observations; before there are as many, the first is repeated."""

    def __init__(self, obs_horizon: int) -> None:
        """Start empty.

        Args:
            obs_horizon: How many observations the policy conditions on.
        """
        self._last: deque[Mapping[str, NDArray[Any]]] = deque(maxlen=obs_horizon)

    def __len__(self) -> int:
        """How many observations are held, the repeated first one included."""
        return len(self._last)

    def clear(self) -> None:
        """Forget everything: a new episode begins."""
        self._last.clear()

    def add(self, observation: Mapping[str, NDArray[Any]]) -> None:
        """Take the newest observation. The arrays are kept, not copied."""
        if not self._last:
            self._last.extend([observation] * ((self._last.maxlen or 1) - 1))
        self._last.append(observation)

    def stacked(self) -> dict[str, NDArray[Any]]:
        """Each observation over time, oldest first. Shape of each (obs_horizon, …)."""
        return {name: np.stack([entry[name] for entry in self._last]) for name in self._last[-1]}
