from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from cluster.events import Kind
from cluster.importers.contract import MAX_SHOWN, Report
from cluster.importers.stages import Piece, checked, in_time_order, sized

NOW_MS = 1000


def batches(*sizes: int) -> Iterator[pa.RecordBatch]:
    first = 1
    for size in sizes:
        ids = np.arange(first, first + size)
        table = {"kind": pa.array([int(Kind.FAVOURITE)] * size, pa.uint8())}
        table |= dict.fromkeys(("time_ms", "actor_id", "post_id", "author_id"), pa.array(ids))
        yield from checked([Piece(pa.table(table), ids)], "f", Report(), now_ms=NOW_MS)
        first += size


@pytest.mark.parametrize("start", range(12))
def test_sized_cuts_and_resumes(start: int) -> None:
    report = Report()
    found = list(sized(batches(3, 0, 1, 7), report, batch_events=4, start=start))
    actors = [actor for item in found for actor in item.batch.column("actor_id").to_pylist()]
    assert actors == list(range(start + 1, 12))
    assert all(item.batch.num_rows == 4 for item in found[:-1])
    assert [item.position for item in found] == [
        *range(start + 4, start + 4 * len(found), 4),
        *([11] if found else []),
    ]
    assert report.events == 11 - start


def test_in_time_order_keeps_the_first_creation_of_a_post() -> None:
    table = pa.table(
        {
            "kind": ["post_create", "favourite", "post_create", "post_create"],
            "time_ms": [9, 5, 3, 5],
            "actor_id": [0, 1, 0, 0],
            "post_id": [1, 1, 1, 2],
            "author_id": [4, 4, 4, 4],
        }
    )
    good = checked([Piece(table, np.arange(4))], "f", Report(), now_ms=NOW_MS)
    (batch,) = in_time_order(good)
    assert batch.column("time_ms").to_pylist() == [3, 5, 5]
    assert batch.column("post_id").to_pylist() == [1, 1, 2]
    assert list(in_time_order([])) == []


def test_a_line_with_many_refused_events_is_one_bad_line() -> None:
    n = 3 * (MAX_SHOWN + 2)
    table = pa.table({"kind": ["favourite"] * n, "time_ms": [1] * n})
    report = Report()
    list(checked([Piece(table, np.arange(n) // 3 + 1)], "f", report, now_ms=NOW_MS))
    assert report.bad == MAX_SHOWN + 2
    assert [bad.line for bad in report.first_bad] == list(range(1, MAX_SHOWN + 1))
