"""Simulate from the command line: `python -m simulation --users 2000 --days 7 --seed 1`."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from cluster.events import CORE, OPTIONAL
from simulation.run import DEFAULT_START_MS, simulate


def main() -> None:
    """Simulate, stream the events to a file if one is named, and report the speed."""
    parser = argparse.ArgumentParser(prog="simulation", description=main.__doc__)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-ms", type=int, default=DEFAULT_START_MS)
    parser.add_argument("--out", type=Path, help="write an Arrow IPC stream to this file")
    chosen = parser.parse_args()
    began_s = time.perf_counter()
    n_events = 0
    with _writer(chosen.out) as write:
        for batch in simulate(chosen.users, chosen.days, chosen.seed, chosen.start_ms):
            n_events += batch.num_rows
            write(batch)
    took_s = time.perf_counter() - began_s
    print(
        f"{chosen.users:,} users, {chosen.days:g} days: {n_events:,} events in {took_s:.1f} s "
        f"({n_events / took_s:,.0f} events/s)"
    )


@contextmanager
def _writer(path: Path | None) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Something that writes batches to an Arrow IPC stream, each with every column."""
    if path is None:
        yield lambda batch: None
        return
    schema = pa.schema([*CORE, *OPTIONAL])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        yield lambda batch: stream.write_batch(_with_every_column(batch, schema))


def _with_every_column(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    given = set(batch.schema.names)
    columns = [
        batch.column(field.name) if field.name in given else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


if __name__ == "__main__":
    main()
