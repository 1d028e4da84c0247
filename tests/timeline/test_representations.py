"""What is told of representations: exact scores, reasons, and what must never be shown."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.features.pair_scores import PAIR_SCORES
from actors.router import shards_of
from actors.stores import relations
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.problems import ProblemError
from cluster.settings import Settings, VectorSettings
from tests.timeline.trained_worlds import (
    ALIKE,
    ANN,
    BEN,
    DELETED,
    EVE,
    FAR,
    FOE,
    GUS,
    HIDDEN,
    LESS,
    OF_BLOCKED,
    OF_PROTECTED,
    OUT,
    SHY,
    SOURCE,
    UNLIKE,
    the_world,
    trained_states,
    write_models,
)
from tests.worlds import NOW_MS, USERS, Clock, Event, PartialRouter, plain
from timeline.pair_scoring import Side
from timeline.representations import Representations

N_SHARDS = 4
HOMES = dict(zip(USERS, shards_of(np.array(USERS), N_SHARDS).tolist(), strict=True))
SOON_S = 1e9
Make = Callable[..., Representations]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the small world under trained models, for any number of shards."""
    versions = write_models(tmp_path)

    def made(
        n_shards: int = 1,
        missing: Iterable[int] = (),
        trained: bool = True,
        extra: Callable[[Clock], list[Event]] = lambda _: [],
        vectors: VectorSettings | None = None,
        **router: Any,
    ) -> Representations:
        clock = Clock(NOW_MS - 60_000)
        clock._last_id = 10_000
        events = [*the_world(), *extra(clock)]
        states = trained_states(tmp_path, events, n_shards, versions if trained else None)
        asked = PartialRouter(states, missing, **router)
        store = ArtifactStore(tmp_path / "artifacts")
        settings = Settings(data_dir=tmp_path, vectors=vectors or VectorSettings())
        return Representations(settings, asked, store, lambda: NOW_MS)

    return made


def close(value: float) -> Any:
    return pytest.approx(value, abs=1e-4)


def posts(made: Representations, post: int = SOURCE, **asked: Any) -> list[int]:
    told = made.similar_posts(post, asked.get("author_id"), asked.get("limit", 100), SOON_S)
    return [item.post_id for item in told.what.items]


def users(made: Representations, user: int, limit: int = 100) -> list[int]:
    return [item.user_id for item in made.similar_users(user, limit, SOON_S).what.items]


def refused(ask: Callable[[], Any]) -> str:
    with pytest.raises(ProblemError) as caught:
        ask()
    return caught.value.slug


# Posts


def test_posts_like_a_post_are_those_liked_by_the_same_people(make: Make) -> None:
    told = make().similar_posts(SOURCE, EVE, 100, SOON_S)
    assert [item.post_id for item in told.what.items] == [ALIKE, LESS]
    assert (told.degraded, told.reason, told.what.author_id) == ([], None, EVE)
    first, second = told.what.items
    # Embeddings (1.4, 1.4) with (0.8, 0.6), and vectors (0.9, 0.3) with (1, 0).
    assert first.cosines == {"simclusters": close(0.98995), "twhin": close(0.94868)}
    assert first.score == close((0.98995 + 0.94868) / 2)
    assert second.cosines == {"simclusters": close(0.70711), "twhin": close(0.31623)}
    assert (first.author_id, second.author_id) == (FOE, GUS)
    communities, near = first.reasons
    assert communities.kind == "shared_communities"
    assert communities.text == "liked in the same communities: 0, 1"
    assert [about.community for about in communities.communities] == [0, 1]
    assert communities.communities[0].topics == ((31, 0.5),)
    assert communities.communities[0].languages == (("en", 0.75),)
    assert communities.communities[1].size is None
    assert (near.kind, near.value) == ("near_in_twhin", close(0.94868))


def test_posts_nobody_may_see_are_never_shown(make: Make) -> None:
    """They are most like the source, by the same likers; only their state keeps them away."""
    for n_shards in (1, N_SHARDS):
        assert not set(posts(make(n_shards))) & set(HIDDEN)


def test_a_post_deleted_later_is_gone_at_once(make: Make) -> None:
    def deleted(clock: Clock) -> list[Event]:
        return [clock.event(Kind.POST_DELETE, post_id=ALIKE, author_id=FOE)]

    assert posts(make(extra=deleted)) == [LESS]


def test_an_edited_post_is_shown_as_it_is_now(make: Make) -> None:
    made = make(extra=lambda clock: [clock.post(120, FOE, edit_of_id=ALIKE)])
    assert posts(made) == [120, LESS]


@pytest.mark.parametrize("author_id", [EVE, None])
def test_any_number_of_shards_finds_the_same_posts(make: Make, author_id: int | None) -> None:
    one, four = (make(n).similar_posts(SOURCE, author_id, 100, SOON_S) for n in (1, N_SHARDS))
    assert plain(one) == plain(four)
    assert one.what.items


def test_how_old_a_similar_post_may_be_is_a_setting(make: Make) -> None:
    assert posts(make(), SOURCE) == [ALIKE, LESS]
    assert posts(make(vectors=VectorSettings(max_age_ms=1)), SOURCE) == []


def test_limits_take_the_best(make: Make) -> None:
    assert posts(make(N_SHARDS), limit=1) == [ALIKE]


def test_a_missing_shard_costs_its_posts_and_is_named(make: Make) -> None:
    told = make(N_SHARDS, missing=[HOMES[FOE]]).similar_posts(LESS, GUS, 100, SOON_S)
    assert HOMES[FOE] == HOMES[EVE] != HOMES[GUS]
    # The post that is unlike for Eve's block is not so for Gus.
    assert [item.post_id for item in told.what.items] == [OF_BLOCKED]
    assert told.degraded == [f"shard_{HOMES[FOE]}"]
    stale = Settings().shards.stale_after_ms + 1
    made = make(N_SHARDS, lags_ms={HOMES[GUS]: stale})
    told = made.similar_posts(SOURCE, EVE, 100, SOON_S)
    assert [item.post_id for item in told.what.items] == [ALIKE]
    assert told.degraded == [f"shard_{HOMES[GUS]}"]


@pytest.mark.parametrize("author_id", [EVE, None])
def test_without_the_posts_own_shard_nobody_knows_it(make: Make, author_id: int | None) -> None:
    told = make(N_SHARDS, missing=[HOMES[EVE]]).similar_posts(SOURCE, author_id, 100, SOON_S)
    assert told.what.items == []
    assert told.degraded == [f"shard_{HOMES[EVE]}"]


@pytest.mark.parametrize(
    ("post", "author_id"),
    [(999, None), (999, EVE), (SOURCE, FOE), (DELETED, GUS), (OF_PROTECTED, None)],
)
def test_posts_that_are_not_there(make: Make, post: int, author_id: int | None) -> None:
    made = make(N_SHARDS)
    assert refused(lambda: made.similar_posts(post, author_id, 5, SOON_S)) == "unknown-post"


def test_a_post_nobody_liked_has_no_representation(make: Make) -> None:
    made = make(N_SHARDS, extra=lambda clock: [clock.post(500, EVE)])
    told = made.similar_posts(500, EVE, 100, SOON_S)
    assert (told.what.items, told.reason, told.degraded) == ([], "no_representation", [])


# Users


def test_users_like_an_author(make: Make) -> None:
    told = make().similar_users(EVE, 100, SOON_S)
    first, second = told.what.items
    assert (first.user_id, second.user_id) == (FOE, GUS)
    producers = 0.9 / np.sqrt(0.82)
    assert first.cosines == {
        "producers": close(producers),
        "interested_in": None,
        "author_follow": close(0.8),
        "user_follow": None,
    }
    assert first.score == close((producers + 0.8) / 2)
    assert second.score == close(0.1 / np.sqrt(0.82) / 2)
    audience, near, followers = first.reasons
    assert audience.kind == "same_audience"
    assert [about.community for about in audience.communities] == [0]
    assert (near.kind, near.value) == ("near_in_twhin", close(0.8))
    assert (followers.kind, followers.value) == ("shared_followers", 2.0)
    assert set(followers.user_ids) == {ANN, BEN}
    assert [reason.kind for reason in second.reasons] == ["same_audience"]


def test_users_like_a_reader(make: Make) -> None:
    [only] = make().similar_users(ANN, 100, SOON_S).what.items
    assert only.user_id == BEN
    assert only.score == close((0.96 + 0.8) / 2)
    interests, near, follows = only.reasons
    assert (interests.kind, interests.value) == ("same_interests", close(0.96))
    assert (near.kind, near.value) == ("near_in_twhin", close(0.8))
    assert (follows.kind, follows.value) == ("shared_follows", 2.0)
    assert set(follows.user_ids) == {EVE, FOE}


def test_nobody_gone_or_protected_or_blocked_is_shown(make: Make) -> None:
    assert OUT not in users(make(), EVE)
    assert SHY not in users(make(), ANN)
    for blocker, blocked in ((EVE, FOE), (FOE, EVE)):
        made = make(
            N_SHARDS, extra=lambda clock, a=blocker, b=blocked: [clock.edge(Kind.BLOCK, a, b)]
        )
        assert users(made, EVE) == [GUS]


def test_nobody_beyond_the_end_of_a_list_of_blocks_is_shown(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "MAX_SCAN", 1)

    def blocked(clock: Clock) -> list[Event]:
        return [clock.edge(Kind.BLOCK, EVE, other) for other in (FOE, 7)]

    assert users(make(N_SHARDS, extra=blocked), EVE) == [GUS]


def test_any_number_of_shards_finds_the_same_users(make: Make) -> None:
    for user in (ANN, EVE, FAR):
        one, four = (make(n).similar_users(user, 100, SOON_S) for n in (1, N_SHARDS))
        assert plain(one) == plain(four)


def test_a_missing_shard_costs_its_users_and_is_named(make: Make) -> None:
    told = make(N_SHARDS, missing=[HOMES[GUS]]).similar_users(EVE, 100, SOON_S)
    assert [item.user_id for item in told.what.items] == [FOE]
    assert told.degraded == [f"shard_{HOMES[GUS]}"]
    told = make(N_SHARDS, missing=[HOMES[EVE]]).similar_users(EVE, 100, SOON_S)
    assert (told.what.items, told.degraded) == ([], [f"shard_{HOMES[EVE]}"])


def test_users_that_are_not_there(make: Make) -> None:
    made = make(N_SHARDS)
    for user in (987_654, OUT):
        assert refused(lambda user=user: made.similar_users(user, 5, SOON_S)) == "unknown-user"
        assert refused(lambda user=user: made.communities(user, SOON_S)) == "unknown-user"


def test_without_models_the_answer_says_so(make: Make) -> None:
    made = make(N_SHARDS, trained=False)
    for told in (made.similar_users(EVE, 5, SOON_S), made.similar_posts(SOURCE, EVE, 5, SOON_S)):
        assert (told.what.items, told.reason) == ([], "untrained")
        assert told.what.version == "none+none"
    told = made.communities(EVE, SOON_S)
    assert (told.what.interested_in, told.what.known_for, told.reason) == ([], [], "untrained")
    scored = made.score(Side(user_id=ANN), Side(user_id=EVE), SOON_S).what
    assert all(one.scores is None for one in scored.compared)
    assert scored.standing.reputations == scored.standing.real_graph == (None, None)


# Communities


def test_communities_and_why(make: Make) -> None:
    for n_shards in (1, N_SHARDS):
        told = make(n_shards).communities(ANN, SOON_S)
        first, second = told.what.interested_in
        assert (first.about.community, second.about.community) == (0, 1)
        assert first.about.size == 2
        assert first.about.topics == ((31, 0.5),)
        assert first.scores == {
            "score": close(0.8),
            "fav_score": close(0.8),
            "log_fav_normalized": close(0.8),
        }
        # Eve and Foe are followed and favoured; of community 1 Gus's posts were favoured.
        assert (first.followed, first.favoured) == (2, 2)
        assert set(first.named_ids) == {EVE, FOE}
        assert (second.followed, second.favoured, second.named_ids) == (0, 1, (GUS,))
        assert told.what.known_for == []
        [known] = make(n_shards).communities(EVE, SOON_S).what.known_for
        assert (known.about.community, known.scores) == (0, {"score": close(0.5)})


def test_a_blocked_producer_is_not_named(make: Make) -> None:
    made = make(extra=lambda clock: [clock.edge(Kind.BLOCK, GUS, ANN)])
    second = made.communities(ANN, SOON_S).what.interested_in[1]
    assert (second.favoured, second.named_ids) == (0, ())


def test_communities_without_the_users_shard(make: Make) -> None:
    told = make(N_SHARDS, missing=[HOMES[ANN]]).communities(ANN, SOON_S)
    assert (told.what.interested_in, told.degraded) == ([], [f"shard_{HOMES[ANN]}"])


def test_communities_that_nobody_described(tmp_path: Path) -> None:
    versions = write_models(tmp_path, described=False)
    states = trained_states(tmp_path, the_world(), 1, versions)
    store = ArtifactStore(tmp_path / "artifacts")
    made = Representations(
        Settings(data_dir=tmp_path), PartialRouter(states), store, lambda: NOW_MS
    )
    about = made.communities(ANN, SOON_S).what.interested_in[0].about
    assert (about.community, about.size, about.topics) == (0, None, ())


# Pairs


def scored(made: Representations, left: Side, right: Side) -> dict[tuple[str, str, str], Any]:
    told = made.score(left, right, SOON_S)
    return {(one.model, one.left, one.right): one.scores for one in told.what.compared}


def test_a_user_and_a_post(make: Make) -> None:
    made = make(N_SHARDS)
    scores = scored(made, Side(user_id=ANN), Side(post_id=ALIKE))
    sparse = scores["simclusters", "interested_in", "post"]
    assert list(sparse) == list(PAIR_SCORES)
    # Ann alone liked it.
    assert (sparse["cosine"], sparse["jaccard"]) == (close(1.0), close(1.0))
    assert scores["twhin", "user_engagement", "post"]["cosine"] == close(1.0)
    turned = scored(made, Side(post_id=ALIKE, author_id=FOE), Side(user_id=ANN))
    assert turned["simclusters", "post", "interested_in"] == pytest.approx(sparse)
    told = made.score(Side(user_id=ANN), Side(post_id=ALIKE), SOON_S)
    assert told.what.right == Side(None, ALIKE, FOE)
    assert told.what.standing.reputations == (0.0, 0.0)
    assert told.what.standing.real_graph is None


def test_two_users(make: Make) -> None:
    made = make(N_SHARDS)
    scores = scored(made, Side(user_id=ANN), Side(user_id=EVE))
    expected = (0.8 * 0.9 + 0.6 * 0.1) / np.sqrt(0.82)
    assert scores["simclusters", "interested_in", "producers"]["cosine"] == close(expected)
    assert scores["simclusters", "interested_in", "interested_in"] is None
    assert scores["twhin", "user_follow", "author_follow"] == {"dot": 1.0, "cosine": 1.0}
    assert scores["twhin", "author_follow", "author_follow"] is None
    standing = made.score(Side(user_id=ANN), Side(user_id=EVE), SOON_S).what.standing
    assert standing.reputations == (0.0, 40.0)
    assert standing.real_graph == (0.25, None)


def test_two_posts_as_among_similar_ones(make: Make) -> None:
    made = make(N_SHARDS)
    scores = scored(made, Side(post_id=SOURCE), Side(post_id=ALIKE))
    assert scores["simclusters", "post", "post"]["cosine"] == close(0.98995)
    assert scores["twhin", "post", "post"]["cosine"] == close(0.94868)


def test_a_pair_with_a_missing_shard(make: Make) -> None:
    made = make(N_SHARDS, missing=[HOMES[EVE]])
    told = made.score(Side(user_id=ANN), Side(user_id=EVE), SOON_S)
    assert all(one.scores is None for one in told.what.compared)
    assert told.degraded == [f"shard_{HOMES[EVE]}"]


def test_a_pair_with_somebody_unknown(make: Make) -> None:
    made = make(N_SHARDS)
    one = Side(user_id=ANN)
    assert refused(lambda: made.score(one, Side(user_id=987_654), SOON_S)) == "unknown-user"
    assert refused(lambda: made.score(Side(post_id=DELETED), one, SOON_S)) == "unknown-post"


def why(made: Representations, left: Side, right: Side) -> list[tuple[str, float | None]]:
    return [(one.kind, one.value) for one in made.score(left, right, SOON_S).what.reasons]


def test_why_a_user_and_a_post_are_alike(make: Make) -> None:
    def liked(clock: Clock) -> list[Event]:
        likes = [clock.on_post(Kind.FAVOURITE, user, ALIKE, FOE) for user in (EVE, GUS)]
        return [*likes, clock.on_post(Kind.REPOST, BEN, ALIKE, FOE)]

    for n_shards in (1, N_SHARDS):
        made = make(n_shards, extra=liked)
        for pair in ((ANN, ALIKE), (ALIKE, ANN)):
            sides = [Side(user_id=one) if one == ANN else Side(post_id=one) for one in pair]
            first, second, third = made.score(*sides, SOON_S).what.reasons
            assert first.kind == "shared_communities"
            words = "the post is liked in communities the user is interested in: "
            assert first.text == words + "0, 1"
            assert [about.community for about in first.communities] == [0, 1]
            assert first.communities[0].topics == ((31, 0.5),)
            assert (second.kind, second.user_ids) == ("near_in_twhin", ())
            # Ann follows Eve, and neither Gus nor Ben.
            assert (third.kind, third.value, third.user_ids) == ("followed_engagers", 1.0, (EVE,))
            assert third.text == f"liked or reposted by {EVE}, whom the user follows"


def test_a_like_taken_back_or_of_somebody_muted_is_no_reason(make: Make) -> None:
    def undone(clock: Clock) -> list[Event]:
        kinds = (Kind.FAVOURITE, Kind.UNFAVOURITE)
        return [clock.on_post(kind, EVE, ALIKE, FOE) for kind in kinds]

    def muted(clock: Clock) -> list[Event]:
        return [clock.on_post(Kind.FAVOURITE, EVE, ALIKE, FOE), clock.edge(Kind.MUTE, ANN, EVE)]

    for extra in (undone, muted):
        kinds = [kind for kind, _ in why(make(extra=extra), Side(ANN), Side(None, ALIKE))]
        assert kinds == ["shared_communities", "near_in_twhin"]


def test_why_two_users_are_alike(make: Make) -> None:
    for n_shards in (1, N_SHARDS):
        made = make(n_shards)
        assert why(made, Side(EVE), Side(FOE)) == [
            ("same_audience", close(0.9 / np.sqrt(0.82))),
            ("near_in_twhin", close(0.8)),
            ("shared_followers", 2.0),
        ]
        interests, near, follows = made.score(Side(ANN), Side(BEN), SOON_S).what.reasons
        assert (interests.kind, interests.value) == ("same_interests", close(0.96))
        # Nearest as engagers, who have the same vectors as followers.
        assert (near.kind, near.value) == ("near_in_twhin", close(0.8))
        assert (follows.kind, set(follows.user_ids)) == ("shared_follows", {EVE, FOE})
        communities, *_ = made.score(Side(ANN), Side(EVE), SOON_S).what.reasons
        words = "the left is interested in communities from which the right is followed: "
        assert communities.text == words + "0, 1"
        [other, *_] = made.score(Side(EVE), Side(ANN), SOON_S).what.reasons
        assert other.text.startswith("the right is interested in")


def test_why_two_posts_are_alike(make: Make) -> None:
    def block(clock: Clock) -> list[Event]:
        return [clock.edge(Kind.BLOCK, EVE, ANN)]

    pair = Side(None, SOURCE), Side(None, OF_BLOCKED)
    for n_shards in (1, N_SHARDS):
        made = make(n_shards)
        *_, engagers = made.score(*pair, SOON_S).what.reasons
        assert (engagers.kind, engagers.value, engagers.user_ids) == ("shared_engagers", 2.0, ())
        assert engagers.text == "2 users liked or reposted both"
        kinds = ["shared_communities", "near_in_twhin", "shared_engagers"]
        assert [kind for kind, _ in why(made, *pair)] == kinds
        # Who is blocked by one of the authors stands between the posts no more.
        *_, engagers = make(n_shards, extra=block).score(*pair, SOON_S).what.reasons
        assert engagers.text == "1 user liked or reposted both"
    assert why(make(), Side(None, SOURCE), Side(None, UNLIKE)) == []


def test_a_shard_that_fails_late_costs_only_what_it_alone_knows(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(N_SHARDS)
    ask, waves = PartialRouter.ask, []

    def failing(router: PartialRouter, wave: Any, timeout_s: float) -> Any:
        waves.append(wave)
        router.missing = {HOMES[FOE]} if len(waves) == 3 else set()
        return ask(router, wave, timeout_s)

    monkeypatch.setattr(PartialRouter, "ask", failing)
    told = made.score(Side(BEN), Side(FOE), SOON_S)
    assert HOMES[BEN] != HOMES[FOE]
    assert [one.kind for one in told.what.reasons] == ["shared_communities", "near_in_twhin"]
    assert (told.degraded, told.what.standing.reputations) == ([f"shard_{HOMES[FOE]}"], (0.0, 0.0))
    waves.clear()
    told = made.score(Side(None, SOURCE), Side(None, ALIKE), SOON_S)
    assert [one.kind for one in told.what.reasons] == ["shared_communities", "near_in_twhin"]
    assert told.what.standing.reputations == (None, None)
    assert len(waves) == 3
