import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, Kind
from cluster.routing import encode
from cluster.validation import check_batch
from simulation.population import COUNTRIES
from simulation.rhythm import HOUR_MS
from simulation.run import DEFAULT_START_MS, Simulation, simulate

ON_SCREEN = (*ENGAGEMENTS, *NEGATIVE_FEEDBACK)


def _digest(seed: int) -> str:
    digest = hashlib.sha256()
    for batch in simulate(80, 0.5, seed):
        digest.update(encode(batch))
    return digest.hexdigest()


def test_the_seed_decides_everything() -> None:
    assert _digest(1) == _digest(1)
    assert _digest(1) != _digest(2)


def test_batches_stream_in_time_order(society: Any) -> None:
    times_ms = society.column("time_ms")
    assert np.all(np.diff(times_ms) >= 0)
    hours = society.batches[-72:]
    for hour, batch in enumerate(hours):
        own = batch.column("time_ms").to_numpy() - DEFAULT_START_MS - hour * HOUR_MS
        assert 0 <= own.min() <= own.max() < HOUR_MS
    assert society.batches[0].column("time_ms")[0].as_py() < DEFAULT_START_MS


def test_every_event_is_valid_and_has_an_id_of_its_own(society: Any) -> None:
    for batch in society.batches:
        checked = check_batch(batch, now_ms=society.simulation.now_ms)
        assert checked.problems == []
        assert checked.clamped == 0
        assert checked.batch.num_rows == batch.num_rows
    event_ids = society.column("event_id")
    assert len(np.unique(event_ids)) == len(event_ids)


def test_people_posts_and_links_exist_before_they_are_named(society: Any) -> None:
    created_ms = {}
    author_of = {}
    for row in society.of(Kind.USER_CREATE).to_pylist():
        created_ms[row["actor_id"]] = row["time_ms"]
    assert len(created_ms) == 400
    posts = society.of(Kind.POST_CREATE).to_pylist()
    for row in posts:
        assert row["time_ms"] > created_ms[row["author_id"]]
        for link in ("reply_to", "quote_of"):
            if row[f"{link}_id"] is not None:
                parent = (row[f"{link}_author_id"], row[f"{link}_id"])
                assert author_of[parent[1]] == parent[0]
        author_of[row["post_id"]] = row["author_id"]
    about_posts = society.events.filter(
        np.isin(society.column("kind"), [*ON_SCREEN, Kind.SERVED, Kind.IMPRESSION])
    )
    for post_id, author_id in zip(
        about_posts.column("post_id").to_pylist(),
        about_posts.column("author_id").to_pylist(),
        strict=True,
    ):
        assert author_of[post_id] == author_id


def test_every_kind_of_engagement_happens(society: Any) -> None:
    found = set(society.column("kind").tolist())
    posts = society.of(Kind.POST_CREATE)
    # A reply or quote is a post; the engagement is read from its links.
    assert posts.column("reply_to_id").null_count < len(posts)
    assert posts.column("quote_of_id").null_count < len(posts)
    found |= {Kind.REPLY, Kind.QUOTE}
    assert set(ENGAGEMENTS) <= found
    assert set(NEGATIVE_FEEDBACK) <= found
    assert {
        *(Kind.UNFAVOURITE, Kind.FOLLOW, Kind.UNFOLLOW, Kind.BLOCK, Kind.MUTE),
        *(Kind.POST_EDIT, Kind.POST_DELETE, Kind.SAFETY_LABEL, Kind.TOPIC_FOLLOW),
        *(Kind.KEYWORD_MUTE, Kind.LIST_CREATE, Kind.LIST_ADD),
    } <= found


def test_impressions_were_served_and_engagements_were_seen(society: Any) -> None:
    served = _requests(society.of(Kind.SERVED))
    impressions = _requests(society.of(Kind.IMPRESSION))
    engagements = society.of(*(k for k in ON_SCREEN if k != Kind.NOTIFICATION_OPEN))
    assert len(served) > len(impressions)
    assert impressions <= served
    assert _requests(engagements) <= impressions


def test_engagement_follows_its_impression(society: Any) -> None:
    seen_ms = _times(society.of(Kind.IMPRESSION))
    liked_ms = _times(society.of(Kind.FAVOURITE))
    delays = np.array([time_ms - seen_ms[key] for key, time_ms in liked_ms.items()])
    assert delays.min() > 0
    assert np.median(delays) < 10_000 < delays.max() < HOUR_MS


def test_higher_positions_are_seen_more_often(society: Any) -> None:
    served = np.bincount(society.of(Kind.SERVED).column("position").to_numpy())
    seen = np.bincount(society.of(Kind.IMPRESSION).column("position").to_numpy())
    shares = seen / served
    assert shares[0] > 0.9
    assert np.all(shares[5:] < shares[:-5])
    assert shares[-1] < 0.35


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (Kind.FAVOURITE, 0.015, 0.05),
        (Kind.REPOST, 0.003, 0.02),
        (Kind.BOOKMARK, 0.002, 0.015),
        (Kind.CLICK, 0.02, 0.06),
        (Kind.DWELL, 0.1, 0.3),
        (Kind.PROFILE_CLICK, 0.004, 0.02),
        (Kind.SHOW_LESS, 0.0003, 0.005),
        (Kind.REPORT, 0.00003, 0.001),
    ],
)
def test_rates_per_impression_are_sane(society: Any, kind: Kind, low: float, high: float) -> None:
    rate = len(society.of(kind)) / len(society.of(Kind.IMPRESSION))
    assert low < rate < high


def test_most_engagement_comes_within_hours_of_the_post(society: Any) -> None:
    likes = society.of(Kind.FAVOURITE)
    ages_ms = likes.column("time_ms").to_numpy() - (likes.column("post_id").to_numpy() >> 20)
    assert np.median(ages_ms) < 8 * HOUR_MS
    assert np.quantile(ages_ms, 0.99) > 20 * HOUR_MS


def test_people_sleep_at_night(society: Any) -> None:
    offsets = {country: offset for country, offset, *_ in COUNTRIES}
    users = society.of(Kind.USER_CREATE)
    offset_of = {
        user: offsets[country]
        for user, country in zip(
            users.column("actor_id").to_pylist(), users.column("country").to_pylist(), strict=True
        )
    }
    for kind, person in ((Kind.POST_CREATE, "author_id"), (Kind.IMPRESSION, "actor_id")):
        events = society.of(kind)
        ahead = np.array([offset_of[user] for user in events.column(person).to_pylist()])
        hours = (events.column("time_ms").to_numpy() // HOUR_MS + ahead) % 24
        counts = np.bincount(hours, minlength=24)
        assert counts[19:22].sum() > 4 * counts[2:5].sum()


def test_nobody_is_shown_whom_they_blocked_or_muted(society: Any) -> None:
    hidden_ms = {}
    for row in society.of(Kind.BLOCK, Kind.MUTE).to_pylist():
        hidden_ms.setdefault((row["actor_id"], row["target_id"]), row["time_ms"])
    assert hidden_ms
    served = society.of(Kind.SERVED)
    names = ("actor_id", "author_id", "time_ms")
    for viewer, author, time_ms in zip(
        *(served.column(name).to_pylist() for name in names), strict=True
    ):
        assert time_ms < hidden_ms.get((viewer, author), time_ms + 1)


def test_toxic_posts_draw_the_bad_reactions(society: Any) -> None:
    posts = society.simulation.world.posts
    bad = np.isin(society.column("kind"), [Kind.REPORT])
    reported = posts.rows[posts.rows_of(society.column("post_id")[bad])]
    seen = posts.rows[posts.rows_of(society.of(Kind.IMPRESSION).column("post_id").to_numpy())]
    bad_share = (reported["toxic"] | reported["adult"]).mean()
    assert bad_share > 5 * (seen["toxic"] | seen["adult"]).mean()


def test_graph_and_events_agree(society: Any) -> None:
    """Replaying follows and unfollows gives the world's graph, but for events still to come."""
    edges: set[tuple[int, int]] = set()
    for row in society.of(Kind.FOLLOW, Kind.UNFOLLOW).to_pylist():
        change = edges.add if row["kind"] == Kind.FOLLOW else edges.discard
        change((row["actor_id"], row["target_id"]))
    sources, targets = society.simulation.world.follows.pairs()
    ids = society.simulation.world.population.user_ids
    true = set(zip(ids[sources].tolist(), ids[targets].tolist(), strict=True))
    assert len(edges ^ true) <= 5


def test_without_timelines_people_write_but_nothing_is_shown() -> None:
    simulation = Simulation(100, 3, timelines=False)
    batches = [simulation.hour() for _ in range(12)]
    kinds = np.concatenate([b.column("kind").to_numpy() for b in batches if b is not None])
    assert Kind.POST_CREATE in kinds
    assert not np.isin(kinds, [Kind.SERVED, Kind.IMPRESSION, Kind.FAVOURITE]).any()


def test_posts_written_between_hours_are_looked_after_later() -> None:
    """Reactions drawn from outside never make the next hour begin in the past."""
    simulation = Simulation(100, 3, timelines=False)
    rng = np.random.default_rng(0)
    for hour in range(8):
        batch = simulation.hour()
        start_ms = DEFAULT_START_MS + hour * HOUR_MS
        assert batch is None or batch.column("time_ms")[0].as_py() >= start_ms
        ids = simulation.world.posts.rows["id"][-40:]
        for user_id in range(1_000, 1_100):
            simulation.world.react(user_id, ids, simulation.now_ms - HOUR_MS, "r", rng)
    assert (simulation.world.posts.rows["reply_to"] >= 0).any()


def _requests(events: pa.Table) -> set[tuple[Any, ...]]:
    names = ("request_id", "actor_id", "post_id", "position")
    return set(zip(*(events.column(name).to_pylist() for name in names), strict=True))


def _times(events: pa.Table) -> dict[tuple[str, int], int]:
    keys = zip(
        events.column("request_id").to_pylist(), events.column("post_id").to_pylist(), strict=True
    )
    times_ms: npt.NDArray[np.int64] = events.column("time_ms").to_numpy()
    return dict(zip(keys, times_ms.tolist(), strict=True))


def test_topics_are_told_for_most_posts(society: Any) -> None:
    topics = society.of(Kind.POST_CREATE).column("topics")
    assert 0.75 < pc.count(topics).as_py() / len(topics) < 0.95


@pytest.mark.parametrize("users", [2, 3, 7])
def test_the_smallest_worlds_run(users: int) -> None:
    batches = list(simulate(users, 1, 0))
    created = [b.column("kind").to_pylist().count(Kind.USER_CREATE) for b in batches]
    assert sum(created) == users
    assert len(batches) > 1
