"""SALSA over shards: exact for one, reproducible for several, and how far those are from it."""

import numpy as np
import pytest

from cluster.events import Kind
from tests.timeline.sources.co_engagement_worlds import query_of
from tests.worlds import Clock, Event, states_of
from timeline.findings import ask_together
from timeline.sources.salsa import WalkedPosts, walked_posts

VIEWER, N_USERS, N_POSTS = 1, 300, 400
SEEDS = np.arange(2, 32)


def world() -> list[Event]:
    """Two groups that like each their own half of the posts, mostly; seeds are of the first."""
    rng = np.random.default_rng(3)
    clock = Clock()
    events = []
    for user in range(1, N_USERS + 1):
        group = 0 if user <= N_USERS // 2 else 1
        for _ in range(12):
            half = group if rng.random() < 0.9 else 1 - group
            post = 1_000 + half * N_POSTS // 2 + int(N_POSTS / 2 * rng.random() ** 2)
            author = 10_000 + post % 50
            events.append(clock.on_post(Kind.FAVOURITE, user, post, author))
    return events


def walks(n_shards: int, seed: int = 0, n_walks: int = 20_000) -> WalkedPosts:
    query = query_of(states_of(world(), n_shards), VIEWER, seed)
    finding = walked_posts(query, SEEDS, np.ones(len(SEEDS)), walks=n_walks, limit=50)
    found = ask_together(query, {"salsa": finding}, 1.0)["salsa"]
    assert found is not None
    return found


def test_the_same_seed_walks_the_same_way() -> None:
    one, again, other = (walks(4, seed, 300) for seed in (1, 1, 2))
    assert one.post_ids.tolist() == again.post_ids.tolist()
    assert one.weights.tolist() == again.weights.tolist()
    assert one.weights.tolist() != other.weights.tolist()
    assert (one.author_ids == 10_000 + one.post_ids % 50).all()
    assert (np.diff(one.weights) <= 0).all()


@pytest.mark.parametrize("n_shards", [2, 4])
def test_several_shards_find_much_of_what_one_finds(n_shards: int) -> None:
    whole, parts = walks(1), walks(n_shards)
    common = np.intersect1d(whole.post_ids, parts.post_ids)
    mass = whole.weights[np.isin(whole.post_ids, common)].sum() / whole.weights.sum()
    print(f"{n_shards} shards: {len(common)} of 50 posts, {mass:.0%} of their visits")
    assert mass > 0.6
    assert (parts.post_ids < 1_000 + N_POSTS // 2).mean() > 0.8, "of the seeds' own group"


def test_nobody_answers() -> None:
    query = query_of(states_of([], 2), VIEWER)
    finding = walked_posts(query, SEEDS, np.ones(len(SEEDS)))
    next(finding)
    with pytest.raises(StopIteration) as done:
        finding.send({})
    assert len(done.value.value.post_ids) == 0
