"""Where a replay buffer lies: opening a path, zip or URL as a zarr group, and durable writing."""

import os
import threading
import zipfile
from pathlib import Path, PurePosixPath

import fsspec  # type: ignore[import-untyped]
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import FsspecStore, LocalStore, ZipStore

from diffusion_controller.data.errors import StoreFormatError, StoreNotFoundError

_UNFINISHED = ".unfinished-"
_EPISODE_ENDS_METADATA = ("meta/episode_ends/.zarray", "meta/episode_ends/zarr.json")


class DurableStore(LocalStore):
    """A directory where each value is replaced atomically, and on the disk when `set` returns.

    zarr's own directory store leaves the flushing to the operating system, so a power loss can
    leave an empty file under a name that held whole data before.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Writes beside the old value, flushes, then renames over it."""
        self._check_writable()
        _replace_durably(self.root / key, value.to_bytes())


class _RemoteZipStore(ZipStore):
    """A zip archive behind a URL, read piece by piece."""

    def __init__(self, url: str) -> None:
        super().__init__(url, mode="r")
        self._url = url

    def names(self) -> list[str]:
        """Names of the files in the archive."""
        if not self._is_open:
            self._sync_open()
        return self._zf.namelist()

    def _sync_open(self) -> None:
        self._lock = threading.RLock()
        self._zf = zipfile.ZipFile(fsspec.open(self._url, "rb").open())
        self._is_open = True


def _replace_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{_UNFINISHED}{path.name}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself must survive a power loss
    finally:
        os.close(directory)


def remove_unfinished_files(store: Store) -> None:
    """Deletes what a killed writer left beside the values of a `DurableStore`."""
    if isinstance(store, LocalStore):
        for path in store.root.rglob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)


def local_path(url: str | Path) -> Path | None:
    """The local path that `url` names, or None where it names something remote."""
    text = str(url)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    if "://" in text or "::" in text:
        return None
    return Path(url)


def open_group(url: str | Path | Store, *, mode: str = "r") -> zarr.Group:
    """The zarr group that holds `data` and `meta`.

    Args:
        url: Directory, zip archive, any fsspec URL of one of these, or an open zarr store.
            Inside a zip, and inside a directory that is no zarr group itself, the single
            store with `meta/episode_ends` is taken.
        mode: "r" or "r+"; a zip can only be read.

    Raises:
        StoreNotFoundError: There is nothing at `url`.
        StoreFormatError: What is there holds no replay buffer, or several.
    """
    store, prefix = (url, "") if isinstance(url, Store) else _locate(url, mode=mode)
    try:
        return zarr.open_group(store, path=prefix, mode="r" if mode == "r" else "r+")
    except FileNotFoundError as error:
        raise _no_buffer(url) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StoreFormatError(
            f"{url} cannot be opened as zarr ({type(error).__name__}: {error}); "
            "its metadata is damaged: restore it from a copy"
        ) from error


def _locate(url: str | Path, *, mode: str) -> tuple[Store, str]:
    path = local_path(str(url).removeprefix("zip::"))
    if path is None:
        return _locate_remote(str(url), mode=mode)
    if path.is_dir():
        prefix = _single(url, _prefixes_in_directory(path))
        store_class = LocalStore if mode == "r" else DurableStore
        return store_class(path / prefix, read_only=mode == "r"), ""
    if not path.exists():
        raise StoreNotFoundError(
            f"there is no replay buffer at {path}; expected a zarr directory or a zip of one. "
            "Check the path, or fetch one with `dpc data download`"
        )
    if mode != "r":
        raise StoreFormatError(
            f"{path} is a file, and only a zarr directory can be appended to; "
            "unpack it with `dpc data convert` first"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            prefixes = _prefixes_in_names(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise StoreFormatError(
            f"{path} is no whole zip archive ({error}); expected a zip of a zarr directory. "
            "It may have been cut off: fetch it again with `dpc data download`"
        ) from error
    return ZipStore(path, mode="r"), _single(url, prefixes)


def _locate_remote(url: str, *, mode: str) -> tuple[Store, str]:
    url = url.removeprefix("zip::")
    try:
        if url.endswith(".zip") and not url.startswith("zip://"):
            store = _RemoteZipStore(url)
            return store, _single(url, _prefixes_in_names(store.names()))
        return FsspecStore.from_url(url, read_only=mode == "r"), ""
    except StoreFormatError:
        raise
    except (OSError, ValueError, ImportError, zipfile.BadZipFile) as error:
        raise StoreNotFoundError(
            f"{url} cannot be opened ({type(error).__name__}: {error}); "
            "expected a zarr directory or a zip of one that fsspec can reach"
        ) from error


def _prefixes_in_directory(path: Path) -> list[str]:
    if any((path / name).exists() for name in (".zgroup", "zarr.json")):
        return [""]
    return [
        str(child.relative_to(path))
        for child in sorted(path.glob("*.zarr"))
        if any((child / name).exists() for name in _EPISODE_ENDS_METADATA)
    ]


def _prefixes_in_names(names: list[str]) -> list[str]:
    return sorted(
        str(PurePosixPath(name).parents[2]) if name.count("/") > 2 else ""
        for name in names
        if name.endswith(_EPISODE_ENDS_METADATA)
    )


def _single(url: str | Path, prefixes: list[str]) -> str:
    if not prefixes:
        raise _no_buffer(url)
    if len(prefixes) > 1:
        raise StoreFormatError(
            f"{url} holds {len(prefixes)} replay buffers ({', '.join(prefixes)}); "
            "expected one: unpack it and give the path of the one you mean"
        )
    return prefixes[0]


def _no_buffer(url: str | Path | Store) -> StoreFormatError:
    return StoreFormatError(
        f"{url} holds no replay buffer; expected zarr arrays under data/ and meta/episode_ends. "
        "Check the path, or bring other formats into this one with `dpc data convert`"
    )
