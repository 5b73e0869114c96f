"""Fetching demonstrations: resumed where they broke off, and checked before they count."""

import hashlib
import http.client
import json
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np

from diffusion_controller.data.errors import ChecksumError, DownloadError
from diffusion_controller.data.replay_buffer import ReplayBuffer

Report = Callable[[int, int | None], None]

_PIECE_BYTES = 256 * 1024
# Other OSErrors come from the disk.
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
_CONTENT_ARRAYS = ("action", "state")


@dataclass(frozen=True)
class PublishedDataset:
    """A data set that others published.

    Attributes:
        url: Where it is published.
        content_sha256: `content_digest` of what was published, however it is packed.
    """

    url: str
    content_sha256: str


PUBLISHED: Mapping[str, PublishedDataset] = MappingProxyType(
    {
        "pusht": PublishedDataset(
            url="https://diffusion-policy.cs.columbia.edu/data/training/pusht.zip",
            content_sha256="07431ccc40a3cc7c9ec6844d654e10473d299b91714671a66797d89f6defbd94",
        )
    }
)


def content_digest(buffer: ReplayBuffer, *, arrays: Sequence[str] = _CONTENT_ARRAYS) -> str:
    """SHA-256 over decoded arrays and `meta/episode_ends`; the same for every packing.

    Each array counts with its name, type and shape, and then its elements, little-endian in C
    order.

    Raises:
        ArrayNotFoundError: The buffer does not have one of the arrays.
    """
    digest = hashlib.sha256()
    content = {f"data/{name}": buffer.read(name) for name in sorted(arrays)}
    content["meta/episode_ends"] = buffer.episode_ends
    for path, values in content.items():
        ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        digest.update(f"{path} {ordered.dtype.str} {ordered.shape}\n".encode())
        digest.update(ordered.tobytes())
    return digest.hexdigest()


def download_dataset(
    source: str,
    folder: str | Path,
    *,
    sha256: str | None = None,
    timeout: float = 30.0,
    report: Report | None = None,
) -> Path:
    """Puts a data set into a folder: a published one by name, or any by URL or path.

    Args:
        source: Name in `PUBLISHED`, https or file URL, or local path.
        folder: Created where it is missing.
        sha256: Of the file, to be checked; None checks a published data set's content only.
        timeout: How long the server may stay silent, in [s].
        report: Called with the bytes at hand and the bytes of the whole file, if known.

    Returns:
        Path of the file, which keeps its name.

    Raises:
        DownloadError: The file cannot be fetched.
        ChecksumError: It is not what was expected.
    """
    published = PUBLISHED.get(source)
    url = published.url if published else source
    name = Path(urllib.parse.unquote(urllib.parse.urlparse(url).path)).name
    if not name:
        raise DownloadError(
            f"{source!r} names no file; expected one of {', '.join(PUBLISHED)}, "
            "a URL or a path that ends with a file name"
        )
    try:
        path = download_file(
            url, Path(folder) / name, sha256=sha256, timeout=timeout, report=report
        )
    except DownloadError as error:
        if not published:
            raise
        raise DownloadError(
            f"{error}. Or give a file that you have: `dpc data download /path/to/{name}`"
        ) from error
    if published:
        check_content(path, published.content_sha256)
    return path


def check_content(path: Path, expected: str) -> None:
    """Compares the content of a replay buffer with a known digest.

    Raises:
        ChecksumError: It differs.
    """
    found = content_digest(ReplayBuffer.open(path))
    if found != expected:
        raise ChecksumError(
            f"{path} opens, but its actions, states and episode ends have SHA-256 {found}; "
            f"expected {expected}, those that were published. Delete it and fetch it again"
        )


def download_file(
    source: str,
    destination: str | Path,
    *,
    sha256: str | None = None,
    attempts: int = 3,
    timeout: float = 30.0,
    report: Report | None = None,
) -> Path:
    """Fetches one file; `destination` appears only when it is whole and right.

    What has arrived is kept beside it as `<name>.part`, from where the next attempt, or the
    next call, goes on, if the server says that the file is still the same.

    Args:
        source: http, https or file URL, or local path.
        destination: Path of the file to write.
        sha256: Expected digest of the file; None does not check.
        attempts: How often in a row the connection may break without bringing anything.
        timeout: How long the server may stay silent, in [s].
        report: Called with the bytes at hand and the bytes of the whole file, if known.

    Raises:
        DownloadError: The file cannot be fetched.
        ChecksumError: Its digest is not `sha256`.
    """
    path = Path(destination)
    if path.exists():
        _check_file(path, sha256, remove=False)
        return path
    part = path.with_name(f"{path.name}.part")
    scheme = urllib.parse.urlparse(source).scheme
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if scheme in ("http", "https"):
            _fetch(source, part, attempts=attempts, timeout=timeout, report=report)
        elif scheme in ("", "file"):
            _copy(Path(source.removeprefix("file://")), part)
        else:
            raise DownloadError(
                f"{source} has the scheme {scheme!r}; expected https, http, file or a path"
            )
        _check_file(part, sha256, remove=True)
        part.replace(path)
    except (DownloadError, ChecksumError):
        raise
    except OSError as error:
        raise DownloadError(
            f"{source} could not be written to {path} ({error}); expected a writable place with "
            "free space"
        ) from error
    _etag_path(part).unlink(missing_ok=True)
    return path


def _copy(source: Path, part: Path) -> None:
    if not source.is_file():
        raise DownloadError(f"there is no file {source}; expected a zip of demonstrations")
    shutil.copyfile(source, part)


def _check_file(path: Path, sha256: str | None, *, remove: bool) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == sha256.lower():
        return
    if remove:
        path.unlink()
        _etag_path(path).unlink(missing_ok=True)
    raise ChecksumError(
        f"{path} has SHA-256 {found}; expected {sha256.lower()}. "
        + ("It was deleted: fetch it again" if remove else "Delete it and fetch it again")
    )


def _fetch(url: str, part: Path, *, attempts: int, timeout: float, report: Report | None) -> None:
    fruitless = 0
    while True:
        before = _size(part)
        try:
            _fetch_once(url, part, timeout=timeout, report=report)
            return
        except urllib.error.HTTPError as error:
            raise DownloadError(f"{url} answered {error.code} {error.reason}") from error
        except _NETWORK_ERRORS as error:
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= attempts:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                raise DownloadError(
                    f"{url} cannot be reached ({reason}); {_size(part)} bytes are kept in {part}. "
                    "Run the same command again to go on from there"
                ) from error


def _fetch_once(url: str, part: Path, *, timeout: float, report: Report | None) -> None:
    request = urllib.request.Request(url)
    have, etag = _size(part), _read_etag(part, url)
    if have and etag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", etag)  # a file that changed meanwhile comes from the start
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return  # everything had arrived
        part.unlink()
        raise http.client.HTTPException("the file changed meanwhile") from error
    with closing(response):
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException(f"the server did not go on from byte {have}")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        _etag_path(part).write_text(json.dumps({"url": url, "etag": validator}))
        with part.open("ab" if resumed else "wb") as file:
            have = _receive(response, file, have=have, total=total, report=report)
    if total is not None and have < total:
        raise http.client.HTTPException(f"the connection broke at {have} of {total} bytes")


def _receive(
    response: http.client.HTTPResponse,
    file: IO[bytes],
    *,
    have: int,
    total: int | None,
    report: Report | None,
) -> int:
    while piece := response.read(_PIECE_BYTES):
        file.write(piece)
        have += len(piece)
        if report is not None:
            report(have, total)
    return have


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _etag_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_etag(part: Path, url: str) -> str:
    """Validator of the file that `part` is a part of, or "" where it is not known."""
    try:
        note = json.loads(_etag_path(part).read_text())
        # Weak validators do not promise equal bytes (RFC 9110, section 13.1.5).
        known = note["url"] == url and not str(note["etag"]).startswith("W/")
        return str(note["etag"]) if known else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
