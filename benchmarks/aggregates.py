"""Aggregates: how fast decayed counters are updated, read, forgotten, and counted from events.

Run `python -m benchmarks.aggregates` (`--quick` for a tenth of the events); prints JSON. Posts
and people are drawn with heavy tails; label updates are counters that change, of one half-life.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from actors.aggregates import AggregatesKind
from actors.features.aggregate_groups import Selection, batch_groups, real_time_groups
from actors.features.aggregate_records import LABELS, Records, labels_of
from actors.features.aggregation import AggregateGroup
from actors.lists import Lists
from actors.rows import Engagements, Rows
from actors.stores.posts import PostTable
from actors.stores.users import UserTable
from benchmarks.report import emit, percentiles
from cluster.events import CORE, Kind
from cluster.ids import Ids
from cluster.routing import route
from cluster.settings import AggregateSettings
from training.joined_events import JoinedEvents

_KINDS = (
    *((Kind.IMPRESSION,) * 8 + (Kind.FAVOURITE,) * 4 + (Kind.DWELL,) * 3 + (Kind.CLICK,) * 2),
    *(Kind.REPOST, Kind.REPLY, Kind.PROFILE_CLICK, Kind.PHOTO_EXPAND, Kind.VIDEO_WATCH),
)
_START_MS = 1_700_000_000_000
_SLICE = 2_000
"""Rows that a shard applies between two queries."""


class Stream:
    """Engagements with posts in order of time, as events."""

    def __init__(self, n_users: int, n_posts: int, events_per_s: int) -> None:
        self.rng = np.random.default_rng(3)
        self.n_users, self.n_posts, self._per_s = n_users, n_posts, events_per_s
        self._at = 0

    def draw(self, n: int) -> pa.RecordBatch:
        """The next n events."""
        rng = self.rng
        posts = 1 + (self.n_posts * rng.random(n) ** 2).astype(np.int64)
        events = np.arange(self._at, self._at + n)
        self._at += n
        columns = {
            "event_id": events + 1,
            "kind": rng.choice(np.array(_KINDS, np.uint8), n),
            "time_ms": _START_MS + events * 1_000 // self._per_s,
            "actor_id": 1 + (self.n_users * rng.random(n) ** 1.5).astype(np.int64),
            "post_id": posts,
            "author_id": 1 + posts * 7919 % self.n_users,
            "target_id": np.zeros(n, np.int64),
            "value": rng.integers(0, 40_000, n).astype(np.float32),
        }
        return pa.RecordBatch.from_pydict(columns, schema=CORE)

    def posts(self) -> pa.RecordBatch:
        """The creation of every post, an hour before."""
        ids = np.arange(1, self.n_posts + 1)
        zeros = np.zeros(self.n_posts, np.int64)
        columns = {
            "event_id": ids + 2**40,
            "kind": np.full(self.n_posts, Kind.POST_CREATE, np.uint8),
            "time_ms": np.full(self.n_posts, _START_MS - 3_600_000),
            "actor_id": zeros,
            "post_id": ids,
            "author_id": 1 + ids * 7919 % self.n_users,
            "target_id": zeros,
            "value": np.zeros(self.n_posts, np.float32),
        }
        batch = pa.RecordBatch.from_pydict(columns, schema=CORE)
        topics = pa.array([[int(i) % 200 + 1] for i in ids], pa.list_(pa.int64()))
        return batch.append_column("topics", topics)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments, _ = parser.parse_known_args()
    share = 10 if arguments.quick else 1
    n_posts, n_users, n_events = 200_000 // share, 100_000 // share, 2_000_000 // share
    figures: dict[str, Any] = {
        "table": _table(n_posts, n_events),
        "read": _read(n_posts, n_events // 4),
        "full_table": _full(n_posts, n_events // 2),
    }
    for selection in ("laptop", "twitter"):
        figures[f"shard_{selection}"] = _shard(selection, n_users, n_posts, n_events // 4)
        figures[f"job_{selection}"] = _job(selection, n_users, n_posts, n_events // 8)
    emit("aggregates", figures, posts=n_posts, users=n_users, events=n_events, threads=1)


def _records(stream: Stream, n: int) -> Records:
    batch = stream.draw(n)
    kinds, values = (batch.column(name).to_numpy() for name in ("kind", "value"))
    keys = {"post_id": batch.column("post_id").to_numpy()}
    return Records(batch.column("time_ms").to_numpy(), labels_of(kinds, values), keys, {})


def _group(labels: tuple[str, ...]) -> AggregateGroup:
    by_post = next(g for g in real_time_groups("twitter") if g.keys == ("post_id",))
    return replace(by_post, labels=labels)


def _count(group: AggregateGroup, table: Any, records: Records) -> None:
    group.count(table, records, records.times_ms)


def _table(n_posts: int, n_events: int) -> dict[str, Any]:
    """Updates of one group of 14 labels and two half-lives."""
    stream = Stream(1_000, n_posts, 20_000)
    group = _group(next(g for g in real_time_groups("twitter")).labels)
    table = group.table(2**31)
    parts = [_records(stream, 65_536) for _ in range(max(n_events // 65_536, 2))]
    _count(group, table, parts[0])
    wanted = np.uint64(sum(1 << LABELS.index(label) for label in group.labels))
    n_labels = sum(int(np.bitwise_count(part.labels & wanted).sum()) for part in parts[1:])
    started = time.perf_counter()
    for part in parts[1:]:
        _count(group, table, part)
    taken_s = time.perf_counter() - started
    return {
        "label_updates_per_s": round(n_labels / taken_s),
        "events_per_s": round(65_536 * (len(parts) - 1) / taken_s),
        "rows": len(table),
        "bytes_per_row": round(table.memory_bytes / len(table)),
    }


def _read(n_posts: int, n_events: int) -> dict[str, Any]:
    """1,500 keys of 100 slots."""
    stream = Stream(1_000, n_posts, 20_000)
    group = _group((*LABELS, *LABELS)[:50])
    table = group.table(2**31)
    _count(group, table, _records(stream, n_events))
    now_ms = _START_MS + 600_000

    def ask(keys: Ids) -> None:
        table.read((keys,), now_ms)

    draws = [1 + (n_posts * stream.rng.random(1_500) ** 2).astype(np.int64) for _ in range(50)]
    return {"slots": table.n_slots, "keys": 1_500, **_measure(ask, draws)}


def _full(n_posts: int, n_events: int) -> dict[str, Any]:
    """Updates where a table holds a fifth of what is asked of it."""
    stream = Stream(1_000, n_posts, 20_000)
    group = _group(next(g for g in real_time_groups("twitter")).labels)
    table = group.table(n_posts // 5 * (8 * 29 + 40))
    slowest, started = 0.0, time.perf_counter()
    for _ in range(n_events // 4_096):
        part = _records(stream, 4_096)
        began = time.perf_counter()
        _count(group, table, part)
        slowest = max(slowest, time.perf_counter() - began)
    return {
        "events_per_s": round(n_events / (time.perf_counter() - started)),
        "slowest_4096_ms": round(1e3 * slowest, 2),
        "rows": table.max_rows,
        "evicted": table.evicted,
    }


def _shard(selection: Selection, n_users: int, n_posts: int, n_events: int) -> dict[str, Any]:
    """A shard that holds everybody applies slices, and answers about a request's candidates."""
    stream = Stream(n_users, n_posts, 20_000)
    users, posts, lists = UserTable(), PostTable(), Lists()
    created = stream.posts()
    posts.write(created, created.column("event_id").to_numpy())
    kind = AggregatesKind(AggregateSettings(bytes=2**30), selection, users, posts, lists)
    samples = []
    for _ in range(n_events // _SLICE):
        rows = Rows(route(stream.draw(_SLICE), 1)[0])
        engagements = Engagements.of(rows)
        began = time.perf_counter()
        kind.apply(rows, engagements)
        samples.append((time.perf_counter() - began) / len(rows) * _SLICE)
    rng = stream.rng
    now_ms = _START_MS + 3_600_000

    def ask(candidates: Ids) -> None:
        authors = np.unique(1 + candidates * 7919 % n_users)
        found = {
            "post_id": candidates,
            "author_id": authors,
            "viewer_id": np.full(len(authors), int(authors[0])),
            "topics": np.unique(candidates % 200 + 1),
            "lists": authors[:4],
        }
        for group in kind.groups.values():
            keys = [found[name] for name in group.keys]
            if group.keys == ("viewer_id",):
                keys = [found["viewer_id"][:1]]
            kind.read(group.name, tuple(keys), now_ms)

    draws = [1 + (n_posts * rng.random(1_500) ** 2).astype(np.int64) for _ in range(50)]
    return {
        "groups": len(kind.groups),
        "slots": sum(len(g.columns) for g in kind.groups.values()),
        "apply_2000_rows": percentiles(samples[5:]),
        "rows": len(kind),
        "memory_mb": round(kind.memory_bytes / 1e6, 1),
        "read_1500_candidates": _measure(ask, draws),
    }


def _job(selection: Selection, n_users: int, n_posts: int, n_events: int) -> dict[str, Any]:
    """Batch groups from events in order of time, without reading and writing files."""
    stream = Stream(n_users, n_posts, 2)
    groups = batch_groups(selection)
    tables = [group.table(2**31 // len(groups)) for group in groups]
    joined = JoinedEvents()
    joined.records(stream.posts())
    batches = [stream.draw(65_536) for _ in range(max(n_events // 65_536, 2))]
    started = 0.0
    for at, batch in enumerate(batches):
        if at == 1:
            started = time.perf_counter()
        records = joined.records(batch)
        for group, table in zip(groups, tables, strict=True):
            group.count(table, records, records.times_ms)
    taken_s = time.perf_counter() - started
    return {
        "columns": sum(len(group.columns) for group in groups),
        "events_per_s": round(65_536 * (len(batches) - 1) / taken_s),
        "memory_mb": round(sum(table.memory_bytes for table in tables) / 1e6, 1),
    }


def _measure(ask: Callable[[Ids], None], draws: list[Ids]) -> dict[str, float]:
    samples = []
    for draw in draws:
        started = time.perf_counter()
        ask(draw)
        samples.append(time.perf_counter() - started)
    return percentiles(samples[5:])


if __name__ == "__main__":
    main()
