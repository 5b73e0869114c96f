"""Demonstrations: episodes in zarr, training windows, splits and normalization."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diffusion_controller.data.errors import (
    ArrayNotFoundError,
    ChecksumError,
    ConstantChannelError,
    DownloadError,
    EpisodeError,
    HorizonError,
    ImageRangeError,
    MissingChunkError,
    NormalizerError,
    NotEnoughEpisodesError,
    StoreExistsError,
    StoreFormatError,
    StoreNotFoundError,
    StoreWriteError,
    TransformError,
)
from diffusion_controller.data.memory import available_memory
from diffusion_controller.data.normalizer import AffineChannels, Mode, Normalizer
from diffusion_controller.data.split import EpisodeSplit, split_episodes

if TYPE_CHECKING:
    from diffusion_controller.data.convert import convert_buffer
    from diffusion_controller.data.defects import Defect
    from diffusion_controller.data.download import PUBLISHED, content_digest, download_dataset
    from diffusion_controller.data.inspect import (
        BufferSummary,
        draw_episodes,
        format_summary,
        summarize,
    )
    from diffusion_controller.data.layout import ArraySpec
    from diffusion_controller.data.replay_buffer import ReplayBuffer
    from diffusion_controller.data.validate import validate_buffer
    from diffusion_controller.data.window_loading import (
        ArrayField,
        check_horizons,
        image_arrays,
        load_windows,
    )
    from diffusion_controller.data.windows import WindowBatch, WindowDataset

__all__ = [
    "EMBEDDED_DEMONSTRATIONS",
    "PUBLISHED",
    "AffineChannels",
    "ArrayField",
    "ArrayNotFoundError",
    "ArraySpec",
    "BufferSummary",
    "ChecksumError",
    "ConstantChannelError",
    "Defect",
    "DownloadError",
    "EpisodeError",
    "EpisodeSplit",
    "HorizonError",
    "ImageRangeError",
    "MissingChunkError",
    "Mode",
    "Normalizer",
    "NormalizerError",
    "NotEnoughEpisodesError",
    "ReplayBuffer",
    "StoreExistsError",
    "StoreFormatError",
    "StoreNotFoundError",
    "StoreWriteError",
    "TransformError",
    "WindowBatch",
    "WindowDataset",
    "available_memory",
    "check_horizons",
    "content_digest",
    "convert_buffer",
    "download_dataset",
    "draw_episodes",
    "format_summary",
    "image_arrays",
    "load_windows",
    "split_episodes",
    "summarize",
    "validate_buffer",
]

EMBEDDED_DEMONSTRATIONS: Final = Path(__file__).parent / "embedded" / "pusht_scripted.zarr.zip"
"""200 scripted episodes of Push-T that come with the package; see `data/embedded/README.md`."""

# zarr takes half a second to import and torch two: only who needs them pays.
_LATE = {
    "convert_buffer": "convert",
    "Defect": "defects",
    "PUBLISHED": "download",
    "content_digest": "download",
    "download_dataset": "download",
    "BufferSummary": "inspect",
    "draw_episodes": "inspect",
    "format_summary": "inspect",
    "summarize": "inspect",
    "validate_buffer": "validate",
    "ArraySpec": "layout",
    "ReplayBuffer": "replay_buffer",
    "ArrayField": "window_loading",
    "check_horizons": "window_loading",
    "image_arrays": "window_loading",
    "load_windows": "window_loading",
    "WindowBatch": "windows",
    "WindowDataset": "windows",
}


def __getattr__(name: str) -> Any:
    """Imports what needs zarr or torch at its first use."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
