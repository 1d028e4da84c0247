"""The archive in an object store: Arrow's own S3 client against a small server."""

import io
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

import numpy as np
import pytest

from cluster.archive import Archive, Archiver
from cluster.archive_catalog import CATALOG
from cluster.archive_files import Storage
from cluster.sqlite_log import SqliteLog
from tests.cluster.archive_events import (
    DAY_MS,
    FEATURES_LANE,
    JANUARY_1_MS,
    LANES,
    N_LANES,
    append,
    archive_all,
    event_ids,
    favourite,
    follow,
    served,
)


class ObjectStore(ThreadingHTTPServer):
    """As much of S3 as one writer and its readers need, in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.refuse_uploads_of = ""


class _Handler(BaseHTTPRequestHandler):
    server: ObjectStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        path, query = self._asked()
        body = self._body()
        refused = self.server.refuse_uploads_of
        if refused and refused in path:
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif "uploadId" in query:
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, headers={"ETag": '"part"'})
        else:
            self.server.objects[path] = body
            self._answer(200, headers={"ETag": '"whole"'})

    def do_POST(self) -> None:
        path, query = self._asked()
        self._body()
        if "uploads" in query:
            upload = str(len(self.server.parts))
            self.server.parts[upload] = {}
            root = "InitiateMultipartUploadResult"
            self._answer(200, f"<{root}><UploadId>{upload}</UploadId></{root}>".encode())
        else:
            parts = self.server.parts.pop(query["uploadId"])
            self.server.objects[path] = b"".join(parts[number] for number in sorted(parts))
            self._answer(200, b"<CompleteMultipartUploadResult/>")

    def do_GET(self) -> None:
        path, query = self._asked()
        if "list-type" in query:
            self._list(path.split("/")[0], query.get("prefix", ""))
        elif (content := self.server.objects.get(path)) is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            begin, last = map(int, span.groups())
            where = {"Content-Range": f"bytes {begin}-{last}/{len(content)}"}
            self._answer(206, content[begin : last + 1], where)
        else:
            self._answer(200, content)

    def do_HEAD(self) -> None:
        path, _ = self._asked()
        content = self.server.objects.get(path)
        if content is None and "/" in path:
            self._answer(404)
        else:
            self._answer(200, content or b"")

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        self.server.objects.pop(path, None)
        self._answer(204)

    def _list(self, bucket: str, prefix: str) -> None:
        found = "".join(
            f"<Contents><Key>{escape(path.removeprefix(bucket + '/'))}</Key>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{len(body)}</Size>"
            "</Contents>"
            for path, body in sorted(self.server.objects.items())
            if path.startswith(f"{bucket}/{prefix}")
        )
        content = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        self._answer(200, content.encode())

    def _asked(self) -> tuple[str, dict[str, str]]:
        path, _, query = self.path.partition("?")
        asked = urllib.parse.parse_qsl(query, keep_blank_values=True)
        return urllib.parse.unquote(path).strip("/"), dict(asked)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = _joined(self.rfile)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            body = _joined(io.BytesIO(body))
        return body

    def _answer(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _joined(chunked: IO[bytes]) -> bytes:
    """The content of a body sent in chunks, HTTP's or S3's own."""
    content = b""
    while n_bytes := int(chunked.readline().split(b";")[0], 16):
        content += chunked.read(n_bytes)
        chunked.readline()
    while chunked.readline().strip():
        pass  # trailers: a checksum
    return content


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def root(store: ObjectStore) -> str:
    options = f"endpoint_override=127.0.0.1:{store.server_port}&scheme=http&region=us-east-1"
    return f"s3://user:secret@bucket/some/archive?{options}"


def test_the_archive_lives_in_an_object_store(
    tmp_path: Path, store: ObjectStore, root: str
) -> None:
    with SqliteLog(tmp_path / "log.db", n_lanes=N_LANES + 1) as log:
        for i in range(4):
            append(log, [follow(i + 1, JANUARY_1_MS + i), favourite(i + 9, JANUARY_1_MS + DAY_MS)])
        log.append({FEATURES_LANE: served("r1", [9], [[1, 2]])})
        archiver = archive_all(log, root, features_lane=FEATURES_LANE, step_bytes=1)
        archive = Archive(root)
        before = archive.scan()
        assert event_ids(before) == [1, 2, 3, 4, 9, 10, 11, 12]
        held = archive.contains(np.array([3, 5]), np.array([JANUARY_1_MS] * 2))
        assert held.tolist() == [True, False]
        (features,) = archive.served_features()
        assert features.column("features").to_pylist() == [[1.0, 2.0]]
        paths = [path for path in store.objects if path.endswith(".parquet")]
        assert len(paths) == 9
        assert all(path.startswith("bucket/some/archive/") for path in paths)

        assert archiver.compact("2026-01-01", 5 * DAY_MS) == 3
        assert archive.scan().equals(before)
        assert archiver.sweep(10 * DAY_MS) == 4
        assert archive.scan().equals(before)
        assert len([path for path in store.objects if path.endswith(".parquet")]) == 6


def test_an_upload_that_fails_changes_nothing(
    tmp_path: Path, store: ObjectStore, root: str
) -> None:
    with SqliteLog(tmp_path / "log.db", n_lanes=N_LANES) as log:
        append(log, [follow(1, JANUARY_1_MS)])
        archive_all(log, root)
        append(log, [follow(2, JANUARY_1_MS)])
        archiver = Archiver(log, root, LANES)
        before = archiver.positions()
        for refused in ("kind_group=edges", CATALOG):
            store.refuse_uploads_of = refused
            with pytest.raises(OSError, match="ACCESS_DENIED"):
                archiver.step()
            assert archiver.positions() == before
            assert event_ids(Archive(root).scan()) == [1]
        store.refuse_uploads_of = ""
        archiver.step()
        assert event_ids(Archive(root).scan()) == [1, 2]


def test_a_large_object_is_put_in_parts(store: ObjectStore, root: str) -> None:
    content = np.random.default_rng(0).bytes(25_000_000)
    Storage.at(root).replace("large", content)
    assert store.objects["bucket/some/archive/large"] == content
    assert Storage.at(root).read("large") == content
