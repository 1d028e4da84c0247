"""Any world has inputs, and they do not depend on the number of shards."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from actors.router import LocalRouter
from cluster.settings import load
from tests.actors.ranker_inputs.named import by_name
from tests.worlds import NOW_MS, POSTS, USERS, Event, author_of, states_of, worlds
from timeline.candidates import unhydrated
from timeline.findings import ask_together
from timeline.hydration import complete, fetch_viewer
from timeline.query import Query
from timeline.ranker_inputs import fetch_inputs, viewer_question
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph

SETTINGS = load(heavy_ranker={"features": "laptop"})


def inputs_of(events: list[Event], n_shards: int, viewer_id: int) -> dict[str, Any]:
    router = LocalRouter(states_of(events, n_shards, SETTINGS))
    query = Query(viewer_id, NOW_MS, 10, "r", SETTINGS, router)
    fetch_viewer(query, beside=[viewer_question(query)])
    ask_together(query, {"proof": UserTweetEntityGraph().find(query)}, 1.0)
    post_ids = np.array(POSTS, np.int64)
    authors = np.array([author_of(post) for post in POSTS], np.int64)
    found = unhydrated(post_ids, authors, np.zeros(len(post_ids))).of_source(1)
    named = by_name(fetch_inputs(query, complete(query, found)))
    assert not query.degraded
    return named


@given(worlds())
@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_inputs_are_finite_and_the_same_for_any_number_of_shards(events: list[Event]) -> None:
    for viewer_id in USERS[:2]:
        one, three = (inputs_of(events, n, viewer_id) for n in (1, 3))
        assert all(np.isfinite(values).all() for values in one.values())
        wrong = [n for n in one if not np.allclose(one[n], three[n], rtol=1e-6, atol=1e-6)]
        assert not wrong
