import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.cluster_search import best_of_community, heads_of
from actors.stores.post_embeddings import DELETED, EmbeddingLimits, PostEmbeddings
from tests.actors.stores.favourite_worlds import (
    FAVOURITES,
    HOUR_MS,
    N_COMMUNITIES,
    POSTS,
    SMALL,
    START_MS,
    Favourite,
    add,
    author_of,
    best,
    create,
    filled,
    sums,
    weights_of,
)

NOW_MS = START_MS + 30 * HOUR_MS


def rows(store: PostEmbeddings, now_ms: int = NOW_MS) -> dict[int, dict[int, float]]:
    found = store.of(np.array(POSTS), now_ms)
    return {
        post: dict(
            zip(
                found.communities[begin:end].tolist(), found.scores[begin:end].tolist(), strict=True
            )
        )
        for post, begin, end in zip(POSTS, found.offsets[:-1], found.offsets[1:], strict=True)
    }


def listed(store: PostEmbeddings, community: int, now_ms: int = NOW_MS) -> list[int]:
    """The posts of a community, best first."""
    post_ids, _ = best_of_community(store.index(now_ms), community, 9)
    return post_ids.tolist()


def test_a_favourite_is_in_the_next_answer_and_halves_in_eight_hours() -> None:
    store = filled([Favourite(11, START_MS, ((3, 0.5), (1, 0.25)))])
    assert rows(store, START_MS)[11] == {3: 0.5, 1: 0.25}
    assert rows(store, START_MS + 8 * HOUR_MS)[11] == {3: 0.25, 1: 0.125}
    assert rows(store, START_MS + 16 * HOUR_MS)[11] == {3: 0.125, 1: 0.0625}


def test_an_embedding_has_its_best_communities_of_the_minimum_score() -> None:
    weights = ((0, 0.1), (1, 0.3), (2, 0.019), (3, 0.3), (4, 0.2), (5, 0.021))
    found = filled([Favourite(11, START_MS, weights)]).of(np.array([99, 11]), START_MS)
    assert found.offsets.tolist() == [0, 0, 3]
    assert found.communities.tolist() == [1, 3, 4]
    least = filled([Favourite(11, START_MS, weights)], EmbeddingLimits(communities_per_post=9))
    assert least.of(np.array([11]), START_MS).communities.tolist() == [1, 3, 4, 0, 5]


def test_posts_too_old_have_no_embedding_and_are_not_listed() -> None:
    last_ms = START_MS + 72 * HOUR_MS - 1
    store = filled([Favourite(11, last_ms, ((0, 0.5),))])
    assert rows(store, last_ms)[11] == {0: 0.5}
    assert listed(store, 0, last_ms) == [11]
    assert rows(store, last_ms + 1)[11] == {}
    assert listed(store, 0, last_ms + 1) == []
    for forgetful in (store, store.without_expired(START_MS + 99 * HOUR_MS)):
        add(forgetful, [Favourite(11, last_ms + 1, ((0, 9.0),))])
        assert rows(forgetful, last_ms + 1)[11] == {}
        assert listed(forgetful, 0, last_ms + 1) == []
        assert forgetful.favourites(np.array([11]), last_ms + 1).tolist() == [0]


def test_a_post_is_answered_once_its_creation_is_known() -> None:
    store = PostEmbeddings(SMALL)
    add(store, [Favourite(11, START_MS, ((0, 0.5),))])
    assert rows(store, START_MS)[11] == {}
    assert listed(store, 0, START_MS) == []
    create(store, [11])
    assert rows(store, START_MS)[11] == {0: 0.5}
    assert listed(store, 0, START_MS) == [11]
    assert store.created_ms(np.array([11, 12])).tolist() == [START_MS, 0]


@pytest.mark.parametrize("first", [True, False])
def test_a_deleted_post_is_gone_whenever_the_rest_arrives(first: bool) -> None:
    store = PostEmbeddings(SMALL)
    gone = (np.array([11]), np.array([author_of(11)]), np.array([START_MS]))
    if first:
        store.delete(*gone)
    create(store, [11, 12])
    add(store, [Favourite(11, START_MS, ((0, 0.5),)), Favourite(12, START_MS, ((0, 0.25),))])
    if not first:
        store.delete(*gone)
    assert rows(store, START_MS)[11] == {}
    assert listed(store, 0, START_MS) == [12]
    assert store.created_ms(np.array([11])).tolist() == [DELETED]


def test_nobody_deletes_the_posts_of_others() -> None:
    store = filled([Favourite(11, START_MS, ((0, 0.5),))])
    store.delete(np.array([11]), np.array([author_of(11) + 1]), np.array([START_MS]))
    assert rows(store, START_MS)[11] == {0: 0.5}


def test_net_favourites_are_counted() -> None:
    liked = [Favourite(11, START_MS, ()), Favourite(11, START_MS + 1, ((0, 0.5),))]
    store = filled(liked)
    add(store, liked[:1], sign=-1)
    assert store.favourites(np.array([11, 99]), START_MS).tolist() == [1, 0]


@given(st.lists(FAVOURITES, max_size=30), st.lists(st.integers(0, 29), max_size=12), st.data())
def test_it_is_the_sum_of_the_favourites_in_force_in_any_order(
    favourites: list[Favourite], undone: list[int], data: st.DataObject
) -> None:
    taken = sorted({i for i in undone if i < len(favourites)})
    in_force = [one for i, one in enumerate(favourites) if i not in taken]
    store = PostEmbeddings(SMALL)
    early = data.draw(st.integers(0, len(POSTS)))
    create(store, POSTS[:early])
    step = data.draw(st.integers(1, 10))
    for begin in range(0, len(favourites), step):
        add(store, favourites[begin : begin + step])
    create(store, POSTS[early:])
    for i in taken:
        add(store, [favourites[i]], sign=-1)
    # Also before favourites that were applied: then they count as not yet decayed.
    now_ms = START_MS + data.draw(st.sampled_from([30, 60, 75, 91])) * HOUR_MS
    expected = sums(in_force, now_ms)
    again = filled(data.draw(st.permutations(in_force)))
    copy = PostEmbeddings.from_columns(store.columns(), SMALL)
    for other in (store, again, copy, store.without_expired(now_ms)):
        found = rows(other, now_ms)
        for post in POSTS:
            scores = {c: by_post[post] for c, by_post in expected.items() if post in by_post}
            clear = sorted(scores, key=lambda c: -scores[c])[: SMALL.communities_per_post]
            clear = [c for c in clear if scores[c] >= 0.02]
            assert sorted(found[post].values()) == pytest.approx(
                sorted(scores[c] for c in clear), rel=1e-6
            )
        for community in range(N_COMMUNITIES):
            by_post = expected.get(community, {})
            # Sums that ought to tie need not after an undo, so scores are compared, not posts.
            shown = [by_post[post] for post in listed(other, community, now_ms)]
            assert shown == pytest.approx([by_post[p] for p in best(by_post, 2)], rel=1e-9)
    assert rows(copy, now_ms) == rows(store, now_ms)


@given(st.lists(FAVOURITES, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_the_order(favourites: list[Favourite], random: object) -> None:
    shuffled = list(favourites)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    communities = np.arange(N_COMMUNITIES, dtype=np.int32)
    heads = [
        heads_of(filled(order).index(NOW_MS), communities, 2) for order in (favourites, shuffled)
    ]
    for one, other in zip(*heads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_list_forgets_what_lost_its_favourites_and_finds_what_it_had_left_out() -> None:
    posts = list(range(1, 40))
    store = PostEmbeddings(EmbeddingLimits(posts_per_community=4))
    ids, authors = np.array(posts), np.ones(39, np.int64)
    store.create(ids, authors, np.full(39, START_MS))
    weights = weights_of([Favourite(p, START_MS, ((0, p / 10),)) for p in posts])
    times, on = np.full(39, START_MS), np.ones(39, np.int8)
    store.add(ids, authors, times, on, weights)
    assert listed(store, 0, START_MS) == [39, 38, 37, 36]
    top = np.arange(20, 39)
    store.add(ids[top], authors[top], times[top], -on[top], weights.take(top))
    assert listed(store, 0, START_MS) == [20, 19, 18, 17]
    store.add(ids[top], authors[top], times[top], on[top], weights.take(top))
    assert listed(store, 0, START_MS) == [39, 38, 37, 36]


def test_posts_grown_old_keep_no_other_out_of_a_list_that_was_cut() -> None:
    limits = EmbeddingLimits(posts_per_community=2, max_age_ms=2 * HOUR_MS)
    store = PostEmbeddings(limits)
    ids = np.arange(1, 10)
    created_ms = np.where(ids < 6, START_MS, START_MS + HOUR_MS)
    store.create(ids, np.ones(9, np.int64), created_ms)
    # The older a post the better it scores, so the two kept are among the first to go.
    add(store, [Favourite(k, START_MS, ((0, 10.0 - k),)) for k in ids.tolist()])
    assert listed(store, 0, START_MS + HOUR_MS) == [1, 2]
    for held in (store, store.without_expired(START_MS + 2 * HOUR_MS)):
        assert listed(held, 0, START_MS + 2 * HOUR_MS) == [6, 7]


@given(st.lists(FAVOURITES, max_size=30), st.integers(60, 110))
def test_expiry_changes_no_answer(favourites: list[Favourite], hours: int) -> None:
    now_ms = START_MS + hours * HOUR_MS
    store = filled(favourites)
    fresh = store.without_expired(now_ms)
    alive = [post for post in POSTS if created_at(store, post) + 72 * HOUR_MS > now_ms]
    assert rows(fresh, now_ms) == rows(store, now_ms)
    assert len(fresh) == (len(alive) if fresh is not store else len(POSTS))
    assert len(alive) == 6 or fresh is not store
    expected = sums(favourites, now_ms)
    for community in range(N_COMMUNITIES):
        assert [expected[community][p] for p in listed(fresh, community, now_ms)] == pytest.approx(
            [expected[community][p] for p in best(expected.get(community, {}), 2)]
        )


def created_at(store: PostEmbeddings, post_id: int) -> int:
    return int(store.created_ms(np.array([post_id]))[0])


def test_the_oldest_posts_go_when_there_are_too_many() -> None:
    weights = ((0, 0.5), (1, 0.5))
    favourites = [Favourite(post, START_MS + 26 * HOUR_MS, weights) for post in POSTS]
    full = filled(favourites, EmbeddingLimits(max_entries=10))
    kept = full.without_expired(START_MS + 26 * HOUR_MS)
    assert kept.n_entries == 8
    assert [post for post, row in rows(kept).items() if row] == POSTS[2:]
    full = filled(favourites, EmbeddingLimits(max_posts=5))
    assert len(full.without_expired(START_MS + 26 * HOUR_MS)) == 5


def test_sums_years_apart() -> None:
    decades = EmbeddingLimits(max_age_ms=60 * 365 * 24 * HOUR_MS)
    later_ms = START_MS + 30 * 365 * 24 * HOUR_MS
    favourites = [
        Favourite(11, START_MS, ((0, 0.5),)),
        Favourite(11, later_ms, ((0, 0.25),)),
        Favourite(12, later_ms, ((0, 0.5),)),
        Favourite(13, START_MS, ((0, 0.5),)),
    ]
    for order in (favourites, favourites[::-1]):
        store = PostEmbeddings(decades)
        create(store, POSTS)
        for one in order:
            add(store, [one])
        assert rows(store, later_ms)[11] == {0: 0.25}
        assert listed(store, 0, later_ms) == [12, 11]
        copy = PostEmbeddings.from_columns(store.columns(), decades)
        assert rows(copy, later_ms) == rows(store, later_ms)


def test_exports_of_several_stores_make_one() -> None:
    early = [Favourite(11, START_MS, ((0, 0.5),)), Favourite(12, START_MS, ((1, 0.25),))]
    late = [Favourite(13, START_MS + 30 * HOUR_MS, ((0, 0.3), (1, 0.7)))]
    whole = filled([*early, *late])
    merged = PostEmbeddings(SMALL)
    for part in (filled(late, posts=[13]), filled(early, posts=[11, 12])):
        tables = part.columns()
        merged.restore(tables["posts"])
        merged.restore_entries(tables["entries"])
    assert rows(merged) == rows(whole)
    assert [listed(merged, c) for c in (0, 1)] == [listed(whole, c) for c in (0, 1)]
