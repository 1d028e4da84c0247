"""The commands that bring much in: ingest and simulate."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.ray_router import KEEPER, connect_log
from cluster import launch, ray_head
from cluster.archive_files import EVENTS
from cluster.archiver import Archiver
from cluster.commands.bars import SILENT, Bars
from cluster.events import CORE, Kind
from cluster.importers.contract import Import
from cluster.importers.formats import open_import
from cluster.ingest import Ingest, Ingested
from cluster.logs import features_lane, open_writer
from cluster.settings import DAY_MS, Settings
from simulation.run import simulate as simulated_batches

Report = Callable[[str], None]
_FORMAT_OF_SUFFIX = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".csv": "csv",
    ".tsv": "tsv",
}


@dataclass(frozen=True)
class Target:
    """Where events go: a running system, or its log alone while nothing runs."""

    ingest: Ingest
    running: bool
    flush_archive: Callable[[], None]


@contextmanager
def open_target(settings: Settings) -> Iterator[Target]:
    """The running system if there is one, else the log on disk."""
    with ExitStack() as stack:
        if not _runs(settings):
            log = stack.enter_context(open_writer(settings))
            archiver = Archiver(
                log,
                settings.archive_root,
                range(settings.log.lanes),
                features_lane=features_lane(settings),
            )

            def flush() -> None:
                while archiver.step():
                    pass

            yield Target(Ingest(settings, log, flush), False, flush)
            flush()
        else:

            def flush() -> None:
                launch.flush_archive(settings)

            yield Target(Ingest(settings, connect_log(settings), flush), True, flush)


def _runs(settings: Settings) -> bool:
    """Whether the system on this data runs, whose keeper looks after the archive."""
    try:
        ray_head.connect(settings, start=False)
        ray.get_actor(KEEPER, settings.namespace)
    except (ray_head.RayProblem, ValueError):
        return False
    return True


def ingest(
    settings: Settings,
    path: str,
    format: str,
    options: dict[str, Any],
    bars: Bars = SILENT,
) -> dict[str, Any]:
    """Import a file and tell `bars` how far it is; see `murmuration ingest`."""
    settings = launch.absolute(settings)
    started = time.perf_counter()
    now_ms = _now_ms()
    state_dir = settings.data_dir / "imports"
    state_dir.mkdir(parents=True, exist_ok=True)
    source = open_import(format, path, options, now_ms=now_ms, state_dir=state_dir)

    def report(what: str) -> None:
        # All of a small file is read at once, and of one that is sorted: what is left is unknown.
        share = source.report.read_share
        bars.progress(f"ingest: {what}", None if share == 1 else share)

    report("reading")
    with open_target(settings) as target:
        # Bluesky's importer takes the request for a batch as the receipt of the one before.
        in_flight = 1 if format == "jetstream" else 2
        total = _append_all(target.ingest, _batches(source), now_ms, report, in_flight)
        if target.running:
            report("waiting for the shards")
            launch.wait_applied(settings)
    bars.end("ingest", done=True)
    seconds = time.perf_counter() - started
    found = source.report
    return {
        "accepted": total.accepted,
        "repeated": total.repeated,
        "events_per_s": total.accepted / seconds,
        "seconds": seconds,
        "lines": found.lines,
        "bad": found.bad + len(total.problems),
        "first_bad": [vars(bad) for bad in found.first_bad],
        "clamped": found.clamped,
        "notes": dict(found.notes),
    }


def simulate(
    settings: Settings,
    users: int,
    days: float,
    seed: int,
    out: Path | None,
    bars: Bars = SILENT,
) -> dict[str, Any]:
    """Simulate a world whose last event is about now, and tell `bars` which hour it is.

    See `murmuration simulate`.
    """
    settings = launch.absolute(settings)
    started = time.perf_counter()
    span_ms, passed_ms = int(days * DAY_MS), 0

    def report(what: str) -> None:
        bars.progress(f"simulate: {what}", passed_ms / max(span_ms, 1))

    def batches(now_ms: int) -> Iterator[pa.RecordBatch]:
        nonlocal passed_ms
        for batch in simulated_batches(users, days, seed, now_ms - span_ms):
            last_ms = batch.column("time_ms")[-1].as_py()
            passed_ms = max(last_ms - (now_ms - span_ms), 0)
            yield batch

    report("users and follows")
    if out is not None:
        events = _write(batches(_now_ms()), out, report)
    else:
        events = ingest_batches(settings, batches, report)
    bars.end("simulate", done=True)
    return {"events": events, "seconds": time.perf_counter() - started}


def ingest_batches(
    settings: Settings,
    batches: Callable[[int], Iterable[pa.RecordBatch]],
    report: Report = lambda _: None,
) -> int:
    """Bring in what `batches(now_ms)` yields and wait until it is applied; returns how many."""
    settings = launch.absolute(settings)
    now_ms = _now_ms()
    with open_target(settings) as target:
        total = _append_all(target.ingest, batches(now_ms), now_ms, report)
        if target.running:
            report("waiting for the shards")
            launch.wait_applied(settings)
    return total.accepted


def format_of(path: str) -> str:
    """The format that a file's name suggests. Raises `ValueError` where it says nothing."""
    suffixes = [s for s in Path(path).suffixes if s != ".gz"]
    found = _FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise UnknownFormat(f"{path}: what is its format? Say --format or --dataset")
    return found


class UnknownFormat(ValueError):
    """A file whose name says nothing about its format."""


def _batches(source: Import) -> Iterator[pa.RecordBatch]:
    for imported in source:
        yield imported.batch


def _append_all(
    ingest: Ingest,
    batches: Iterable[pa.RecordBatch],
    now_ms: int,
    report: Report,
    in_flight: int = 2,
) -> Ingested:
    """Append batch after batch; the next is prepared while the last becomes durable.

    With `in_flight` 1 the next is not even asked for before.
    """
    accepted = repeated = 0
    problems = []
    with ThreadPoolExecutor(in_flight) as pool:
        waiting: list[Future[Ingested]] = []

        def collect() -> None:
            nonlocal accepted, repeated
            done = waiting.pop(0).result()
            accepted += done.accepted
            repeated += done.repeated
            problems.extend(done.problems)
            report(f"{accepted:,} events")

        for batch in batches:
            waiting.append(pool.submit(ingest.batch, batch, now_ms=now_ms, history=True))
            if len(waiting) >= in_flight:
                collect()
        while waiting:
            collect()
    return Ingested(accepted, 0, repeated, 0, problems)


def _write(batches: Iterable[pa.RecordBatch], out: Path, report: Report) -> int:
    events = 0
    with ExitStack() as stack:
        if out.suffix == ".parquet":
            parquet = stack.enter_context(pq.ParquetWriter(out, EVENTS))
        else:
            lines = stack.enter_context(open(out, "wb"))
        for batch in batches:
            if out.suffix == ".parquet":
                parquet.write_batch(_whole(batch))
            else:
                lines.write(_ndjson(batch))
            events += batch.num_rows
            report(f"{events:,} events")
    return events


def _whole(batch: pa.RecordBatch) -> pa.RecordBatch:
    """With all columns of the schema: which ones are used is known at the end alone."""
    columns = [
        batch.column(field.name)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in EVENTS
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EVENTS)


def _ndjson(batch: pa.RecordBatch) -> bytes:
    zero = set(CORE.names)
    lines = []
    for row in batch.to_pylist():
        row["kind"] = Kind(row["kind"]).label
        kept = {k: v for k, v in row.items() if v is not None and not (v == 0 and k in zero)}
        lines.append(orjson.dumps(kept))
    return b"\n".join([*lines, b""])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
