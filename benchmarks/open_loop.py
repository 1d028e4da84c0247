"""Requests that come at a rate, however long answers take: what a crowd does, and no client.

Run as `python -m benchmarks.open_loop`, in a process of its own: reads a plan (JSON) from
standard input and prints what became of each request.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from typing import Any

import aiohttp
import orjson
import uvloop

_TIMEOUT_S = 60.0


def crowd(
    host: str, port: int, paths: list[str], *, token: str, per_s: float, seconds: float
) -> dict[str, Any]:
    """Ask for pages of timelines at a rate for a while, in another process.

    Returns columns over requests: `status` (0 where there was no answer), `seconds`,
    `retry_after` (whether the answer says when to come back), `items` and `blind` (whether the
    viewer's context was missing); also `late_s`, by how much the generator itself fell behind at
    worst, and `client_cpu_s`.
    """
    plan = {"host": host, "port": port, "paths": paths, "token": token}
    plan |= {"per_s": per_s, "seconds": seconds}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.open_loop"],
        input=json.dumps(plan).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + 2 * _TIMEOUT_S,
    )
    return dict(json.loads(done.stdout))


async def _run(plan: dict[str, Any]) -> dict[str, Any]:
    paths, per_s = plan["paths"], plan["per_s"]
    rows: list[tuple[int, float, bool, int, bool]] = []
    headers = {"Authorization": f"Bearer {plan['token']}"}
    base = f"http://{plan['host']}:{plan['port']}"

    async def one(session: aiohttp.ClientSession, path: str) -> None:
        started = time.perf_counter()
        try:
            async with session.get(base + path) as answer:
                body = await answer.read()
                took_s = time.perf_counter() - started
                page = orjson.loads(body) if answer.status == 200 else {"items": (), "degraded": ()}
                blind = "viewer_context" in page["degraded"]
                row = "Retry-After" in answer.headers, len(page["items"]), blind
                rows.append((answer.status, took_s, *row))
        except (aiohttp.ClientError, TimeoutError):
            rows.append((0, time.perf_counter() - started, False, 0, False))

    late_s = 0.0
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
    ) as session:
        asked, started = [], time.perf_counter()
        for number in range(int(per_s * plan["seconds"])):
            left_s = started + number / per_s - time.perf_counter()
            late_s = max(late_s, -left_s)
            await asyncio.sleep(max(left_s, 0.0))
            asked.append(asyncio.create_task(one(session, paths[number % len(paths)])))
        await asyncio.gather(*asked)
    used = resource.getrusage(resource.RUSAGE_SELF)
    names = ("status", "seconds", "retry_after", "items", "blind")
    return {
        **{name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)},
        "late_s": late_s,
        "client_cpu_s": used.ru_utime + used.ru_stime,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))
