from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.rows import Engagements, Rows
from actors.stores.cluster_search import ClusterSearch, Similarity, floors_of, merge_found
from actors.stores.hnsw import HnswBase, build_base, merge_neighbours, unit_rows
from actors.stores.post_embeddings import EmbeddingLimits
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import DenseVectors, VectorModels, contributions_of
from actors.vectors import VectorLimits, VectorsKind
from cluster.events import Kind
from cluster.ids import owners_of
from cluster.routing import PARTITION
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, POSTS, USERS, Clock, Event, author_of, routed

DIMENSION = 3
ALL = np.array(POSTS)
RNG = np.random.default_rng(3)


def interested(seed: int) -> SparseEmbeddings:
    """Each user but the last has three of four communities; half the entries are below 0.3."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.sort(USERS)[:-1], 3)
    communities = np.concatenate([rng.permutation(4)[:3] for _ in USERS[:-1]]).astype(np.int32)
    fav = rng.choice([0.1, 0.3, 0.9], len(ids)).astype(np.float32)
    weights = rng.uniform(0.1, 1.0, len(ids)).astype(np.float32)
    return SparseEmbeddings.from_entries(
        ids, communities, fav, {"fav_score": fav, "log_fav_normalized": weights}
    )


def models(version: str, seed: int, **given: object) -> VectorModels:
    interests = interested(seed)
    vectors = np.random.default_rng(seed).normal(size=(len(USERS), DIMENSION))
    return VectorModels(
        version,
        interests,
        contributions_of(interests),
        user_engagement=DenseVectors(np.sort(USERS), vectors.astype(np.float32)),
        **given,  # type: ignore[arg-type]
    )


OLD, NEW = models("old", 1), models("new", 2)
LIMITS = VectorLimits(EmbeddingLimits(posts_per_community=3, communities_per_post=4))


def apply(kinds: Sequence[VectorsKind], events: Sequence[Event]) -> None:
    """Let each of several shards apply the rows of its partitions."""
    if not events:
        return
    rows = Rows(routed(events))
    owners = owners_of(rows[PARTITION], len(kinds))
    for shard, kind in enumerate(kinds):
        mine = rows.where(owners == shard)
        if len(mine):
            kind.apply(mine, Engagements.of(mine))


def kinds_of(
    events: Sequence[Event], n_shards: int = 1, given: VectorModels = OLD
) -> list[VectorsKind]:
    kinds = [VectorsKind(LIMITS, given) for _ in range(n_shards)]
    apply(kinds, events)
    return kinds


def like(clock: Clock, user: int, post: int, kind: Kind = Kind.FAVOURITE) -> Event:
    return clock.on_post(kind, user, post, author_of(post))


def created(clock: Clock) -> list[Event]:
    return [clock.post(post, author_of(post)) for post in POSTS]


def embedding(kind: VectorsKind, post: int, now_ms: int, version: str = "old") -> dict[int, float]:
    found = kind.embeddings(version, np.array([post]), now_ms)
    return dict(zip(found.communities.tolist(), found.scores.tolist(), strict=True))


def expected_embedding(
    likes: Sequence[tuple[int, int]], now_ms: int, given: VectorModels
) -> dict[int, float]:
    """Of (user, time) pairs."""
    interests, total = given.interested_in, dict[int, float]()
    for user, time_ms in likes:
        at = int(interests.rows_of(np.array([user]))[0])
        if at < 0:
            continue
        for entry in range(interests.offsets[at], interests.offsets[at + 1]):
            if interests.columns["fav_score"][entry] >= np.float32(0.3):
                community = int(interests.communities[entry])
                weight = float(interests.columns["log_fav_normalized"][entry])
                decayed = weight * 2 ** (-(now_ms - time_ms) / (8 * HOUR_MS))
                total[community] = total.get(community, 0.0) + decayed
    return {community: score for community, score in total.items() if score >= 0.02}


# (user, post, kind, minutes): posts are favoured, and favourites taken back, in any order.
ACTIONS = st.lists(
    st.tuples(
        st.integers(0, len(USERS) - 1),
        st.integers(0, len(POSTS) - 1),
        st.sampled_from([Kind.FAVOURITE, Kind.FAVOURITE, Kind.UNFAVOURITE, Kind.REPOST]),
        st.integers(0, 20 * 60),
    ),
    max_size=25,
    unique_by=lambda action: action[3],
)
Action = tuple[int, int, Kind, int]


def events_of(actions: Sequence[Action]) -> list[Event]:
    clock = Clock(NOW_MS - DAY_MS)
    events = created(clock)
    base_ms = clock.now_ms
    for user, post, kind, minutes in actions:
        clock.now_ms = base_ms + minutes * 60_000
        events.append(like(clock, USERS[user], POSTS[post], kind))
    return events


def in_force(actions: Sequence[Action], kinds: set[Kind]) -> dict[int, list[tuple[int, int, Kind]]]:
    """By post, the (user, time, kind) of what was not taken back; nobody's own posts."""
    base_ms = NOW_MS - DAY_MS + len(POSTS)
    newest: dict[tuple[int, int, Kind], tuple[int, bool]] = {}
    for user, post, kind, minutes in sorted(actions, key=lambda action: action[3]):
        given = Kind.FAVOURITE if kind == Kind.UNFAVOURITE else kind
        on = kind == given
        newest[USERS[user], POSTS[post], given] = (base_ms + minutes * 60_000 + 1, on)
    found: dict[int, list[tuple[int, int, Kind]]] = {post: [] for post in POSTS}
    for (user, post, kind), (time_ms, on) in newest.items():
        if on and kind in kinds and user != author_of(post):
            found[post].append((user, time_ms, kind))
    return found


@settings(max_examples=40)
@given(ACTIONS, st.randoms(use_true_random=False), st.integers(1, 4))
def test_embeddings_are_those_of_the_favourites_in_force(
    actions: list[Action], random: object, n_shards: int
) -> None:
    events = events_of(actions)
    random.shuffle(events)  # type: ignore[attr-defined]
    kinds = kinds_of(events[: len(events) // 2], n_shards)
    apply(kinds, events[len(events) // 2 :])
    for kind in kinds:
        kind.prepare(NEW, NOW_MS)
        assert kind.versions == ["old", "new"]
    liked = in_force(actions, {Kind.FAVOURITE})
    engaged = in_force(actions, {Kind.FAVOURITE, Kind.REPOST})
    for trained in (OLD, NEW):
        for post in POSTS:
            wanted = expected_embedding(
                [(user, time_ms) for user, time_ms, _ in liked[post]], NOW_MS, trained
            )
            rows = [embedding(kind, post, NOW_MS, trained.version) for kind in kinds]
            [row] = [row for row in rows if row] or [{}]
            assert row == pytest.approx(wanted, rel=1e-5)
            users = np.array([user for user, _, _ in engaged[post]], np.int64)
            found = [kind.vectors(trained.version, np.array([post]), NOW_MS) for kind in kinds]
            vectors = [vector[0] for vector, known in found if known[0]]
            assert len(vectors) == (len(users) > 0)
            if len(users):
                mean = trained.user_engagement.of(users)[0].mean(axis=0)
                np.testing.assert_allclose(vectors[0], unit_rows(mean, DIMENSION)[0], atol=1e-3)


@settings(max_examples=40)
@given(ACTIONS, st.integers(2, 4), st.sampled_from(Similarity))
def test_answers_of_several_shards_are_those_of_one(
    actions: list[Action], n_shards: int, similarity: Similarity
) -> None:
    events = events_of(actions)
    communities, weights = OLD.interested_in.of(int(np.sort(USERS)[0]))
    search = ClusterSearch(
        similarity, max_results=5, max_posts_per_community=2, max_age_ms=2 * DAY_MS
    )

    def answer(n: int) -> list[list[list[float]]]:
        kinds = kinds_of(events, n)
        heads = [kind.community_heads("old", communities, 2, NOW_MS) for kind in kinds]
        floors = floors_of(heads, 2)
        found = merge_found(
            [kind.similar("old", communities, weights, search, NOW_MS, floors) for kind in kinds],
            search.max_results,
        )
        query = np.array([1, 1, 0], np.float32)
        near = merge_neighbours(
            [kind.near("old", query, 4, NOW_MS, 2 * DAY_MS) for kind in kinds], 4
        )
        return [
            [column.tolist() for column in vars(found).values()],
            [np.round(near.scores, 5).tolist()],
        ]

    assert answer(n_shards) == answer(1)


def test_a_favourite_moves_the_embedding_when_it_is_applied() -> None:
    clock = Clock()
    post, user = POSTS[0], int(OLD.contributions.ids[0])
    user = user if user != author_of(post) else int(OLD.contributions.ids[1])
    [kind] = kinds_of(created(clock))
    assert embedding(kind, post, clock.now_ms) == {}
    apply([kind], [like(clock, user, post)])
    communities, weights = OLD.contributions.of(user)
    wanted = dict(zip(communities.tolist(), weights.tolist(), strict=True))
    assert embedding(kind, post, clock.now_ms) == pytest.approx(wanted)
    found = kind.similar("old", communities, weights, ClusterSearch(), clock.now_ms)
    assert found.post_ids.tolist() == [post]
    assert found.scores.tolist() == pytest.approx([1.0])
    [[scores]] = kind.pair_scores(
        "old", OLD.contributions.take(OLD.contributions.rows_of(np.array([user]))),
        np.array([post]), clock.now_ms,
    )  # fmt: skip
    assert scores[1] == pytest.approx(1.0)
    apply([kind], [like(clock, user, post, Kind.UNFAVOURITE)])
    assert embedding(kind, post, clock.now_ms) == {}
    assert not kind.vectors("old", np.array([post]), clock.now_ms)[1][0]


def test_authors_do_not_count_for_their_own_posts() -> None:
    clock = Clock()
    post = POSTS[0]
    [kind] = kinds_of([*created(clock), like(clock, author_of(post), post)])
    assert embedding(kind, post, clock.now_ms) == {}
    assert not kind.vectors("old", np.array([post]), clock.now_ms)[1][0]


@pytest.mark.parametrize("age_hours", [71, 72, 80])
def test_answers_on_old_posts_depend_neither_on_order_nor_on_expiry(age_hours: int) -> None:
    """A favourite about when its post grows too old, and the post's creation, in either order."""
    clock = Clock(NOW_MS - 5 * DAY_MS)
    post = POSTS[0]
    creation = clock.post(post, author_of(post))
    early = like(clock, USERS[4], post)
    clock.now_ms += age_hours * HOUR_MS
    late = like(clock, USERS[5], post)
    vector = OLD.user_engagement.of(np.array([USERS[5]]))[0][0]
    answers = []
    for order in ([creation, early, late], [late, early, creation], [early, creation, late]):
        for expires in (False, True):
            kind = VectorsKind(LIMITS, OLD)
            for event in order:
                apply([kind], [event])
                if expires and event is not order[0]:
                    kind.expire(clock.now_ms)
            vectors, known = kind.vectors("old", np.array([post]), clock.now_ms)
            near = kind.near("old", vector, 9, clock.now_ms, 9 * DAY_MS)
            answers.append(
                (
                    {c: round(x, 5) for c, x in embedding(kind, post, clock.now_ms).items()},
                    np.round(vectors, 5).tolist(),
                    known.tolist(),
                    near.ids.tolist(),
                )
            )
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][2] == [age_hours < 72]


def test_a_deleted_post_is_found_no_more() -> None:
    clock = Clock()
    post = POSTS[0]
    fan = USERS[5]
    gone = clock.event(Kind.POST_DELETE, post_id=post, author_id=author_of(post))
    events = [*created(clock), like(clock, fan, post), like(clock, fan, POSTS[1])]
    query = OLD.user_engagement.of(np.array([fan]))[0][0]
    for order in ([*events, gone], [gone, *events]):
        [kind] = kinds_of(order)
        assert embedding(kind, post, clock.now_ms) == {}
        assert post not in kind.near("old", query, 9, clock.now_ms, DAY_MS).ids
        assert POSTS[1] in kind.near("old", query, 9, clock.now_ms, DAY_MS).ids


def test_versions_are_prepared_activated_and_dropped() -> None:
    clock = Clock()
    fan, post = USERS[4], POSTS[0]
    [kind] = kinds_of([*created(clock), like(clock, fan, post)])
    with pytest.raises(LookupError, match="version new is not held; held are old"):
        kind.activate("new")
    kind.prepare(NEW, clock.now_ms)
    kind.prepare(NEW, clock.now_ms)
    apply([kind], [like(clock, USERS[5], post)])
    for trained in (OLD, NEW):
        wanted = expected_embedding(
            [(fan, clock.now_ms - 1), (USERS[5], clock.now_ms)], clock.now_ms, trained
        )
        assert embedding(kind, post, clock.now_ms, trained.version) == pytest.approx(wanted)
    assert kind.version == "old"
    kind.activate("new")
    with pytest.raises(ValueError, match="new serves"):
        kind.drop("new")
    kind.drop("old")
    assert kind.versions == ["new"]
    with pytest.raises(LookupError, match="version old is not held"):
        kind.interests("old", fan)
    assert kind.interests("new", fan)[0].tolist() == NEW.interested_in.of(fan)[0].tolist()


def test_a_new_version_is_made_of_the_last_two_days() -> None:
    clock = Clock(NOW_MS - 3 * DAY_MS + HOUR_MS)
    early = [*created(clock), like(clock, USERS[4], POSTS[0])]
    clock.now_ms = NOW_MS - DAY_MS
    [kind] = kinds_of([*early, like(clock, USERS[5], POSTS[0])])
    kind.prepare(NEW, NOW_MS)
    wanted = expected_embedding([(USERS[5], clock.now_ms)], NOW_MS, NEW)
    assert embedding(kind, POSTS[0], NOW_MS, "new") == pytest.approx(wanted)


def test_without_models_posts_are_known_for_a_version_to_come() -> None:
    clock = Clock()
    kind = VectorsKind(LIMITS)
    apply([kind], [*created(clock), like(clock, USERS[4], POSTS[0])])
    assert kind.interests(kind.version, USERS[4])[0].tolist() == []
    assert kind.embeddings(kind.version, ALL, clock.now_ms).scores.tolist() == []
    kind.prepare(OLD, clock.now_ms)
    kind.activate("old")
    communities, weights = OLD.contributions.of(USERS[4])
    found = kind.similar("old", communities, weights, ClusterSearch(), clock.now_ms)
    assert found.post_ids.tolist() == [POSTS[0]]
    assert kind.sizes()["embedded_posts"] == len(POSTS)


def test_it_comes_back_from_its_columns_by_parts() -> None:
    clock = Clock()
    events = created(clock)
    for user in USERS:
        events += [like(clock, user, post) for post in POSTS[::2]]
    [kind] = kinds_of(events)
    copy = VectorsKind(LIMITS, OLD)
    for half in (0, 1):
        for name, columns in kind.columns().items():
            mine = columns["author_ids"] % 2 == half
            copy.restore({name: {key: values[mine] for key, values in columns.items()}})
    assert copy.sizes() == kind.sizes()
    now_ms = clock.now_ms
    later = [like(clock, USERS[1], POSTS[0], Kind.UNFAVOURITE), like(clock, USERS[0], POSTS[1])]
    for events in ([], later):
        apply([kind, copy][:1], events)
        apply([copy], events)
        for post in POSTS:
            assert embedding(copy, post, now_ms) == pytest.approx(
                embedding(kind, post, now_ms), rel=1e-6
            )
        np.testing.assert_allclose(
            copy.vectors("old", ALL, now_ms)[0], kind.vectors("old", ALL, now_ms)[0], atol=1e-5
        )


def test_what_no_window_reaches_is_forgotten() -> None:
    clock = Clock()
    [kind] = kinds_of([*created(clock), *(like(clock, USERS[5], post) for post in POSTS)])
    full = kind.sizes()
    kind.expire(clock.now_ms + DAY_MS)
    assert kind.sizes() == full
    assert full["vectors"] > 0
    kind.expire(clock.now_ms + 4 * DAY_MS)
    assert set(kind.sizes().values()) == {0}
    kind.prepare(NEW, clock.now_ms + 4 * DAY_MS)
    assert embedding(kind, POSTS[0], clock.now_ms + 4 * DAY_MS, "new") == {}
    assert kind.memory_bytes > 0


def test_trained_posts_are_found_where_they_live_and_within_the_window() -> None:
    trained = RNG.normal(size=(len(POSTS) + 1, DIMENSION)).astype(np.float32)
    ids = np.array([*POSTS, 9_999_999])
    given = models("trained", 1, dense={"posts": DenseVectors(ids, trained)})
    clock = Clock()
    kinds = kinds_of(created(clock), 2)
    for kind in kinds:
        kind.prepare(given, clock.now_ms)
        kind.activate("trained")
    now_ms = clock.now_ms
    for held in (kinds, kinds_of(events_of([]), 2, given)):
        found = merge_neighbours(
            [kind.near("trained", trained[0], 99, NOW_MS, 3 * DAY_MS) for kind in held], 99
        )
        assert found.ids[0] == POSTS[0]
        assert sorted(found.ids.tolist()) == POSTS
    young = merge_neighbours(
        [
            kind.near("trained", trained[0], 99, now_ms, 3, 1, excluded_post_id=POSTS[-2])
            for kind in kinds
        ],
        99,
    )
    assert sorted(young.ids.tolist()) == POSTS[-4:-2]
    apply(kinds, [like(clock, USERS[5], POSTS[0])])
    vectors = [kind.vectors("trained", np.array(POSTS[:1]), clock.now_ms) for kind in kinds]
    [vector] = [vector[0] for vector, known in vectors if known[0]]
    np.testing.assert_allclose(vector, unit_rows(trained[0], DIMENSION)[0], atol=1e-6)
    for kind in kinds:
        kind.expire(now_ms + 4 * DAY_MS)
        assert kind.sizes()["vectors"] == 0


def test_a_base_is_built_elsewhere_and_swapped_in(tmp_path: Path) -> None:
    clock = Clock()
    [kind] = kinds_of([*created(clock), *(like(clock, USERS[5], post) for post in POSTS)])
    query = np.array([1, 1, 0], np.float32)
    before = kind.near("old", query, 99, clock.now_ms, DAY_MS)
    ids, vectors, mark = kind.export_near("old")
    apply([kind], [like(clock, USERS[6], POSTS[0])])
    build_base(tmp_path / "posts.hnsw", vectors)
    kind.swap_near("old", HnswBase.load(tmp_path / "posts.hnsw", ids, DIMENSION), mark)
    after = kind.near("old", query, 99, clock.now_ms, DAY_MS)
    assert sorted(after.ids.tolist()) == sorted(before.ids.tolist())
    assert kind.sizes()["vectors"] == len(POSTS)
    assert kind.sizes()["vectors_one_by_one"] == 1
    users = OLD.user_engagement.of(np.array([USERS[5], USERS[6]]))[0]
    np.testing.assert_allclose(
        kind.vectors("old", np.array(POSTS[:1]), clock.now_ms)[0],
        unit_rows(users.mean(axis=0), DIMENSION),
        atol=1e-6,
    )


def test_the_trained_are_searched_in_any_shard(tmp_path: Path) -> None:
    trained = RNG.normal(size=(len(USERS), DIMENSION)).astype(np.float32)
    build_base(tmp_path / "authors.hnsw", trained)
    base = HnswBase.load(tmp_path / "authors.hnsw", np.array(USERS), DIMENSION)
    kind = VectorsKind(LIMITS, models("trained", 1, bases={"authors": base}))
    assert kind.near_trained("trained", "authors", trained[3], 1).ids.tolist() == [USERS[3]]
    assert not len(kind.near_trained("trained", "users", trained[3], 1).ids)


def test_a_fresh_post_lies_where_its_engagers_lead_from_their_centre() -> None:
    centres = np.zeros((256, DIMENSION), np.float32)
    centres[Kind.FAVOURITE] = [0.5, -0.25, 1.0]
    clock = Clock()
    [kind] = kinds_of(
        [*created(clock), like(clock, USERS[5], POSTS[0])],
        given=models("old", 1, engager_centres=centres),
    )
    vector = OLD.user_engagement.of(np.array([USERS[5]]))[0][0] - centres[Kind.FAVOURITE]
    np.testing.assert_allclose(
        kind.vectors("old", np.array(POSTS[:1]), clock.now_ms)[0],
        unit_rows(vector, DIMENSION),
        atol=1e-6,
    )
