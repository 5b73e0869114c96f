import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from diffusion_controller.data import ChecksumError, DownloadError
from diffusion_controller.data.convert import convert_buffer
from diffusion_controller.data.download import (
    check_content,
    content_digest,
    download_dataset,
    download_file,
)
from diffusion_controller.data.replay_buffer import ReplayBuffer

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Host:
    """A web server on this machine that breaks connections off.

    Attributes:
        port: Where it listens.
        content: What it serves.
        etag: Validator that it sends and compares with If-Range.
        bytes_per_connection: After how many bytes it breaks off; None never.
        has_ranges: Whether it supports Range.
        ranges: The Range header of each request.
    """

    port: int = 0
    content: bytes = CONTENT
    etag: str = '"one"'
    bytes_per_connection: int | None = None
    has_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/data/file.zip"


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            host.ranges.append(asked)
            if self.path != "/data/file.zip":
                self.send_error(404)
                return
            start = 0
            if asked and host.has_ranges and self.headers.get("If-Range") == host.etag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(host.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(host.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                end = len(host.content)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
            self.send_header("Content-Length", str(len(host.content) - start))
            self.send_header("ETag", host.etag)
            self.end_headers()
            limit = host.bytes_per_connection
            stop = len(host.content) if limit is None else start + limit
            self.wfile.write(host.content[start:stop])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stays silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_arrives_whole_and_reports_its_progress(host: Host, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = download_file(
        host.url,
        tmp_path / "new" / "file.zip",
        sha256=SHA256,
        report=lambda done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [entry.name for entry in path.parent.iterdir()] == ["file.zip"]


def test_a_connection_that_breaks_off_is_resumed_where_it_broke(host: Host, tmp_path: Path) -> None:
    host.bytes_per_connection = 300_000
    download_file(host.url, tmp_path / "file.zip", sha256=SHA256)
    assert host.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_later_call_resumes_what_an_earlier_one_left(host: Host, tmp_path: Path) -> None:
    host.bytes_per_connection = 400_000
    real, host.content = host.content, CONTENT
    with pytest.raises(DownloadError, match="cannot be reached"):
        _break_after_one_connection(host, tmp_path)
    assert (tmp_path / "file.zip.part").stat().st_size == 400_000
    assert not (tmp_path / "file.zip").exists()
    host.bytes_per_connection = None
    host.content = real
    assert download_file(host.url, tmp_path / "file.zip").read_bytes() == CONTENT
    assert host.ranges[-1] == "bytes=400000-"


def _break_after_one_connection(host: Host, folder: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        host.bytes_per_connection = 0 if done >= 400_000 else host.bytes_per_connection
        assert total == len(CONTENT)

    download_file(host.url, folder / "file.zip", report=stop)


def test_a_whole_part_is_not_fetched_again(host: Host, tmp_path: Path) -> None:
    host.bytes_per_connection = len(CONTENT)
    download_file(host.url, tmp_path / "file.zip")
    (tmp_path / "file.zip").rename(tmp_path / "file.zip.part")
    note = f'{{"url": "{host.url}", "etag": "\\"one\\""}}'
    (tmp_path / "file.zip.part.json").write_text(note)
    assert download_file(host.url, tmp_path / "file.zip", sha256=SHA256).exists()
    assert host.ranges == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("change", ["other content", "no ranges", "no validator", "other url"])
def test_a_part_of_something_else_is_never_continued(
    host: Host, tmp_path: Path, change: str
) -> None:
    (tmp_path / "file.zip.part").write_bytes(b"old" * 1000)
    known = "http://elsewhere/file.zip" if change == "other url" else host.url
    note = f'{{"url": "{known}", "etag": "\\"one\\""}}'
    if change != "no validator":
        (tmp_path / "file.zip.part.json").write_text(note)
    host.has_ranges = change != "no ranges"
    host.etag = '"two"' if change == "other content" else host.etag
    download_file(host.url, tmp_path / "file.zip", sha256=SHA256)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ChecksumError, match=f"has SHA-256 {SHA256}; expected {'0' * 64}"):
        download_file(host.url, tmp_path / "file.zip", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_already_is_checked_and_kept(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(CONTENT)
    download_file(host.url, tmp_path / "file.zip", sha256=SHA256.upper())
    assert host.ranges == []
    (tmp_path / "file.zip").write_bytes(b"something else")
    with pytest.raises(ChecksumError, match="Delete it and fetch it again"):
        download_file(host.url, tmp_path / "file.zip", sha256=SHA256)
    assert (tmp_path / "file.zip").read_bytes() == b"something else"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_file_is_taken_too(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "mine.zip").write_bytes(CONTENT)
    path = download_dataset(f"{scheme}{tmp_path / 'mine.zip'}", tmp_path / "new", sha256=SHA256)
    assert path == tmp_path / "new" / "mine.zip"
    assert path.read_bytes() == CONTENT


def test_what_cannot_be_fetched_is_refused_in_one_line(host: Host, tmp_path: Path) -> None:
    refused = {
        host.url.replace("file", "none"): r"answered 404",
        "http://127.0.0.1:9/file.zip": r"cannot be reached .*Run the same command again",
        "ftp://host/file.zip": r"scheme 'ftp'; expected https, http, file or a path",
        str(tmp_path / "none.zip"): r"there is no file",
        "https://host/": r"names no file; expected one of pusht",
    }
    for source, message in refused.items():
        with pytest.raises(DownloadError, match=message) as refusal:
            download_dataset(source, tmp_path)
        assert "\n" not in str(refusal.value)


def test_a_folder_that_cannot_be_written_is_refused(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="expected a writable place"):
        download_file(host.url, tmp_path / "file" / "file.zip")


def test_the_content_digest_does_not_depend_on_the_packing(
    buffer_path: Path, tmp_path: Path
) -> None:
    packed = convert_buffer(buffer_path, tmp_path / "packed.zip", drop=["img"])
    digest = content_digest(ReplayBuffer.open(buffer_path))
    assert content_digest(ReplayBuffer.open(packed)) == digest
    check_content(packed, digest)


def test_other_content_has_another_digest(buffer_path: Path, tmp_path: Path) -> None:
    fewer = convert_buffer(buffer_path, tmp_path / "fewer.zarr", episodes=[0, 1, 2])
    with pytest.raises(ChecksumError, match="those that were published"):
        check_content(fewer, content_digest(ReplayBuffer.open(buffer_path)))
