"""Recorded episodes in zarr, in the layout of the published diffusion policy data sets."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.abc.store import Store

from diffusion_controller.data.appending import check_episode, commit_end
from diffusion_controller.data.errors import (
    ArrayNotFoundError,
    EpisodeError,
    MissingChunkError,
    StoreExistsError,
    StoreFormatError,
    StoreWriteError,
)
from diffusion_controller.data.layout import (
    EPISODE_ENDS,
    ArraySpec,
    cast_exactly,
    create_array,
    missing_chunks,
    pieces,
    read_ends,
    read_members,
    read_scattered,
)
from diffusion_controller.data.stores import (
    DurableStore,
    local_path,
    open_group,
    remove_unfinished_files,
)

SEEDS = "seeds"


class ReplayBuffer:
    """Episodes in zarr: `data/<name>` arrays of equal first dimension, and `meta/episode_ends`.

    `meta/episode_ends[i]` is the step after the last one of episode i. What lies behind the last
    end belongs to an episode that was never finished, and is not part of the buffer.

    Attributes:
        arrays: Arrays under `data/` by name. Shape of each (at least num_steps, ...).
        episode_ends: Strictly increasing. Shape (num_episodes,).
    """

    def __init__(self, group: zarr.Group, *, name: str) -> None:
        """Wraps a zarr group; use `open`, `create` or `append_to`."""
        self._group = group
        self._name = name
        self.arrays, self._ends_array = read_members(group, name)
        self.episode_ends: NDArray[np.int64] = read_ends(self._ends_array, name)
        self._missing: dict[str, list[tuple[int, int]]] = {}
        for key, array in self.arrays.items():
            if array.ndim == 0 or array.shape[0] < self.num_steps:
                raise StoreFormatError(
                    f"{name}: data/{key} has shape {array.shape} but meta/episode_ends ends at "
                    f"{self.num_steps}; expected at least as many steps. "
                    "Look at every defect with `dpc data validate`"
                )

    @classmethod
    def open(cls, url: str | Path | Store) -> Self:
        """Opens for reading: a directory, zip or fsspec URL, of zarr v2 or v3.

        Raises:
            StoreNotFoundError: There is nothing at `url`.
            StoreFormatError: What is there is no replay buffer.
        """
        return cls(open_group(url), name=str(url))

    @classmethod
    def create(
        cls,
        path: str | Path | Store,
        arrays: Mapping[str, ArraySpec],
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Creates an empty buffer of zarr v3 to append to.

        Args:
            path: Where nothing stands yet.
            arrays: What the steps of the episodes hold.
            metadata: JSON values to keep with it, such as "control_hz", "env_id" and "source".

        Raises:
            StoreExistsError: Something stands at `path`.
        """
        if not arrays:
            raise StoreFormatError(f"{path}: a replay buffer needs at least one array, found none")
        directory = None if isinstance(path, Store) else local_path(path)
        if directory is not None and directory.exists():
            raise StoreExistsError(
                f"{directory} exists already; expected a new path. "
                "Append to it, choose another name, or delete it first"
            )
        store = path if directory is None else DurableStore(directory)
        try:
            group = zarr.create_group(store, zarr_format=3, attributes=dict(metadata or {}))
            for name, spec in arrays.items():
                create_array(group, f"data/{name}", spec)
            create_array(group, EPISODE_ENDS, ArraySpec((), np.int64))
        except OSError as error:
            raise StoreWriteError(
                f"the replay buffer {path} could not be created ({error}); "
                "expected a writable place with free space"
            ) from error
        return cls(group, name=str(path))

    @classmethod
    def append_to(cls, path: str | Path | Store) -> Self:
        """Reopens a buffer of zarr v3 to append to, and removes an episode left unfinished.

        Raises:
            StoreNotFoundError: There is nothing at `path`.
            StoreFormatError: What is there is no replay buffer of zarr v3.
        """
        group = open_group(path, mode="r+")
        if group.metadata.zarr_format != 3:
            raise StoreFormatError(
                f"{path} is zarr v{group.metadata.zarr_format}; expected v3 to append to. "
                "Rewrite it with `dpc data convert` first"
            )
        buffer = cls(group, name=str(path))
        buffer._remove_unfinished()
        return buffer

    @property
    def num_episodes(self) -> int:
        """Finished episodes."""
        return len(self.episode_ends)

    @property
    def num_steps(self) -> int:
        """Steps of all finished episodes together."""
        return int(self.episode_ends[-1]) if len(self.episode_ends) else 0

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was recorded about the buffer; "seeds" has one entry per finished episode."""
        metadata: dict[str, Any] = dict(self._group.attrs)
        if SEEDS in metadata:
            metadata[SEEDS] = metadata[SEEDS][: self.num_episodes]
        return metadata

    def episode_range(self, index: int) -> tuple[int, int]:
        """Steps [start, stop) of an episode.

        Raises:
            EpisodeError: There is no such episode.
        """
        if not 0 <= index < self.num_episodes:
            raise EpisodeError(
                f"{self._name}: there is no episode {index}; "
                f"expected 0 to {self.num_episodes - 1} ({self.num_episodes} episodes)"
            )
        start = int(self.episode_ends[index - 1]) if index else 0
        return start, int(self.episode_ends[index])

    def episode(self, index: int) -> dict[str, NDArray[Any]]:
        """All arrays of one episode. Shape of each (steps of the episode, ...)."""
        start, stop = self.episode_range(index)
        wanted = np.zeros(self.num_steps, dtype=bool)
        wanted[start:stop] = True
        for name in self.arrays:
            self._refuse_missing(name, wanted)
        return {name: self._read_steps(name, start, stop) for name in self.arrays}

    def read(
        self,
        name: str,
        *,
        dtype: DTypeLike | None = None,
        episodes: Sequence[int] | None = None,
        allow_missing_chunks: bool = False,
    ) -> NDArray[Any]:
        """One array in memory, holding little more than the result while reading.

        Args:
            name: Array under `data/`.
            dtype: Type of the result; conversion to an integer type must lose nothing.
            episodes: Which episodes, in the order of the store; None for all.
            allow_missing_chunks: Whether lost chunks may be read as zarr's fill value.

        Returns:
            Shape (steps of those episodes, ...).

        Raises:
            ArrayNotFoundError: There is no such array.
            MissingChunkError: A chunk of those episodes is not in the store.
            ImageRangeError: A value does not fit `dtype`.
        """
        array = self.array(name)
        wanted = self._steps_wanted(episodes)
        if not allow_missing_chunks:
            self._refuse_missing(name, wanted)
        target = np.dtype(array.dtype if dtype is None else dtype)
        result = np.empty((int(wanted.sum()), *array.shape[1:]), target)
        filled, bounds = 0, np.flatnonzero(wanted)[[0, -1]] if wanted.any() else (0, -1)
        for start, stop in pieces(array, start=int(bounds[0]), stop=int(bounds[1]) + 1):
            inside = wanted[start:stop]
            if not inside.any():
                continue
            values = self._read_steps(name, start, stop)
            steps = start + np.flatnonzero(inside)
            taken = values if inside.all() else values[inside]
            result[filled : filled + len(taken)] = cast_exactly(
                taken, target, name=name, steps=steps
            )
            filled += len(taken)
        return result

    def steps(self, name: str, *, episodes: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Numbers of the steps that `read` would read, for `read_at`; the array stays unread.

        Raises:
            ArrayNotFoundError: There is no such array.
            MissingChunkError: A chunk of those episodes is not in the store.
        """
        self.array(name)
        wanted = self._steps_wanted(episodes)
        self._refuse_missing(name, wanted)
        return np.flatnonzero(wanted)

    def read_at(
        self, name: str, steps: NDArray[np.int64], *, dtype: DTypeLike | None = None
    ) -> NDArray[Any]:
        """One array at single steps; only the chunks that hold them are read.

        Args:
            name: Array under `data/`.
            steps: At least one; strictly increasing.
            dtype: Type of the result; conversion to an integer type must lose nothing.

        Returns:
            Shape (len(steps), ...).

        Raises:
            ArrayNotFoundError: There is no such array.
            StoreFormatError: A chunk cannot be decoded.
            ImageRangeError: A value does not fit `dtype`.
        """
        array = self.array(name)
        target = np.dtype(array.dtype if dtype is None else dtype)
        with self._explained(name, int(steps[0]), int(steps[-1])):
            values = read_scattered(array, steps)
        return cast_exactly(values, target, name=name, steps=steps)

    def array(self, name: str) -> zarr.Array[Any]:
        """The array `data/<name>`.

        Raises:
            ArrayNotFoundError: There is none of that name.
        """
        if name not in self.arrays:
            raise ArrayNotFoundError(
                f"{self._name} has no array data/{name}; it has {', '.join(sorted(self.arrays))}"
            )
        return self.arrays[name]

    def append_episode(
        self, episode: Mapping[str, NDArray[Any]], *, seed: int | None = None
    ) -> None:
        """Adds a finished episode; whatever happens meanwhile, the ones before stay whole.

        The arrays are written first, and `meta/episode_ends` last and atomically: until then
        readers do not see the episode. It is on the disk when this returns.

        Args:
            episode: Array by name. Shape of each (steps, ...).
            seed: Seed of the start; given for all episodes of a buffer or for none.

        Raises:
            EpisodeError: The episode does not fit the arrays of the buffer.
            StoreWriteError: The disk refused; the episode can be appended again.
        """
        length = check_episode(
            episode,
            self.arrays,
            index=self.num_episodes,
            seed=seed,
            has_seeds=bool(self.metadata.get(SEEDS)),
        )
        start, stop = self.num_steps, self.num_steps + length
        try:
            if seed is not None or SEEDS in self._group.attrs:
                added = [] if seed is None else [int(seed)]
                self._group.update_attributes({SEEDS: [*self.metadata.get(SEEDS, []), *added]})
            for name, array in self.arrays.items():
                array.resize((stop, *array.shape[1:]))
                array[start:stop] = np.asarray(episode[name]).astype(array.dtype)
            commit_end(self._ends_array, self.num_episodes, stop)
        except OSError as error:
            raise StoreWriteError(
                f"{self._name}: episode {self.num_episodes} could not be written ({error}); "
                f"the {self.num_episodes} episodes before it are whole. "
                "Free some space and append it again"
            ) from error
        self.episode_ends = np.append(self.episode_ends, np.int64(stop))
        self._missing.clear()

    def _steps_wanted(self, episodes: Sequence[int] | None) -> NDArray[np.bool_]:
        """Which steps belong to some episodes, or to any. Shape (num_steps,)."""
        wanted = np.full(self.num_steps, episodes is None)
        for index in episodes or ():
            wanted[slice(*self.episode_range(index))] = True
        return wanted

    def _read_steps(self, name: str, start: int, stop: int) -> NDArray[Any]:
        with self._explained(name, start, stop - 1):
            return np.asarray(self.array(name)[start:stop])

    @contextmanager
    def _explained(self, name: str, first: int, last: int) -> Iterator[None]:
        """Says which steps it was whose chunks could not be decoded."""
        try:
            yield
        except (RuntimeError, ValueError, OSError, TypeError) as error:
            raise StoreFormatError(
                f"{self._name}: steps {first} to {last} of data/{name} cannot be decoded "
                f"({error}); find the damaged chunk with `dpc data validate`"
            ) from error

    def _refuse_missing(self, name: str, wanted: NDArray[np.bool_]) -> None:
        if name not in self._missing:
            self._missing[name] = missing_chunks(self.arrays[name], num_steps=self.num_steps)
        for first, last in self._missing[name]:
            if wanted[first:last].any():
                episode = int(np.searchsorted(self.episode_ends, first, side="right"))
                raise MissingChunkError(
                    f"{self._name}: the chunk of data/{name} with steps {first} to {last - 1} "
                    f"(from episode {episode}) is missing, and zarr would read it as "
                    f"{self.arrays[name].fill_value}. Restore it from a copy, or accept the fill "
                    "value with `dpc data convert … allow_missing_chunks=true`"
                )

    def _remove_unfinished(self) -> None:
        remove_unfinished_files(self._group.store)
        try:
            for array in self.arrays.values():
                if array.shape[0] > self.num_steps:
                    array.resize((self.num_steps, *array.shape[1:]))
            if self.metadata.get(SEEDS) != self._group.attrs.get(SEEDS):
                self._group.update_attributes({SEEDS: self.metadata[SEEDS]})
        except OSError as error:
            raise StoreWriteError(
                f"{self._name}: the unfinished episode {self.num_episodes} could not be removed "
                f"({error}); its finished episodes are whole. Free some space and open it again"
            ) from error
