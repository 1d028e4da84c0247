"""The one way into the log: what is old, repeated or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.archiver import Archiver
from cluster.ingest import Ingest
from cluster.log import AppendUnknown, LogUnavailable
from cluster.logs import open_writer
from cluster.routing import decode, is_imported
from cluster.settings import Settings, load

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(data_dir=tmp_path)


def favourite(number: int, age_ms: int = 1_000) -> dict[str, Any]:
    return {
        "kind": "favourite",
        "actor_id": 1,
        "post_id": number,
        "author_id": 2,
        "time_ms": NOW_MS - age_ms,
    }


def test_old_events_are_refused_unless_they_are_history(settings: Settings) -> None:
    with open_writer(settings) as log:
        ingest = Ingest(settings, log)
        done = ingest.objects([favourite(1), favourite(2, 2 * DAY_MS)], now_ms=NOW_MS)
        assert (done.accepted, [p.index for p in done.problems]) == (1, [1])
        assert "murmuration ingest" in done.problems[0].message
        done = ingest.objects([favourite(2, 2 * DAY_MS)], now_ms=NOW_MS, history=True)
        assert (done.accepted, done.problems) == (1, [])
        records = log.read(dict.fromkeys(range(log.n_lanes), 0))
    assert {is_imported(decode(record.payload)) for record in records} == {False, True}


def test_history_leaves_out_what_came_before(settings: Settings) -> None:
    with open_writer(settings) as log:
        archiver = Archiver(log, settings.archive_root, range(settings.log.lanes))

        def flush() -> None:
            while archiver.step():
                pass

        events = [favourite(n, 3 * DAY_MS) for n in range(1, 6)]
        first = Ingest(settings, log, flush).objects(
            [*events, events[0]], now_ms=NOW_MS, history=True
        )
        assert (first.accepted, first.repeated) == (5, 1)
        # Another process knows only what the archive holds.
        again = Ingest(settings, log, flush)
        done = again.objects([*events, favourite(9, 3 * DAY_MS)], now_ms=NOW_MS, history=True)
        assert (done.accepted, done.repeated) == (1, 5)
        assert again.objects(events, now_ms=NOW_MS, history=True).accepted == 0


def test_history_that_was_not_acknowledged_may_be_sent_again(settings: Settings) -> None:
    with open_writer(settings) as log:

        class Failing:
            fails = True

            def append(self, lane_payloads: Mapping[int, bytes]) -> int:
                if self.fails:
                    raise LogUnavailable("not now")
                return log.append(lane_payloads)

        appender = Failing()
        ingest = Ingest(settings, appender)
        events = [favourite(1, 3 * DAY_MS)]
        with pytest.raises(LogUnavailable):
            ingest.objects(events, now_ms=NOW_MS, history=True)
        appender.fails = False
        assert ingest.objects(events, now_ms=NOW_MS, history=True).accepted == 1


def test_history_that_was_appended_without_an_answer_is_repeated_when_sent_again(
    settings: Settings,
) -> None:
    with open_writer(settings) as log:
        archiver = Archiver(log, settings.archive_root, range(settings.log.lanes))

        def flush() -> None:
            while archiver.step():
                pass

        class Silent:
            answers = True

            def append(self, lane_payloads: Mapping[int, bytes]) -> int:
                offset = log.append(lane_payloads)
                if not self.answers:
                    raise AppendUnknown("no answer")
                return offset

        appender = Silent()
        ingest = Ingest(settings, appender, flush)
        assert ingest.objects([favourite(1, 3 * DAY_MS)], now_ms=NOW_MS, history=True).accepted
        appender.answers = False
        events = [favourite(n, 3 * DAY_MS) for n in (2, 3)]
        with pytest.raises(AppendUnknown):
            ingest.objects(events, now_ms=NOW_MS, history=True)
        appender.answers = True
        events.append(favourite(4, 3 * DAY_MS))
        done = ingest.objects(events, now_ms=NOW_MS, history=True)
        assert (done.accepted, done.repeated) == (1, 2)


def test_an_activation_reaches_every_lane(settings: Settings) -> None:
    with open_writer(settings) as log:
        Ingest(settings, log).activate("light_ranker", "v1", now_ms=NOW_MS)
        records = log.read(dict.fromkeys(range(log.n_lanes), 0))
    assert [record.lane for record in records] == list(range(settings.log.lanes))
