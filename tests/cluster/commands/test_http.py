"""Calls to a service, where what answers is not one."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.commands.http import HttpProblem, HttpService
from cluster.run_record import RunRecord, replace_record
from cluster.settings import load
from tests.running import free_port


class BadGateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(502)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"oops")

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_that_is_no_json_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMURATION_TOKEN", "a-token-of-a-test")
    settings = load(data_dir=tmp_path)
    server = HTTPServer(("127.0.0.1", 0), BadGateway)
    port = server.server_address[1]
    replace_record(settings, RunRecord("here", False, {}, "127.0.0.1", port))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with (
            HttpService(settings, "read") as service,
            pytest.raises(HttpProblem, match="answered 502 Bad Gateway, and no JSON"),
        ):
            service.get("/v1/anything")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMURATION_TOKEN", "a-token-of-a-test")
    settings = load(data_dir=tmp_path)
    replace_record(settings, RunRecord("here", False, {}, "127.0.0.1", free_port()))
    with (
        HttpService(settings, "read") as service,
        pytest.raises(HttpProblem, match="does not answer"),
    ):
        service.get("/v1/anything")


def test_a_token_of_the_scope_is_taken_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MURMURATION_TOKEN", raising=False)
    settings = load(data_dir=tmp_path)
    replace_record(settings, RunRecord("here", False, {}, "127.0.0.1", 1))
    with pytest.raises(HttpProblem, match="no token: set MURMURATION_TOKEN"):
        HttpService(settings, "read")
    (tmp_path / "tokens").write_text("# comment read\nfirst write\nsecond read,admin\n")
    with HttpService(settings, "admin") as service:
        assert service.token == "second"
