import numpy as np

from actors.ranker_inputs.activity import (
    KINDS,
    NEVER_DAYS,
    RECENT,
    STATISTICS,
    TOTALS,
    activity_of,
    by_author,
    by_kind,
)
from cluster.events import Kind
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Clock, Event, states_of

VIEWER, EVE, FOE = 1, 2, 3


def happened(*given: tuple[Kind, int, int]) -> list[Event]:
    """The viewer's events: kind, author, and how long before `NOW_MS`."""
    clock = Clock()
    return [
        clock.on_post(kind, VIEWER, 10 * author, author) | {"time_ms": NOW_MS - age_ms}
        for kind, author, age_ms in given
    ]


def test_statistics_of_authors_decay_count_and_remember() -> None:
    events = happened(
        (Kind.FAVOURITE, EVE, 7 * DAY_MS),
        (Kind.FAVOURITE, EVE, 7 * DAY_MS - 1),
        (Kind.CLICK, EVE, HOUR_MS // 2),
        (Kind.CLICK, EVE, 2 * DAY_MS),
        (Kind.FAVOURITE, FOE, 0),
        (Kind.SHOW_LESS, FOE, 30 * DAY_MS),
        # Beyond the windows of affinity and of what was seen.
        (Kind.FAVOURITE, FOE, 15 * DAY_MS),
        (Kind.IMPRESSION, FOE, 3 * DAY_MS),
    )
    [state] = states_of(events)
    activity = activity_of(state.graph, state.settings.windows, VIEWER, NOW_MS)
    users = np.array([EVE, FOE, 9], np.int64)
    values, recent = by_author(activity, users, NOW_MS)
    found = values.reshape(3, len(KINDS), len(STATISTICS))

    def of(user: int, kind: Kind) -> list[float]:
        return [round(float(x), 4) for x in found[user, KINDS.index(kind)]]

    assert of(0, Kind.FAVOURITE) == [1.0, 2, 1, 7.0]
    click = 2 ** (-1 / 48 / 7) + 2 ** (-2 / 7)
    assert of(0, Kind.CLICK) == [round(click, 4), 2, 2, round(0.5 / 24, 4)]
    assert of(1, Kind.FAVOURITE) == [1, 1, 1, 0]
    assert of(1, Kind.SHOW_LESS) == [round(2 ** (-30 / 7), 4), 1, 1, 30]
    assert of(1, Kind.IMPRESSION) == of(2, Kind.FAVOURITE) == [0, 0, 0, NEVER_DAYS]
    types = list(RECENT)
    windows = recent.reshape(3, len(RECENT), 2)
    assert windows[0, types.index("click")].tolist() == [1, 1]
    assert windows[1, types.index("favourite")].tolist() == [1, 1]
    assert windows[0, types.index("favourite")].tolist() == [0, 0]


def test_totals_of_kinds_have_windows() -> None:
    [state] = states_of(
        happened(
            (Kind.REPLY, EVE, HOUR_MS - 1),
            (Kind.REPLY, FOE, 2 * HOUR_MS),
            (Kind.REPLY, FOE, 3 * DAY_MS),
            (Kind.REPLY, FOE, 8 * DAY_MS),
        )
    )
    activity = activity_of(state.graph, state.settings.windows, VIEWER, NOW_MS)
    found = by_kind(activity, NOW_MS).reshape(len(KINDS), len(TOTALS))
    assert found[KINDS.index(Kind.REPLY)].round(3).tolist() == [1, 2, 3, 1.0]
    assert found[KINDS.index(Kind.QUOTE)].tolist() == [0, 0, 0, 24 * NEVER_DAYS]
