"""Mistakes with data that a caller could handle."""

from diffusion_controller import DiffusionControllerError


class StoreNotFoundError(DiffusionControllerError, FileNotFoundError):
    """There is no replay buffer where one was asked for."""


class StoreExistsError(DiffusionControllerError, FileExistsError):
    """Something already stands where a replay buffer should be created."""


class StoreFormatError(DiffusionControllerError, ValueError):
    """What was found is not a replay buffer, or a damaged one."""


class StoreWriteError(DiffusionControllerError, OSError):
    """The disk, or whatever holds the store, refused a write."""


class MissingChunkError(StoreFormatError):
    """A chunk of an array is not in the store; zarr would silently read it as a constant."""


class ArrayNotFoundError(DiffusionControllerError, LookupError):
    """The store has no array of the name given."""


class EpisodeError(DiffusionControllerError, ValueError):
    """An episode does not fit the store, or an episode index is out of range."""


class ImageRangeError(DiffusionControllerError, ValueError):
    """Float images whose values are not whole numbers between 0 and 255."""


class TransformError(DiffusionControllerError, ValueError):
    """A transform of an observation or action is missing, or not of the kind that was expected."""


class NotEnoughEpisodesError(DiffusionControllerError, ValueError):
    """More episodes were asked for than there are."""


class HorizonError(DiffusionControllerError, ValueError):
    """horizon, obs_horizon and action_horizon do not fit together or the episodes."""


class ConstantChannelError(DiffusionControllerError, ValueError):
    """A channel never changes, so no range can be found for it."""


class NormalizerError(DiffusionControllerError, ValueError):
    """A normalizer cannot be fitted, applied or read from what was given."""


class DownloadError(DiffusionControllerError, OSError):
    """A file could not be fetched."""


class ChecksumError(DiffusionControllerError, ValueError):
    """A file or its content is not what was expected."""
