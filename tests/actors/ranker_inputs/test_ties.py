from pathlib import Path

from cluster.events import Kind
from tests.actors.ranker_inputs.named import told
from tests.timeline.trained_worlds import ANN, BEN, EVE, GUS, trained_states, write_models
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Clock, states_of

VIEWER, AUTHOR, OTHER = 1, 2, 3


def test_ties_are_follows_lists_engagements_and_scores() -> None:
    clock = Clock(NOW_MS - 2 * DAY_MS)
    events = [
        clock.post(20, AUTHOR),
        clock.post(30, OTHER),
        clock.post(10, VIEWER),
        clock.edge(Kind.FOLLOW, VIEWER, AUTHOR),
        clock.edge(Kind.FOLLOW, AUTHOR, VIEWER),
        clock.edge(Kind.FOLLOW, OTHER, VIEWER),
        clock.event(Kind.LIST_CREATE, actor_id=VIEWER, target_id=77),
        clock.event(Kind.LIST_ADD, actor_id=VIEWER, target_id=77, author_id=OTHER),
        clock.on_post(Kind.FAVOURITE, VIEWER, 20, AUTHOR),
        clock.on_post(Kind.FAVOURITE, VIEWER, 21, AUTHOR),
        clock.on_post(Kind.UNFAVOURITE, VIEWER, 21, AUTHOR),
        clock.on_post(Kind.REPLY, AUTHOR, 10, VIEWER),
        clock.event(Kind.PROFILE_CLICK, actor_id=VIEWER, author_id=OTHER),
        clock.on_post(Kind.IMPRESSION, VIEWER, 20, AUTHOR),
    ]
    [state] = states_of(events)
    found = told(state, VIEWER, [20, 30, 10], clock.now_ms + DAY_MS)

    def of(name: str) -> list[float]:
        return found[name]

    assert of("tie.followed") == [1, 0, 0]
    assert of("tie.follows_viewer") == [1, 1, 0]
    assert of("tie.mutual") == [1, 0, 0]
    assert of("tie.self") == [0, 0, 1]
    assert of("tie.engaged") == [1, 1, 0]
    assert of("tie.profile_visited") == [0, 1, 0]
    assert of("tie.shown") == [1, 0, 0]
    assert of("real_graph.lists") == [0, 1, 0]
    assert [round(x, 3) for x in of("real_graph.follow_days")] == [1.0, 0, 0]
    assert [round(x, 3) for x in of("real_graph.followed_days")] == [1.0, 1.0, 0]
    # What was taken back happened, but does not stand.
    assert of("real_graph.favourite.count") == [2, 0, 0]
    assert of("real_graph.viewer_to_author.favourite") == [1, 0, 0]
    assert of("real_graph.author_to_viewer.reply") == [1, 0, 0]
    assert of("real_graph.reply.days_since_last") == [365, 365, 365]
    assert of("interactions.favourite.24h") == [0, 0, 0]


def test_scores_are_of_the_version_that_serves(tmp_path: Path) -> None:
    clock = Clock()
    events = [clock.post(10, EVE), clock.post(11, GUS)]
    [state] = trained_states(tmp_path, events, versions=write_models(tmp_path))
    found = told(state, ANN, [10, 11], NOW_MS)
    assert found["real_graph.score"] == [0.25, 0]
    assert found["real_graph.rank"] == [1, 0]
    assert told(state, BEN, [10], NOW_MS)["real_graph.score"] == [0]


def test_related_users_are_those_linked_and_those_who_engaged() -> None:
    clock = Clock(NOW_MS - 5 * HOUR_MS)
    reply = {"reply_to_id": 30, "reply_to_author_id": OTHER}
    quote = {"quote_of_id": 31, "quote_of_author_id": 9}
    events = [
        clock.post(30, OTHER),
        clock.post(20, AUTHOR, **reply, **quote),
        clock.post(21, AUTHOR),
        *(clock.edge(Kind.FOLLOW, VIEWER, user) for user in (OTHER, 5, 6)),
        clock.on_post(Kind.CLICK, VIEWER, 30, OTHER),
        clock.on_post(Kind.FAVOURITE, VIEWER, 50, 5),
        clock.on_post(Kind.FAVOURITE, 5, 20, AUTHOR),
        clock.on_post(Kind.REPOST, 5, 20, AUTHOR),
        clock.on_post(Kind.FAVOURITE, 6, 20, AUTHOR),
    ]
    [state] = states_of(events)
    found = told(state, VIEWER, [20, 21], clock.now_ms + 1)
    assert found["in_reply_to.tie.followed"] == [1, 0]
    assert found["in_reply_to.real_graph.click.decayed"] == [1, 0]
    assert found["quoted.tie.followed"] == [0, 0]
    assert found["engagers.real_graph.favourite.decayed.sum"] == [1, 0]
    affinity = found["engagers.real_graph.affinity.max"]
    assert affinity[0] > 0.9
    assert affinity[1] == 0
    assert found["earlybird.favourite_proofs"][0] > found["earlybird.repost_proofs"][0] > 0
