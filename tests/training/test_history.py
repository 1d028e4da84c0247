from pathlib import Path

import pytest

from cluster.events import CORE, Kind
from tests.training.archives import archived_events, settings_at
from tests.worlds import DAY_MS, Clock, Event
from training import history as history_module
from training.history import History


def follows(n_days: int) -> list[Event]:
    clock = Clock()
    clock.now_ms -= n_days * DAY_MS
    events = []
    for day in range(n_days):
        clock.now_ms += DAY_MS
        events.append(clock.edge(Kind.FOLLOW, 1, 2 + day))
    return events


def test_the_small_batches_of_many_dates_come_as_one(folder: Path) -> None:
    events = follows(5)
    history = History(archived_events(settings_at(folder), events))
    (batch,) = history
    assert batch.column("target_id").to_pylist() == [2, 3, 4, 5, 6]
    assert batch.schema.names == CORE.names
    assert (history.first_ms, history.last_ms) == (events[0]["time_ms"], events[-1]["time_ms"])


@pytest.mark.parametrize("kept_rows", [0, 3, 1_000])
def test_it_may_be_read_again(
    folder: Path, kept_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "KEPT_ROWS", kept_rows)
    monkeypatch.setattr(history_module, "CHUNK_ROWS", 2)
    history = History(archived_events(settings_at(folder), follows(5)))
    for _ in range(3):
        found = [batch.column("target_id").to_pylist() for batch in history]
        assert found == [[2, 3], [4, 5], [6]]


def test_it_ends_before_an_instant(folder: Path) -> None:
    events = follows(5)
    history = History(archived_events(settings_at(folder), events), events[3]["time_ms"])
    assert sum(batch.num_rows for batch in history) == 3


def test_an_empty_archive_gives_nothing(folder: Path) -> None:
    assert list(History(archived_events(settings_at(folder), []))) == []
