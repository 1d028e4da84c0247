"""Who offers ads: a file, or an ad server over HTTP."""

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import httpx
import orjson

from cluster.mixer_settings import HOUR_MS, AdsSettings
from timeline.ads import AdsContext, AdsSource, Offer, read_ads

_GRACE_S = 0.05
"""For the thread that asks to say itself that the time was up."""
_JOIN_S = 5.0
_LOG = logging.getLogger(__name__)


def ads_source(settings: AdsSettings, viewer_key: bytes) -> AdsSource | None:
    """The source that settings name; None where there are no ads. `viewer_key` as `HttpAds`."""
    if settings.source == "file" and settings.file is not None:
        return FileAds(settings, settings.file)
    return HttpAds(settings, viewer_key) if settings.source == "http" else None


class FileAds:
    """Ads from a JSON file, the same as an ad server's answer; read again when it changes.

    Each viewer begins at another ad each hour. A file that cannot be read leaves the last good
    one in force, and says so in each offer.
    """

    def __init__(self, settings: AdsSettings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._offer = Offer()

    def fetch(self, context: AdsContext) -> Offer:
        """See `AdsSource.fetch`."""
        with self._lock:
            offer = self._offer = self._read()
        if not offer.ads:
            return offer
        turn = f"{context.viewer_id} {context.now_ms // HOUR_MS}".encode()
        first = int.from_bytes(hashlib.blake2b(turn, digest_size=8).digest()) % len(offer.ads)
        in_turn = (offer.ads[first:] + offer.ads[:first])[: self._settings.max_offered]
        return Offer(in_turn, offer.refused, offer.problem)

    def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> Offer:
        try:
            status = self._path.stat()
            version = status.st_mtime_ns, status.st_size
            if version == self._version:
                return self._offer
            self._version = version
            with self._path.open("rb") as file:
                body = file.read(self._settings.max_bytes + 1)
            return read_ads(body, self._settings.max_bytes, None)
        except OSError as error:
            self._version = None
            problem = str(error)
        except ValueError as error:
            problem = f"{self._path}: {error}"
        if problem != self._offer.problem:
            _LOG.warning("ads are not read: %s", problem)
        return Offer(self._offer.ads, self._offer.refused, problem)


class HttpAds:
    """Ads of an ad server, asked with a POST for each page.

    One thread keeps all requests, so that each ends when its time does, however slowly the
    server dribbles; after some failures in a row the server is left alone for a while.
    """

    def __init__(
        self,
        settings: AdsSettings,
        viewer_key: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`viewer_key` (64 bytes at most) keeps whom a hash stands for from the ad server; with
        the same one the hash stays the same. Raises `OSError` for a token that is not there."""
        self._settings = settings
        self._viewer_key = viewer_key
        self._pause = _Pause(settings.failures_to_pause, settings.pause_ms / 1000, clock)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if settings.token_file is not None:
            headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        # Redirects and proxies would send viewers' hashes where no setting says.
        self._client = httpx.AsyncClient(
            headers=headers, timeout=None, trust_env=False, follow_redirects=False
        )
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(started)), name="ads", daemon=True
        )
        self._thread.start()
        started.wait()

    def fetch(self, context: AdsContext) -> Offer:
        """See `AdsSource.fetch`."""
        timeout_s = min(self._settings.timeout_ms / 1000, context.left_s)
        if timeout_s <= 0:
            return Offer(problem="no time is left for ads")
        if not self._pause.over():
            return Offer(problem="the ad server is left alone after failures")
        asking = asyncio.run_coroutine_threadsafe(self._ask(context, timeout_s), self._loop)
        try:
            offer = asking.result(timeout_s + _GRACE_S)
        except TimeoutError:
            asking.cancel()
            offer = Offer(problem=f"the ad server did not answer in {timeout_s:.3f} s")
        except (httpx.HTTPError, httpx.InvalidURL, CancelledError, OSError, ValueError) as error:
            offer = Offer(problem=f"{type(error).__name__}: {error}")
        if self._pause.note(failed=bool(offer.problem)):
            _LOG.warning("the ad server is left alone for a while: %s", offer.problem)
        return offer

    def close(self) -> None:
        """End what is under way, and the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_JOIN_S)

    async def _live(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._client:
            started.set()
            await self._stop.wait()

    async def _ask(self, context: AdsContext, timeout_s: float) -> Offer:
        body = bytearray()
        asked = orjson.dumps(self._question(context))
        most = self._settings.max_bytes
        async with (
            asyncio.timeout(timeout_s),
            self._client.stream("POST", self._settings.url, content=asked) as answer,
        ):
            if answer.status_code == httpx.codes.NO_CONTENT:
                return Offer()
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"the ad server answered {answer.status_code}")
            # Raw: what a few compressed bytes would become has no bound.
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > most:
                    break
        return read_ads(bytes(body), most, self._settings.max_offered)

    def _question(self, context: AdsContext) -> dict[str, Any]:
        viewer = str(context.viewer_id).encode()
        return {
            "viewer": hashlib.blake2b(viewer, digest_size=16, key=self._viewer_key).hexdigest(),
            "product": context.product,
            "limit": self._settings.max_offered,
            "languages": context.languages,
            "organic": [
                {"post_id": str(post), "topic_id": str(topic) if topic else None}
                for post, topic in zip(context.post_ids, context.topic_ids, strict=True)
            ],
        }


class _Pause:
    """Whether somebody who failed again and again is to be left alone; thread-safe."""

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float]) -> None:
        self._most, self._pause_s, self._clock = failures, pause_s, clock
        self._failures = 0
        self._until_s = float("-inf")
        self._lock = threading.Lock()

    def over(self) -> bool:
        """Whether to ask."""
        with self._lock:
            return self._clock() >= self._until_s

    def note(self, *, failed: bool) -> bool:
        """Note how it went; returns whether a pause begins. After one, a single failure does."""
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            begins = self._failures >= self._most
            if begins:
                self._until_s = self._clock() + self._pause_s
            return begins
