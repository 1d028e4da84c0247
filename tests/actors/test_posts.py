from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.light import LABELS, POST_FEATURES
from actors.features.reputation import Reputations
from actors.known_labels import label_bits
from actors.post_labels import SORTS, PostLabels
from actors.posts import PostsKind
from actors.stores.posts import N_LABELS, PostTable
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, apply, empty_states, states_of

AUTHOR, OTHER = USERS[0], USERS[1]


def posts_of(events: list[Event]) -> PostsKind:
    [state] = states_of(events)
    return state.posts


def feature(posts: PostsKind, name: str, post_ids: list[int], **given: Any) -> list[float]:
    found = posts.hydrate(np.array(post_ids), given.pop("language", "en"), NOW_MS, **given)
    values: list[float] = found.features[:, POST_FEATURES.index(name)].tolist()
    return values


def label(clock: Clock, post_id: int, name: str, off: bool = False, **given: Any) -> Event:
    kind = Kind.SAFETY_UNLABEL if off else Kind.SAFETY_LABEL
    return clock.event(kind, post_id=post_id, author_id=AUTHOR, label=name, **given)


def test_labels_of_people_and_of_models_are_features_by_sort() -> None:
    clock = Clock()
    events = [clock.post(10 + k, AUTHOR) for k in range(4)]
    events += [
        label(clock, 10, "nsfw"),
        label(clock, 10, "p_toxicity", value=0.6),
        label(clock, 10, "p_abuse", value=0.2),
        label(clock, 11, "spam"),
        label(clock, 11, "spam", off=True),
        label(clock, 11, "worth_reading"),
        label(clock, 12, "toxicity"),
        # Of the author, not of a post.
        clock.event(Kind.SAFETY_LABEL, author_id=AUTHOR, label="spam"),
    ]
    posts = posts_of(events)
    found = {name: feature(posts, f"labelled_{name}", [10, 11, 12, 13]) for name in LABELS}
    assert found["nsfw"] == [1, 0, 0, 0]
    assert found["abusive"] == pytest.approx([0.6, 0, 1, 0], abs=1 / 255)
    assert found["spam"] == [0, 0, 0, 0]


def test_every_sort_of_label_has_its_place() -> None:
    assert tuple(SORTS) == LABELS
    assert len(LABELS) == N_LABELS


def test_a_label_may_come_before_its_post_and_survives_a_restore() -> None:
    clock = Clock()
    labelled = label(clock, 10, "nsfw")
    posts = posts_of([labelled, clock.post(10, AUTHOR), clock.post(11, AUTHOR)])
    assert feature(posts, "labelled_nsfw", [10, 11]) == [1, 0]
    for order in ((0, 1), (1, 0)):
        [state] = empty_states(1)
        parts = (
            (state.posts.table, posts.table.columns()),
            (state.posts.post_labels, posts.post_labels.columns()),
        )
        for at in order:
            store, columns = parts[at]
            store.restore(columns)
        assert feature(state.posts, "labelled_nsfw", [10, 11]) == [1, 0]


WRITES = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["nsfw", "p_nsfw", "spam", "hate", "other"]),
        st.integers(1, 5),
        st.booleans(),
        st.sampled_from([0.0, 0.2, 0.4, 1.0]),
    ),
    max_size=12,
    unique_by=lambda write: (write[0], write[1], write[2]),
)


@given(WRITES)
def test_strengths_are_those_of_the_labels_that_stand(
    writes: list[tuple[int, str, int, bool, float]],
) -> None:
    table = PostTable()
    labels = PostLabels(table)
    for post, name, version, on, value in writes:
        one = (np.array([x]) for x in (post, AUTHOR))
        labels.write(
            *one,
            pa.array([name]),
            np.array([value], np.float32),
            np.array([version]),
            np.array([on]),
        )
    for post in range(1, 4):
        said = labels.of(post)
        rows = table.rows_of(np.array([post]))
        strengths = table["labels"][rows[0]].tolist() if rows[0] >= 0 else [0, 0, 0]
        for strength, sort in zip(strengths, LABELS, strict=True):
            names = {*SORTS[sort], *(f"p_{name}" for name in SORTS[sort])}
            most = max([value for name, value in said.items() if name in names], default=0.0)
            assert strength == np.ceil(255 * np.float32(most))


def test_what_the_author_reads_and_is_worth() -> None:
    clock = Clock()
    events = [
        clock.event(Kind.USER_CREATE, actor_id=AUTHOR, language="de"),
        clock.event(Kind.USER_CREATE, actor_id=OTHER),
        clock.post(10, AUTHOR, language="en"),
        clock.post(11, OTHER, language="fr"),
        clock.post(12, 7),
    ]
    posts, every = posts_of(events), [10, 11, 12, 99]
    for language, same, match in (
        ("de", [1, 0, 0, 0], [0.7, 0.1, 1, 0]),
        ("en", [0, 0, 0, 0], [1, 0.3, 1, 0]),
        ("xx", [0, 0, 0, 0], [0.7, 0.1, 1, 0]),
        ("", [0, 0, 0, 0], [1, 1, 1, 0]),
    ):
        found = feature(posts, "author_same_language", every, language=language)
        assert found == same
        found = feature(posts, "language_match", every, language=language)
        assert found == pytest.approx(match)
    assert feature(posts, "author_reputation", every) == [0, 0, 0, 0]
    of_users = {AUTHOR: 61.0, 7: 5.0}
    ids = np.array(sorted(of_users))
    values = np.array([of_users[user] for user in ids.tolist()], np.float32)
    reputations = Reputations(pa.table({"user_id": ids, "reputation": values}))
    found = feature(posts, "author_reputation", every, reputations=reputations)
    assert found == [61, 0, 5, 0]
    popular = posts.popular("en", 0, NOW_MS, 9, reputations)
    column = popular.features[:, POST_FEATURES.index("author_reputation")]
    assert dict(zip(popular.post_ids.tolist(), column.tolist(), strict=True))[10] == 61


def test_roots_begin_conversations_that_anybody_may_read() -> None:
    clock = Clock()
    events = [
        clock.post(10, AUTHOR),
        clock.post(11, AUTHOR, reply_to_id=10, reply_to_author_id=AUTHOR),
        clock.post(12, AUTHOR, repost_of_id=10, repost_of_author_id=AUTHOR),
        clock.post(13, AUTHOR, quote_of_id=10, quote_of_author_id=AUTHOR),
        clock.post(14, AUTHOR),
        clock.event(Kind.POST_DELETE, post_id=14, author_id=AUTHOR),
        clock.on_post(Kind.FAVOURITE, OTHER, 15, AUTHOR),
        clock.post(20, OTHER),
    ]
    asked = np.array([10, 11, 12, 13, 14, 15, 16, 20])
    expected = [True, False, False, True, False, False, False, True]
    assert posts_of(events).roots(asked).tolist() == expected
    assert posts_of(events).roots(asked[:0]).tolist() == []
    for event in (
        clock.event(Kind.USER_SUSPEND, actor_id=OTHER),
        clock.event(Kind.USER_UPDATE, actor_id=OTHER, protected=True),
    ):
        assert posts_of([*events, event]).roots(asked).tolist() == [*expected[:-1], False]


def test_of_a_post_that_never_arrived_its_supposed_author_is_told_of() -> None:
    clock = Clock()
    wrong = clock.on_post(Kind.CLICK, OTHER, 15, OTHER)
    events = [
        clock.post(10, AUTHOR),
        clock.event(Kind.USER_UPDATE, actor_id=AUTHOR, protected=True),
        clock.event(Kind.USER_SUSPEND, actor_id=AUTHOR),
        clock.event(Kind.SAFETY_LABEL, author_id=AUTHOR, label="spam"),
        label(clock, 16, "gore"),
        clock.event(Kind.POST_DELETE, post_id=17, author_id=AUTHOR),
    ]
    states = empty_states(1)
    # What comes first decides whose row in the table it is.
    apply(states, [wrong], offset=1)
    apply(states, events, offset=2)
    posts = states[0].posts
    post_ids = np.array([10, 15, 16, 17, 18])
    found = posts.hydrate(post_ids, "en", NOW_MS, author_ids=np.full(5, AUTHOR))
    assert found.post_ids.tolist() == post_ids.tolist()
    assert (found.created_ms > 0).tolist() == [True] + [False] * 4
    assert found.author_ids.tolist() == [AUTHOR] * 5
    assert found.author_protected.all()
    assert found.author_gone.all()
    assert found.labels[:, 1].tolist() == [label_bits("spam")] * 5
    assert found.labels[:, 0].tolist() == [0, 0, label_bits("gore"), 0, 0]
    assert found.deleted.tolist() == [False, False, False, True, False]
    # Of others than was asked nothing is said.
    other = posts.hydrate(post_ids[1:], "en", NOW_MS, author_ids=np.full(4, OTHER))
    assert not other.author_protected.any()
    assert not other.author_gone.any()
    assert not other.labels[:, 1].any()
    # One that arrived has the author that it has.
    arrived = posts.hydrate(post_ids[:1], "en", NOW_MS, author_ids=np.array([OTHER]))
    assert (arrived.author_ids.tolist(), arrived.author_gone.tolist()) == ([AUTHOR], [True])


def test_without_features_everything_else_is_told() -> None:
    clock = Clock()
    posts = posts_of([clock.post(10, AUTHOR), clock.post(11, OTHER), label(clock, 10, "nsfw")])
    post_ids = np.array([11, 99, 10])
    whole = posts.hydrate(post_ids, "en", NOW_MS)
    found = posts.hydrate(post_ids, "en", NOW_MS, with_features=False)
    assert found.features.shape == (3, 0)
    for name, values in vars(whole).items():
        if name not in ("features", "ranks"):
            assert getattr(found, name).tolist() == values.tolist(), name
