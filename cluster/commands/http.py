"""Calls to the running system's HTTP service, as its own command line makes them."""

import os
from pathlib import Path
from typing import Any, Self

import httpx

from cluster.run_record import read_record
from cluster.settings import Settings
from cluster.tokens import tokens_path

_TIMEOUT_S = 30.0


class HttpProblem(RuntimeError):
    """An answer that was not a success; the message is the problem's detail."""


class HttpService:
    """The service of a system on this machine, with a token of the scope asked for.

    The token is that of `MURMURATION_TOKEN`, else one from the tokens file. A context manager,
    which closes its connections.
    """

    def __init__(self, settings: Settings, scope: str) -> None:
        record = read_record(settings)
        if record is None:
            raise HttpProblem("Murmuration is not running here: start it with `murmuration up`")
        self.address = f"http://{record.http_host}:{record.http_port}"
        self.token = os.environ.get("MURMURATION_TOKEN") or _token(tokens_path(settings), scope)
        headers = {"Authorization": f"Bearer {self.token}"}
        self._client = httpx.Client(
            base_url=self.address, headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """GET a JSON document; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._read(lambda: self._client.get(path, params=given))

    def post(
        self, path: str, content: bytes, content_type: str, **parameters: Any
    ) -> dict[str, Any]:
        """POST a body, and read the JSON answer."""
        headers = {"Content-Type": content_type}
        return self._read(
            lambda: self._client.post(path, content=content, headers=headers, params=parameters)
        )

    def _read(self, send: Any) -> dict[str, Any]:
        try:
            answer: httpx.Response = send()
        except httpx.TransportError as error:
            raise HttpProblem(f"{self.address} does not answer: {error}") from error
        try:
            document: dict[str, Any] = answer.json()
        except ValueError as error:
            what = f"{answer.status_code} {answer.reason_phrase}"
            raise HttpProblem(f"{self.address} answered {what}, and no JSON") from error
        if answer.is_error:
            title, detail = document.get("title", ""), document.get("detail", "")
            raise HttpProblem(f"{answer.status_code} {title}: {detail}")
        return document


def _token(path: Path, scope: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise HttpProblem(f"no token: set MURMURATION_TOKEN ({path}: {error.strerror})") from error
    for line in lines:
        words = line.split()
        if len(words) == 2 and not line.startswith("#") and scope in words[1].split(","):
            return words[0]
    raise HttpProblem(f"no token: {path} has none with scope {scope}; set MURMURATION_TOKEN")
