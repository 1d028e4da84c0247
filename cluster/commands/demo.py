"""The demo: a simulated world, served from this machine, and what one of its users sees."""

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from actors.models import HEAVY_RANKER
from cluster import launch
from cluster.artifacts import ArtifactStore
from cluster.commands import reading, training
from cluster.commands.bars import job_bars
from cluster.commands.findings import print_findings
from cluster.commands.http import HttpService
from cluster.commands.page_text import print_page
from cluster.commands.reading import Wanted
from cluster.commands.tour import PAGE, Tour, viewer_to_show
from cluster.events import Kind
from cluster.settings import DAY_MS, Settings
from cluster.tokens import ensure_tokens, tokens_path
from simulation.run import simulate
from simulation.vocabulary import COMMUNITIES
from training.refresh import JOB_NAMES

_STREAM = "application/vnd.apache.arrow.stream"
_SEED = 7
_LATENCY_REQUESTS = 100
_RANKER_EXAMPLES = 30_000
"""Enough to see what the heavy ranker learns, in half a minute."""
_RANKER_WITHIN_S = 30.0
Report = Callable[[str], None]
_ADS = Path(__file__).parents[2] / "docs" / "examples" / "ads.json"


def run(settings: Settings, users: int, days: float, console: Console) -> None:
    """Run the demo; at a terminal the system stays up, under `CI` it is ended."""
    started = time.perf_counter()
    settings = launch.absolute(_with_ads(settings))

    def say(text: str) -> None:
        console.print(f"[dim]{time.perf_counter() - started:6.1f} s[/]  {text}")

    launch.down(settings)
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    ensure_tokens(tokens_path(settings))
    try:
        launch.up(settings, report=say)
        with HttpService(settings, "admin") as service:
            _show_world(console, service, settings, users, days, say)
        say("done")
    except BaseException:
        launch.down(settings)
        raise
    if os.environ.get("CI") or not sys.stdout.isatty():
        say("stopping, since nobody is at a terminal")
        launch.down(settings)
        shutil.rmtree(settings.data_dir, ignore_errors=True)


def _show_world(
    console: Console, service: HttpService, settings: Settings, users: int, days: float, say: Report
) -> None:
    """Send a world, train on it, and show what one of its users sees."""
    now_ms = time.time_ns() // 1_000_000
    say(f"simulating {users:,} users for {days:g} days, sending their events over HTTP")
    sent = _send(service, simulate(users, days, _SEED, now_ms - int(days * DAY_MS)))
    launch.wait_applied(settings)
    kinds = ", ".join(f"{count:,} {label}" for label, count in sent.kinds.most_common(6))
    say(f"{sent.kinds.total():,} events are durable and applied: {kinds} …")
    _train(console, settings, say)
    most_active = [user_id for user_id, _ in sent.favourites.most_common()]
    _wait_for_ranker(service, settings, most_active[0])
    user_id = viewer_to_show(service, most_active)
    page = _show(console, service, user_id)
    _measure(console, service, list(sent.favourites)[:_LATENCY_REQUESTS])
    Tour(console, service, user_id, settings.data_dir.name, sent.texts).take(page)
    _say_what_next(console, service, settings, user_id)


@dataclass
class _Sent:
    """What a world was made of."""

    kinds: Counter[str] = field(default_factory=Counter)
    """Events by kind."""
    favourites: Counter[int] = field(default_factory=Counter)
    """By user."""
    texts: dict[int, str] = field(default_factory=dict)
    """Of posts, as they were last written."""

    def count(self, batch: pa.RecordBatch) -> None:
        """Take note of a batch of events."""
        kinds = batch.column("kind").to_numpy()
        codes, counts = np.unique(kinds, return_counts=True)
        self.kinds.update(
            {Kind(c).label: n for c, n in zip(codes.tolist(), counts.tolist(), strict=True)}
        )
        self.favourites.update(
            batch.column("actor_id").to_numpy()[kinds == Kind.FAVOURITE].tolist()
        )
        if "text" in batch.schema.names:
            written = np.flatnonzero(np.isin(kinds, (Kind.POST_CREATE, Kind.POST_EDIT)))
            rows = batch.take(pa.array(written))
            post_ids, texts = rows.column("post_id").to_pylist(), rows.column("text").to_pylist()
            self.texts |= {p: t for p, t in zip(post_ids, texts, strict=True) if t}


def _with_ads(settings: Settings) -> Settings:
    """Settings with the example of an ads file, where no source of ads was chosen."""
    mixer = settings.mixer
    if mixer.ads.source != "none" or not _ADS.exists():
        return settings
    ads = mixer.ads.model_copy(update={"source": "file", "file": _ADS})
    return settings.model_copy(update={"mixer": mixer.model_copy(update={"ads": ads})})


def _send(service: HttpService, batches: Iterator[pa.RecordBatch]) -> _Sent:
    """POST batches as Arrow."""
    sent = _Sent()
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        answer = service.post("/v1/events", sink.getvalue().to_pybytes(), _STREAM, history=True)
        if answer["problems"]:
            raise RuntimeError(f"the world made a bad event: {answer['problems'][0]}")
        sent.count(batch)
    return sent


def _train(console: Console, settings: Settings, say: Report) -> None:
    """Train every model on the world, make it serve, and say what it found."""
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    topics = {number: community.name for number, community in enumerate(COMMUNITIES, 1)}
    say(f"training {', '.join(JOB_NAMES)} on that world")
    # Comparing two kinds of text model takes longer than all else; `train` by itself does.
    safety = settings.training.trust_and_safety.model_copy(update={"candidates": ("linear",)})
    jobs = settings.training.model_copy(update={"trust_and_safety": safety})
    ranker = settings.heavy_ranker.model_copy(update={"max_examples": _RANKER_EXAMPLES})
    settings = settings.model_copy(update={"training": jobs, "heavy_ranker": ranker})
    with job_bars(console, lines=False) as bars:
        for found in training.train(settings, training.ALL, None, True, bars=bars):
            if not found["version"]:
                say(f"{found['name']} was not trained: {found['passed']}")
                continue
            state = "and serves" if found["activated"] else "but was refused"
            say(f"{found['name']} learned in {found['seconds']:.1f} s, {state}")
            print_findings(console, artifacts, found["name"], found["version"], topics)


def _wait_for_ranker(service: HttpService, settings: Settings, user_id: int) -> None:
    """Let the process that answers load the heavy ranker: pages before that have the light one."""
    active = launch.status(settings)["shards"][0].get("active", {}).get(HEAVY_RANKER)
    deadline = time.monotonic() + _RANKER_WITHIN_S
    while active and time.monotonic() < deadline:
        # Not a visit: it would use up the modules that are due.
        page = reading.page(service, Wanted(user_id, limit=1), record=False)
        if page["model_version"] == active:
            return
        time.sleep(0.1)


def _show(console: Console, service: HttpService, user_id: int) -> dict[str, Any]:
    """One user's page, and what became of every candidate on the way to it; returns the page."""
    page = reading.page(service, Wanted(user_id, limit=PAGE))
    print_page(console, page)
    why = reading.why(service, user_id, page["items"][0]["post_id"], page["request_id"])
    table = Table("stage", "in", "out", "ms", title="the funnel")
    for stage in why["stages"]:
        table.add_row(stage["name"], str(stage["in"]), str(stage["out"]), f"{stage['ms']:.2f}")
    console.print(table)
    sources = Table("source", "candidates", "no other found", title="candidates by source")
    for name, by in page["candidates"].items():
        sources.add_row(name, str(by["found"]), str(by["only"]))
    console.print(sources)
    return page


def _measure(console: Console, service: HttpService, user_ids: list[int]) -> None:
    samples = []
    for user_id in user_ids:
        started = time.perf_counter()
        service.get(f"/v1/timelines/for-you/{user_id}", limit=35)
        samples.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(samples, (50, 99))
    load = os.getloadavg()[0]
    console.print(
        f"For You over HTTP, one request at a time: p50 {p50:.1f} ms, p99 {p99:.1f} ms "
        f"({len(samples)} requests, {os.cpu_count()} cores, load {load:.1f})"
    )


def _say_what_next(
    console: Console, service: HttpService, settings: Settings, user_id: int
) -> None:
    path = f"{service.address}/v1/timelines/for-you/{user_id}?limit=5"
    console.print(f"\nThe API with its documentation: {service.address}/docs")
    console.print(f"Tokens: {tokens_path(settings)}\n")
    tokens = json.dumps(str(tokens_path(settings)))
    line = (
        f"curl -H \"Authorization: Bearer $(awk '$2 == \"read\" {{print $1}}' {tokens})\" '{path}'"
    )
    console.print(line, soft_wrap=True, markup=False)
    folder = settings.data_dir.name
    console.print(f"\nIt runs on until: murmuration down --data-dir {folder}")
