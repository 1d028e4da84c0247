"""Ten times the traffic, in process: shards are slow, and requests come faster than answers can."""

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.problems import ProblemError
from cluster.request_threads import RequestThreads
from serve_app import PAGE_THREADS
from tests.http_world import VIEWER, World, a_lively_world
from timeline.pages import Page

DELAY_S = 0.2
"""Of every wave to the shards: next to it the time that computing takes is small."""
DEADLINE_S = 4.0
SLACK_S = 2.0
"""For a machine that runs other tests beside this one."""
SECONDS = 5.0
FACTORS = {"warm_up_s": 0.0, "fetch_target_ms": DELAY_S * 900, "step": 0.01}
PATH = f"/v1/timelines/for-you/{VIEWER}?limit=5"


@dataclass(frozen=True)
class Answered:
    seconds: float
    status: int
    retry_after: str | None
    page: dict[str, Any]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[World]:
    settings = {"sources": {"quality_factor": FACTORS, "off": ["cached"]}}
    for world in a_lively_world(tmp_path, settings=settings, deadline_ms=int(DEADLINE_S * 1000)):
        world.for_you(limit=5)
        world.router.delay_s = DELAY_S
        yield world
        world.router.delay_s = 0.0


def sustained_per_s(world: World, n: int = 2 * PAGE_THREADS) -> float:
    """How many answers a second there are when each thread has always one to make."""
    with ThreadPoolExecutor(PAGE_THREADS) as clients:
        started = time.perf_counter()
        list(clients.map(lambda _: world.for_you(limit=5).raise_for_status(), range(n)))
    return n / (time.perf_counter() - started)


async def open_loop(world: World, per_s: float, seconds: float) -> list[Answered]:
    """Requests that come at a rate, however long the answers take."""
    transport = httpx.ASGITransport(world.client.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=world.as_("read"), timeout=60
    ) as client:

        async def one() -> Answered:
            started = time.perf_counter()
            answer = await client.get(PATH)
            took_s = time.perf_counter() - started
            after = answer.headers.get("retry-after")
            return Answered(took_s, answer.status_code, after, answer.json())

        asked, started = [], time.perf_counter()
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(started + number / per_s - time.perf_counter(), 0))
            asked.append(asyncio.create_task(one()))
        return await asyncio.gather(*asked)


def factor(world: World, name: str = "in_network") -> float:
    text = world.get("/metrics").text
    return next(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "murmuration_quality_factor" and sample.labels["name"] == name
    )


def page_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pages")}


def pages_alive() -> int:
    gc.collect()
    return sum(type(one) is Page for one in gc.get_objects())


def test_ten_times_the_traffic(slow: World) -> None:
    others, before = page_threads(), factor(slow)
    per_s = sustained_per_s(slow)
    answered = asyncio.run(open_loop(slow, 10 * per_s, SECONDS))
    statuses = Counter(one.status for one in answered)
    assert set(statuses) == {200, 503}
    good = [one for one in answered if one.status == 200]
    refused = [one for one in answered if one.status == 503]
    # Those let in are answered in time, with a page; that they cost what they cost alone says
    # that nothing was begun in vain.
    assert max(one.seconds for one in good) <= DEADLINE_S + SLACK_S
    assert all(len(one.page["items"]) == 5 for one in good)
    assert all("viewer_context" not in one.page["degraded"] for one in good)
    assert len(good) >= 0.4 * per_s * SECONDS
    # All others are told when to come back, long before the deadline.
    assert {one.retry_after for one in refused} == {"1"}
    assert {one.page["type"] for one in refused} == {"urn:murmuration:problem:overloaded"}
    assert max(one.seconds for one in refused) <= DEADLINE_S / 4 + SLACK_S
    assert len(refused) > len(good)
    # No page is held beyond the recorder's bound, threads are not more, health was answered.
    assert pages_alive() <= 48 + 32 + PAGE_THREADS
    assert len(page_threads() - others) <= PAGE_THREADS
    assert slow.client.get("/healthz").status_code == 200
    fallen = factor(slow)
    assert fallen < before
    # And when the rush and the slowness are over, all is as it was.
    slow.router.delay_s = 0.0
    for _ in range(5):
        assert slow.for_you(limit=5).json()["degraded"] == []
    assert fallen < factor(slow)
    for _ in range(300):
        slow.for_you(limit=5)
        if factor(slow) == 1.0:
            break
    assert factor(slow) > (fallen + 1.0) / 2


def test_health_is_answered_while_pages_wait(slow: World) -> None:
    slow.router.delay_s = 0.3

    async def rush() -> list[float]:
        load = asyncio.create_task(open_loop(slow, 60, 1.5))
        transport = httpx.ASGITransport(slow.client.app)
        took_s = []
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            while not load.done():
                started = time.perf_counter()
                assert (await client.get("/healthz")).status_code == 200
                took_s.append(time.perf_counter() - started)
                await asyncio.sleep(0.05)
        await load
        return took_s

    assert max(asyncio.run(rush())) < SLACK_S / 2


# The line before the threads


def test_what_waits_too_long_is_refused_and_never_begun() -> None:
    async def both() -> tuple[Any, Any, list[str]]:
        threads, gate, done = RequestThreads(1, "one", 0.05), threading.Event(), list[str]()

        def first() -> str:
            assert gate.wait(10)
            done.append("first")
            return "made"

        one = asyncio.create_task(threads.run(first))
        await asyncio.sleep(0)
        other = await asyncio.gather(
            threads.run(lambda: done.append("other")), return_exceptions=True
        )
        gate.set()
        made = await one
        assert await threads.run(lambda: "again") == "again"
        threads.close()
        return made, other[0], done

    made, refused, done = asyncio.run(both())
    assert made == "made", "work that has begun is not given up"
    assert done == ["first"]
    assert isinstance(refused, ProblemError)
    assert (refused.slug, refused.status, refused.headers) == (
        "overloaded",
        503,
        {"Retry-After": "1"},
    )


def test_errors_of_the_work_and_of_whoever_asks_stay_what_they_are() -> None:
    async def both() -> None:
        threads, gate = RequestThreads(1, "one", 60), threading.Event()
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        asked = asyncio.create_task(threads.run(lambda: gate.wait(10)))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.set()
        threads.close()

    asyncio.run(both())
