"""The system as of a past instant, from a log and from the archive of a trimmed one."""

from pathlib import Path

import pytest

from cluster.archiver import Archiver
from cluster.events import Kind
from cluster.logs import features_lane, open_reader, open_writer
from cluster.routing import encode, route
from cluster.settings import Settings
from tests.worlds import (
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    checked,
    shown,
    states_of,
    timelines_of,
)
from timeline.replay import NotReplayed, timelines_as_of

VIEWER, AUTHOR = USERS[:2]
EARLY = [
    Clock(NOW_MS - HOUR_MS).edge(Kind.FOLLOW, VIEWER, AUTHOR, event_id=1),
    *(Clock(NOW_MS - HOUR_MS + k).post(k, AUTHOR, text="early", event_id=k) for k in (101, 102)),
]
LATE = [Clock(NOW_MS + HOUR_MS).post(103, AUTHOR, text="late", event_id=103)]


def append(settings: Settings, events: list[Event], *, archived: bool, trimmed: bool) -> None:
    with open_writer(settings) as log:
        lanes = route(checked(events), settings.log.lanes)
        log.append({lane: encode(batch) for lane, batch in lanes.items()})
        lane = features_lane(settings)
        log.append({lane: b"features"})
        if archived:
            # The lane of features holds nothing that could be archived here.
            archiver = Archiver(log, settings.archive_root, range(settings.log.lanes))
            while archiver.step():
                pass
        log.trim(log.heads() if trimmed else {lane: log.heads()[lane]})


def page_as_of(settings: Settings, instant_ms: int) -> list[object]:
    timelines = timelines_as_of(settings, instant_ms, lambda: open_reader(settings), bytes(32))
    return shown(timelines.following(VIEWER, 20, now_ms=NOW_MS))


@pytest.mark.parametrize("trimmed", [False, True])
def test_a_page_as_of_an_instant(tmp_path: Path, trimmed: bool) -> None:
    settings = Settings(data_dir=tmp_path)
    append(settings, [*EARLY, *LATE], archived=trimmed, trimmed=trimmed)
    page = shown(timelines_of(states_of(EARLY)).following(VIEWER, 20, now_ms=NOW_MS))
    assert len(page) == 2
    assert page_as_of(settings, NOW_MS) == page


def test_what_was_not_archived_yet_is_in_the_page(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    append(settings, EARLY, archived=True, trimmed=True)
    last = Clock(NOW_MS - 9).post(104, AUTHOR, text="the last", event_id=104)
    append(settings, [last], archived=False, trimmed=False)
    page = shown(timelines_of(states_of([*EARLY, last])).following(VIEWER, 20, now_ms=NOW_MS))
    assert len(page) == 3
    assert page_as_of(settings, NOW_MS) == page


def test_a_past_that_nobody_kept_is_told(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    append(settings, EARLY, archived=False, trimmed=True)
    with pytest.raises(NotReplayed, match=r"^the log was not replayed: lane \d+: the state ends"):
        page_as_of(settings, NOW_MS)
