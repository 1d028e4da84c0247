"""The events of a data set in order of time; where it has no time, in a random one."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.quality.splits import POSITIVE, History, cuts
from cluster.events import Kind
from cluster.importers.datasets import DATASETS
from cluster.importers.formats import open_import
from cluster.importers.mapping import TableMapping
from cluster.importers.stages import in_time_order

SPAN_MS = 3_600_000
"""How long the engagements take that have no times: short, so that nothing decays meanwhile."""


class NoData(ValueError):
    """A data set that is not there; the message says where it was looked for."""


def read(
    name: str,
    folder: Path | None,
    options: Mapping[str, Any],
    follows: tuple[Path, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> History:
    """A known data set, `folder`/`name`, or a CSV file (`options` as the importer takes them).

    `follows` is the file of a CSV data set's follow edges, with its own options. Where the data
    has no time, each user's positives are put in a random order, so that of each user's the
    first 70 % lie in train, the next 10 % in validation and the rest in test. Raises `NoData`.
    """
    now_ms = time.time_ns() // 1_000_000
    if name in DATASETS:
        imports = [open_import("dataset", _folder_of(name, folder), now_ms=now_ms)]
        timed = any(
            not isinstance(part.mapping, TableMapping) or part.mapping.time is not None
            for part in DATASETS[name].parts
        )
    else:
        files = [(Path(name), options), *([follows] if follows else [])]
        for file, _ in files:
            if not file.is_file():
                raise NoData(f"{file} is no file, and no data set ({', '.join(DATASETS)})")
        imports = [open_import("csv", file, given, now_ms=now_ms) for file, given in files]
        timed = "time" in options
    batches = [part.batch for source in imports for part in source]
    (events,) = pa.Table.from_batches(in_time_order(batches)).combine_chunks().to_batches()
    if not timed:
        events = in_random_order(events, np.random.default_rng(seed))
    return History(Path(name).stem, events, cuts(events), timed)


def in_random_order(events: pa.RecordBatch, rng: np.random.Generator) -> pa.RecordBatch:
    """Each user's engagements in a random order, spread evenly over one span.

    A user's k-th of n comes within the k-th n-th of the span, so that a cut at a share of it
    cuts every user's history there. Posts are created just before their first engagement;
    everything else has happened before.
    """
    kinds = events.column("kind").to_numpy()
    positive = np.flatnonzero(np.isin(kinds, POSITIVE))
    users = events.column("actor_id").to_numpy()[positive]
    order = np.lexsort((rng.random(len(users)), users))
    starts = np.flatnonzero(np.append(True, np.diff(users[order]) != 0))
    sizes = np.diff(np.append(starts, len(order)))
    nth = np.arange(len(order)) - np.repeat(starts, sizes)
    shares = np.empty(len(order))
    shares[order] = (nth + rng.random(len(order))) / np.repeat(sizes, sizes)
    times_ms = events.column("time_ms").to_numpy().copy()
    begin_ms = int(times_ms.max()) + 2
    times_ms[positive] = begin_ms + (shares * SPAN_MS).astype(np.int64)
    post_ids = events.column("post_id").to_numpy(zero_copy_only=False)
    known, at = np.unique(post_ids[positive], return_inverse=True)
    first_ms = np.full(len(known), np.iinfo(np.int64).max)
    np.minimum.at(first_ms, at, times_ms[positive])
    created = np.flatnonzero(kinds == Kind.POST_CREATE)
    created = created[np.isin(post_ids[created], known)]
    times_ms[created] = first_ms[np.searchsorted(known, post_ids[created])] - 1
    column = events.schema.get_field_index("time_ms")
    moved = events.set_column(column, events.schema.field(column), pa.array(times_ms))
    return moved.take(pa.array(np.argsort(times_ms, kind="stable")))


def _folder_of(name: str, folder: Path | None) -> Path:
    if folder is None:
        raise NoData(f"no data: set MURMURATION_DATA (or --folder) to the folder that holds {name}")
    if not (folder / name).is_dir():
        raise NoData(f"no data: {folder / name} is not there")
    return folder / name


def at_speed(history: History, span_ms: float) -> History:
    """The same history on a clock by which its engagements take so long, from first to last.

    Nothing changes in order: what comes before another thing by the old clock comes a
    millisecond before it by the new one at least, as long as the span has enough of them.
    """
    events = history.events
    times_ms = events.column("time_ms").to_numpy()
    engaged = np.isin(events.column("kind").to_numpy(), POSITIVE)
    first_ms, last_ms = int(times_ms[engaged][0]), int(times_ms[engaged][-1])
    instants, at = np.unique(times_ms, return_inverse=True)
    scaled = np.maximum(instants - first_ms, 0) * (span_ms / max(last_ms - first_ms, 1))
    steps = np.arange(len(instants))
    # Each instant is after the one before: by the scaled clock, or else by a millisecond.
    moved = np.maximum.accumulate(scaled.astype(np.int64) - steps) + steps + first_ms
    column = events.schema.get_field_index("time_ms")
    again = events.set_column(column, events.schema.field(column), pa.array(moved[at]))
    first_cut, second_cut = (
        int(moved[np.searchsorted(instants, cut_ms)]) for cut_ms in history.cuts_ms
    )
    return replace(history, events=again, cuts_ms=(first_cut, second_cut))


FAVOURITES = {"kuairand": (Kind.CLICK,)}
"""By data set, the kinds that are to it what a favourite is to others: nearly all it has of
what its users wanted. Whatever learns from favourites, or goes by them, gets them as such."""


def as_favourites(history: History, kinds: tuple[Kind, ...]) -> History:
    """The same history in which engagements of these kinds are favourites.

    Of a user and a post at most one is: the first, unless there is an earlier favourite.
    """
    codes = history.events.column("kind").to_numpy().copy()
    rows = np.flatnonzero(np.isin(codes, (Kind.FAVOURITE, *kinds)))
    users, posts = (
        history.events.column(name).to_numpy(zero_copy_only=False)[rows].astype(np.int64)
        for name in ("actor_id", "post_id")
    )
    order = np.lexsort((rows, posts, users))
    first = np.append(True, (np.diff(users[order]) != 0) | (np.diff(posts[order]) != 0))[
        : len(order)
    ]
    codes[rows[order[first]]] = Kind.FAVOURITE
    later = rows[order[~first]]
    codes[later[codes[later] == Kind.FAVOURITE]] = kinds[0]
    column = history.events.schema.get_field_index("kind")
    field = history.events.schema.field(column)
    return replace(history, events=history.events.set_column(column, field, pa.array(codes)))
