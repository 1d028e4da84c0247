"""A request has the settings of the experiments that its viewer is part of."""

from collections.abc import Callable
from operator import attrgetter

from cluster.settings import DAY_MS
from cluster.switches import Switches
from timeline.query import Query

_ASKED_WITH = attrgetter(
    *("for_you.max_follows", "for_you.max_seen", "sources.signals", "sources.max_signals"),
    "products.max_followed",
)
"""What the viewer is asked for with; sources look themselves whether what they asked still fits."""


def choose_arms(switches: Switches | None, fetch: Callable[[Query], bool], query: Query) -> bool:
    """A `Prepare` stage: the settings of the viewer's arms, from here on.

    Who a viewer is says which arms, and only the viewer's shard knows who; where an arm would
    have asked it for more or less, `fetch` asks again.
    """
    if switches is None or not query.own_settings:
        return True
    state = query.state
    age_days = (query.now_ms - state.created_ms) / DAY_MS if state.created_ms else None
    chosen = switches.for_viewer(
        query.viewer_id,
        country=state.country,
        language=query.viewer.language,
        account_age_days=age_days,
    )
    before = query.settings
    query.settings, query.arms = chosen.settings, chosen.arms
    return _ASKED_WITH(before) == _ASKED_WITH(query.settings) or fetch(query)
