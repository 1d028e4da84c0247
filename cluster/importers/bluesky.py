"""Bluesky's Jetstream NDJSON, with the state that its deletes need."""

import hashlib
from pathlib import Path

import orjson
import pyarrow as pa

from cluster.importers.atproto import Malformed
from cluster.importers.contract import BATCH_EVENTS, Batches, Report
from cluster.importers.jetstream import JetstreamMapper
from cluster.importers.lines import STDIN, opened, read_lines, shown_name
from cluster.importers.records import Cursor, IdCollision, RecordMap
from cluster.importers.rows import Rows
from cluster.importers.stages import check_piece, imported


def import_jetstream(
    path: str,
    report: Report,
    *,
    state: Path,
    now_ms: int,
    start: int | None = None,
    batch_events: int = BATCH_EVENTS,
) -> Batches:
    """Events of a Jetstream recording, after line `start`.

    `state` is a SQLite file that remembers what each record is about, since a delete names
    only its record. It also remembers how far this file has been read, which is where an
    import without `start` goes on. It is committed when the batch after is asked for.
    """
    file = shown_name(path)
    records = RecordMap(state)
    try:
        source = path if path == STDIN else str(Path(path).resolve())
        fingerprint = "" if path == STDIN else _fingerprint(path)
        if start is None:
            start = 0 if path == STDIN else records.cursor(source, fingerprint).lines
        mapper = JetstreamMapper(records, report)
        rows = Rows()
        position = start

        def flush() -> Batches:
            batch = check_piece(rows.piece(), file, report, now_ms=now_ms)
            if batch.num_rows:
                yield imported(pa.table(batch), position, report)
            records.set_cursor(source, fingerprint, Cursor(position, mapper.time_us))
            records.commit()

        for block in read_lines(path, report, skip=start):
            for position, line in enumerate(block.lines, block.first_line):
                try:
                    mapper.add(orjson.loads(line), rows, position)
                except orjson.JSONDecodeError as error:
                    if line.strip():
                        report.refuse(file, position, f"not JSON: {error}")
                except Malformed as error:
                    report.refuse(file, position, str(error))
                except IdCollision as error:
                    report.notes["id collisions"] += 1
                    report.refuse(file, position, str(error))
                if len(rows) >= batch_events:
                    yield from flush()
                    rows = Rows()
        yield from flush()
    finally:
        records.close()


def _fingerprint(path: str) -> str:
    """Tells a recording from another one that later stands under the same name."""
    with opened(path) as stream:
        return hashlib.blake2b(stream.readline(1 << 16), digest_size=16).hexdigest()
