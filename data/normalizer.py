"""Affine maps between physical units and the range that a network learns in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion_controller.data.errors import ConstantChannelError, NormalizerError

Mode = Literal["min_max", "gaussian", "identity"]
_FORMAT: Final = 1


@dataclass(frozen=True, eq=False)
class AffineChannels:
    """The map of one key: normalized = physical · scale + offset.

    Attributes:
        scale: float32, not zero. Its shape is that of one step of the key, or broadcasts to it.
        offset: float32. Same shape as `scale`.
        mode: How the map was found.
    """

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    mode: Mode

    def __post_init__(self) -> None:
        """Refuses maps that have no inverse."""
        if self.mode not in get_args(Mode):
            raise NormalizerError(f"mode is {self.mode!r}; expected one of {get_args(Mode)}")
        if self.scale.shape != self.offset.shape:
            raise NormalizerError(
                f"scale has shape {self.scale.shape} and offset {self.offset.shape}; "
                "expected equal shapes"
            )
        if not (np.isfinite(self.scale).all() and np.isfinite(self.offset).all()):
            raise NormalizerError("scale or offset is not finite; expected finite numbers")
        if (self.scale == 0).any():
            raise NormalizerError("a scale is 0 and has no inverse; expected another value")


@dataclass(frozen=True, eq=False)
class Normalizer:
    """One affine map per key: min-max to [-1, 1], to zero mean and unit variance, or none.

    Attributes:
        channels: Map by key.
    """

    channels: Mapping[str, AffineChannels]

    @classmethod
    def fit(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        modes: Mapping[str, Mode],
        ranges: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    ) -> "Normalizer":
        """Finds the map of every key in `modes`, channel by channel.

        Args:
            arrays: Recorded values by key. Shape of each (steps, ...). A key with an explicit
                range, or of mode "identity", needs none.
            modes: "min_max", "gaussian" or "identity" by key.
            ranges: Explicit (low, high) in physical units for min-max keys; scalars or of a
                shape that broadcasts to one step.

        Raises:
            ConstantChannelError: A channel has no range.
            NormalizerError: A key is unknown or its values are not finite.
        """
        given = dict(ranges or {})
        unused = sorted(key for key in given if modes.get(key) != "min_max")
        if unused:
            raise NormalizerError(
                f"ranges are given for {unused}, which are not normalized by min_max; "
                f"expected keys among {sorted(k for k, m in modes.items() if m == 'min_max')}"
            )
        channels = {}
        for key, mode in modes.items():
            if mode == "identity":
                channels[key] = _affine(np.ones(()), np.zeros(()), mode)
            elif key in given:
                low, high = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in given[key]))
                channels[key] = _min_max(key, low, high)
            else:
                channels[key] = _fit_channels(key, _finite(key, arrays), mode)
        return cls(channels)

    def normalize(self, name: str, values: ArrayLike) -> NDArray[np.float32]:
        """`values` of key `name`, in physical units, normalized. Shape (..., one step)."""
        affine = self._affine_of(name)
        return np.asarray(np.asarray(values, np.float32) * affine.scale + affine.offset)

    def denormalize(self, name: str, values: ArrayLike) -> NDArray[np.float32]:
        """Normalized `values` of key `name` in physical units. Shape (..., one step)."""
        affine = self._affine_of(name)
        return np.asarray((np.asarray(values, np.float32) - affine.offset) / affine.scale)

    def to_json(self) -> dict[str, Any]:
        """JSON values from which `from_json` makes an equal normalizer, bit by bit."""
        return {
            "format": _FORMAT,
            "channels": {
                name: {
                    "mode": affine.mode,
                    "scale": affine.scale.tolist(),
                    "offset": affine.offset.tolist(),
                }
                for name, affine in self.channels.items()
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Normalizer":
        """The inverse of `to_json`.

        Raises:
            NormalizerError: The content is not that of a normalizer.
        """
        if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
            raise NormalizerError(
                f"the content is no normalizer of format {_FORMAT}; "
                "expected an object with the keys format and channels"
            )
        try:
            return cls(
                {
                    str(name): _affine(
                        np.asarray(entry["scale"]), np.asarray(entry["offset"]), entry["mode"]
                    )
                    for name, entry in content["channels"].items()
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise NormalizerError(
                f"the normalizer is incomplete ({type(error).__name__}: {error}); "
                "expected mode, scale and offset for every key"
            ) from error

    def save(self, path: str | Path) -> None:
        """Writes the normalizer as JSON."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Normalizer":
        """Reads what `save` wrote.

        Raises:
            NormalizerError: The file is missing or is no normalizer.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_json(content)
        except (OSError, ValueError) as error:
            raise NormalizerError(
                f"{path} cannot be read as a normalizer: {error}; "
                "expected the JSON file that Normalizer.save writes"
            ) from error

    def _affine_of(self, name: str) -> AffineChannels:
        if name not in self.channels:
            raise NormalizerError(
                f"the normalizer has no key {name!r}; it has {', '.join(sorted(self.channels))}"
            )
        return self.channels[name]


def _affine(scale: NDArray[Any], offset: NDArray[Any], mode: Mode) -> AffineChannels:
    return AffineChannels(scale.astype(np.float32), offset.astype(np.float32), mode)


def _finite(key: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    if key not in arrays:
        raise NormalizerError(
            f"there are no values of {key!r} to fit; found {', '.join(sorted(arrays))}. "
            "Give its values or its range"
        )
    values = np.asarray(arrays[key], np.float64)
    if values.ndim == 0 or len(values) == 0 or not np.isfinite(values).all():
        raise NormalizerError(
            f"the values of {key!r} have shape {values.shape} and "
            f"{int((~np.isfinite(values)).sum())} are not finite; "
            "expected at least one step and only finite numbers"
        )
    return values


def _fit_channels(key: str, values: NDArray[np.float64], mode: Mode) -> AffineChannels:
    low, high = values.min(axis=0), values.max(axis=0)
    if mode == "min_max":
        return _min_max(key, low, high)
    _refuse_constant(key, low, high)
    deviation = values.std(axis=0)
    return _affine(1 / deviation, -values.mean(axis=0) / deviation, mode)


def _min_max(key: str, low: NDArray[np.float64], high: NDArray[np.float64]) -> AffineChannels:
    _refuse_constant(key, low, high)
    return _affine(2 / (high - low), -(high + low) / (high - low), "min_max")


def _refuse_constant(key: str, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    constant = ~(np.asarray(high - low) > 0)
    if constant.any():
        channels = np.flatnonzero(constant).tolist()
        raise ConstantChannelError(
            f"channels {channels} of {key!r} are constant at {np.asarray(low)[constant].tolist()}; "
            "drop them from the specification or give their range explicitly"
        )
