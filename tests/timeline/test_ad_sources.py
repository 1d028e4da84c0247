"""A file of ads that changes, and an ad server that does everything it should not."""

import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.mixer_settings import HOUR_MS, AdsSettings
from timeline.ad_sources import FileAds, HttpAds, ads_source
from timeline.ads import AdsContext

NOW_MS = 1_700_000_000_000
KEY = b"k" * 32
SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "ads.json"


def document(*names: str) -> bytes:
    return orjson.dumps({"ads": [{"id": name, "advertiser_id": "x"} for name in names]})


def asking(viewer_id: int = 1, now_ms: int = NOW_MS, left_s: float = 60.0) -> AdsContext:
    return AdsContext(viewer_id, "for_you", now_ms, left_s, (11, 12), (5, 0), ("de",))


def write(path: Path, body: bytes, mtime_s: int) -> None:
    path.write_bytes(body)
    os.utime(path, (mtime_s, mtime_s))


def file_of(path: Path, **given: Any) -> FileAds:
    return FileAds(AdsSettings(source="file", file=path, **given), path)


def ids(source: FileAds | HttpAds, context: AdsContext | None = None) -> list[str]:
    return [ad.id for ad in source.fetch(context or asking()).ads]


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "ads.json"
    source = file_of(path)
    offer = source.fetch(asking())
    assert offer.ads == ()
    assert "No such file" in offer.problem
    write(path, document("a"), 1_000)
    assert source.fetch(asking()).problem == ""
    assert ids(source) == ["a"]
    write(path, document("b"), 2_000)
    assert ids(source) == ["b"]
    # What is wrong now leaves what was right, and is not silent.
    write(path, b"{", 3_000)
    for _ in range(2):
        offer = source.fetch(asking())
        assert [ad.id for ad in offer.ads] == ["b"]
        assert str(path) in offer.problem
    write(path, document("c"), 4_000)
    assert ids(source) == ["c"]
    path.unlink()
    assert ids(source) == ["c"]
    assert "No such file" in source.fetch(asking()).problem
    write(path, document("c"), 4_000)  # the very same comes back
    assert ids(source) == ["c"]
    assert source.fetch(asking()).problem == ""


def test_a_file_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "ads.json"
    path.write_bytes(document("a") + b" " * 1_000)
    assert "more than 500 bytes" in file_of(path, max_bytes=500).fetch(asking()).problem


def test_bad_ads_of_a_file_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "ads.json"
    path.write_bytes(b'{"ads": [{"id": "a", "advertiser_id": "x"}, {"id": "b"}]}')
    offer = file_of(path).fetch(asking())
    assert ([ad.id for ad in offer.ads], offer.refused) == (["a"], 1)


def test_viewers_begin_at_different_ads_and_the_hours_too(tmp_path: Path) -> None:
    path = tmp_path / "ads.json"
    path.write_bytes(document(*"abcd"))
    source = file_of(path, max_offered=3)
    of_viewers = {"".join(ids(source, asking(viewer))) for viewer in range(100)}
    assert of_viewers == {"abc", "bcd", "cda", "dab"}
    of_hours = {"".join(ids(source, asking(1, NOW_MS + k * HOUR_MS))) for k in range(100)}
    assert of_hours == of_viewers
    assert ids(source) == ids(source) == ids(file_of(path, max_offered=3))


def test_the_example_is_good() -> None:
    offer = file_of(SAMPLE).fetch(asking())
    assert offer.problem == ""
    assert len(offer.ads) >= 3
    assert offer.refused == 0


class Server(ThreadingHTTPServer):
    """An ad server that answers as it is told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[Handler], None] = lambda handler: handler.say(document("a"))
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/ads"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(orjson.loads(body))
        self.server.headers.append(dict(self.headers))
        try:
            self.server.answer(self)
        except OSError:
            self.close_connection = True  # whoever asked has gone

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def dribble(self, forever: bytes) -> None:
        """Bytes without end, one by one, until the test is over."""
        while not self.server.over.wait(0.01):
            self.wfile.write(forever)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.over.set()
        serving.shutdown()
        thread.join()


def http_of(server: Server, **given: Any) -> HttpAds:
    """With a minute to answer, unless told: the machine that runs the tests may be busy."""
    clock = given.pop("clock", time.monotonic)
    rules = {"timeout_ms": 60_000, **given}
    return HttpAds(AdsSettings(source="http", url=server.url, **rules), KEY, clock)


def test_an_ad_server_is_asked_and_believed(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with closing(http_of(server, token_file=token, max_offered=7)) as source:
        offer = source.fetch(asking())
        assert ([ad.id for ad in offer.ads], offer.refused, offer.problem) == (["a"], 0, "")
        source.fetch(asking())
        source.fetch(asking(viewer_id=2))
    first, again, other = server.asked
    assert first == {
        "viewer": first["viewer"],
        "product": "for_you",
        "limit": 7,
        "languages": ["de"],
        "organic": [{"post_id": "11", "topic_id": "5"}, {"post_id": "12", "topic_id": None}],
    }
    assert again == first
    assert other["viewer"] != first["viewer"]
    assert len(first["viewer"]) == 32
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.headers[0]["Accept-Encoding"] == "identity"
    rules = AdsSettings(source="http", url=server.url, timeout_ms=60_000)
    with closing(HttpAds(rules, b"other")) as source:
        source.fetch(asking())
    assert server.asked[-1]["viewer"] != first["viewer"]
    assert "Authorization" not in server.headers[-1]


def test_too_many_ads_are_refused(server: Server) -> None:
    server.answer = lambda handler: handler.say(document(*"abcde"))
    with closing(http_of(server, max_offered=2)) as source:
        offer = source.fetch(asking())
    assert ([ad.id for ad in offer.ads], offer.refused) == (["a", "b"], 3)


def test_no_content_is_no_ads(server: Server) -> None:
    server.answer = lambda handler: handler.say(b"", 204)
    with closing(http_of(server)) as source:
        offer = source.fetch(asking())
    assert (offer.ads, offer.problem) == ((), "")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda handler: handler.say(b"", 500), "answered 500"),
        (lambda handler: handler.say(b"", 302, Location="/elsewhere"), "answered 302"),
        (lambda handler: handler.say(b"{"), "JSONDecodeError"),
        (lambda handler: handler.say(b"[]"), 'a list "ads"'),
        # Not asked for, and not unpacked.
        (
            lambda handler: handler.say(gzip.compress(document("a")), Content_Encoding="gzip"),
            "JSONDecodeError",
        ),
        (lambda handler: handler.say(document("a") + b" " * 5_000), "more than 2000 bytes"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), "ProtocolError"),
        (lambda handler: handler.connection.shutdown(2), "Error"),
    ],
)
def test_a_wrong_answer_is_no_ads(
    server: Server, answer: Callable[[Handler], None], problem: str
) -> None:
    server.answer = answer
    with closing(http_of(server, max_bytes=2_000)) as source:
        offer = source.fetch(asking())
    assert offer.ads == ()
    assert problem in offer.problem
    assert len(server.asked) == 1


def endless_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.dribble(b" ")


def endless_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    handler.dribble(b"x")


def silence(handler: Handler) -> None:
    handler.server.over.wait()


@pytest.mark.parametrize("answer", [endless_body, endless_headers, silence])
@pytest.mark.parametrize("bound", ["setting", "request"])
def test_an_answer_has_its_time(
    server: Server, answer: Callable[[Handler], None], bound: str
) -> None:
    """Each of these would go on for ever."""
    server.answer = answer
    timeout_ms, left_s = (100, 60.0) if bound == "setting" else (60_000, 0.1)
    with closing(http_of(server, timeout_ms=timeout_ms)) as source:
        offer = source.fetch(asking(left_s=left_s))
    assert offer.ads == ()
    assert "did not answer in 0.1" in offer.problem


def test_without_time_nobody_is_asked(server: Server) -> None:
    with closing(http_of(server)) as source:
        assert "no time" in source.fetch(asking(left_s=0.0)).problem
    assert server.asked == []


def test_a_server_that_is_not_there() -> None:
    settings = AdsSettings(source="http", url="http://127.0.0.1:1/ads", timeout_ms=60_000)
    with closing(HttpAds(settings, KEY)) as source:
        assert "ConnectError" in source.fetch(asking()).problem


def test_after_failures_the_server_is_left_alone(server: Server) -> None:
    now_s = [100.0]
    rules = {"failures_to_pause": 2, "pause_ms": 5_000, "clock": lambda: now_s[0]}
    server.answer = lambda handler: handler.say(b"", 500)
    with closing(http_of(server, **rules)) as source:
        for _ in range(4):
            source.fetch(asking())
        assert len(server.asked) == 2
        assert "left alone" in source.fetch(asking()).problem
        # One more failure, and it is left alone again.
        now_s[0] += 5.0
        for _ in range(2):
            source.fetch(asking())
        assert len(server.asked) == 3
        now_s[0] += 5.0
        server.answer = lambda handler: handler.say(document("a"))
        assert ids(source) == ["a"]
        # All is forgiven: it takes two again.
        server.answer = lambda handler: handler.say(b"", 500)
        for _ in range(3):
            source.fetch(asking())
        assert len(server.asked) == 6


def test_many_ask_at_once(server: Server) -> None:
    together = threading.Barrier(8)

    def answer(handler: Handler) -> None:
        together.wait(60)
        handler.say(document("a"))

    server.answer = answer
    found: list[list[str]] = []
    with closing(http_of(server)) as source:
        threads = [threading.Thread(target=lambda: found.append(ids(source))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [["a"]] * 8


def test_the_source_that_settings_name(server: Server) -> None:
    assert ads_source(AdsSettings(), KEY) is None
    assert isinstance(ads_source(AdsSettings(source="file", file=SAMPLE), KEY), FileAds)
    source = ads_source(AdsSettings(source="http", url=server.url), KEY)
    assert isinstance(source, HttpAds)
    source.close()
