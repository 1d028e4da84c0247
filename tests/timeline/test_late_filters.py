from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.known_labels import KNOWN_LABELS, label_bits
from actors.post_languages import language_key
from actors.post_marks import Mark
from actors.viewer_state import ViewerState
from cluster.controls import PREFERENCES
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline import candidate_rows
from tests.timeline.candidate_rows import NOW_MS, VIEWER, query
from tests.worlds import DAY_MS
from timeline import late_filters as late
from timeline.candidates import NONE, Candidates
from timeline.query import Query

SOURCES = ("in_network", "cr_mixer", "lists", "popular_videos", "popular")
FILTERS = {told.name: told.keep for told in late.late_filters(SOURCES)}
MINUTE_MS = 60_000


def rows(*posts: dict[str, Any]) -> Candidates:
    """As the shared builder's, with the column `is_reply` as the feature of that name."""
    found = candidate_rows.rows(*posts)
    return replace(found, is_reply=found.feature("is_reply") > 0)


def asking(settings: Settings | None = None, language: str = "", **state: Any) -> Query:
    arrays = {
        name: np.array(value, np.uint8 if name == "feedback_kinds" else np.int64)
        for name, value in state.items()
        if isinstance(value, list)
    }
    asked = replace(query(settings), state=ViewerState(**(state | arrays)))
    return replace(asked, context=replace(asked.viewer, language=language))


def filters_of(**given: Any) -> Settings:
    return Settings(heuristics={"filters": given})  # type: ignore[arg-type]


def kept(keep: Any, asked: Query, *posts: dict[str, Any]) -> list[bool]:
    return keep(asked, rows(*posts)).tolist()  # type: ignore[no-any-return]


def knowing() -> Query:
    """A query in which every filter has something to drop."""
    settings = filters_of(
        support_author_ids=(51,), competitor_author_ids=(52,), competitor_linked_ids=(7,)
    )
    return asking(
        settings,
        language="de",
        languages=("de",),
        subscriptions=[50],
        muted_topics=[3],
        followed_topics=[4],
        feedback_author_ids=[53, 54],
        feedback_kinds=[Kind.SHOW_LESS, Kind.REPORT],
        feedback_ms=[NOW_MS, NOW_MS],
    )


SOME = (
    {"is_followed": 1},
    {"is_reply": True, "links": [100, 0, 100], "marks": Mark.EXCLUSIVE},
    {"marks": Mark.SENSITIVE | Mark.EXCLUSIVE, "sources": 2},
    {"topic_ids": 3, "proof_ids": 9, "linked": [0, 7, 0]},
    {"topic_ids": 4, "author_ids": 51, "is_reply": True, "links": [101, 0, 100]},
    {"created_ms": 0},
    {"languages": language_key("fr")},
    {"author_ids": 53, "repost_of_ids": 101},
    {"author_ids": 54, "newest_ids": 9},
)


@pytest.mark.parametrize("keep", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("known", [False, True])
def test_every_late_filter(keep: Any, known: bool) -> None:
    """The contract: a new boolean for each candidate, of it alone and the others, whatever their
    order; none for none; nothing changed, and nothing more dropped the second time."""
    asked = knowing() if known else asking()
    candidates = rows(*SOME)
    copied = {name: column.copy() for name, column in vars(candidates).items()}
    for given_rows in (candidates, NONE):
        first, second = (keep(asked, given_rows) for _ in range(2))
        assert first.dtype == np.bool_
        assert first.shape == (len(given_rows),)
        np.testing.assert_array_equal(first, second)
    for name, column in copied.items():
        np.testing.assert_array_equal(column, getattr(candidates, name))
    shuffled = np.random.default_rng(3).permutation(len(candidates))
    by_row = keep(asked, candidates)[shuffled]
    assert keep(asked, candidates.take(shuffled)).tolist() == by_row.tolist()
    once = candidates.take(keep(asked, candidates))
    assert keep(asked, once).all()


@pytest.mark.parametrize("keep", FILTERS.values(), ids=FILTERS)
def test_of_blank_columns_every_filter_makes_something(keep: Any) -> None:
    blank = rows({}, {}, {})
    zeros = Candidates(**{name: np.zeros_like(column) for name, column in vars(blank).items()})
    for asked in (asking(), knowing()):
        assert keep(asked, zeros).shape == (3,)


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_can_drop_something(name: str) -> None:
    assert not all(kept(FILTERS[name], knowing(), *SOME))


def test_stale() -> None:
    longest_ms = Settings().windows.following_ms
    posts = (
        {"created_ms": NOW_MS - longest_ms},
        {"created_ms": NOW_MS - longest_ms - 1},
        {"created_ms": NOW_MS + 1},
        {"newest_ids": 5},
    )
    assert kept(late.not_stale, asking(), *posts) == [True, False, False, False]
    settings = Settings(windows={"following_ms": 30 * DAY_MS})  # type: ignore[arg-type]
    assert kept(late.not_stale, asking(settings), posts[1]) == [True]


def test_replies_for_subscribers_only() -> None:
    exclusive = {"marks": Mark.EXCLUSIVE}
    reply = {"is_reply": True}
    posts = (
        exclusive | {"post_ids": 5},
        exclusive | reply,
        reply | {"links": [5, 0, 0]},
        reply | {"links": [6, 0, 5]},
        reply | {"links": [6, 0, 6]},
        exclusive | reply | {"author_ids": VIEWER},
    )
    expected = [True, False, False, False, True, True]
    assert kept(late.not_exclusive_reply, asking(subscriptions=[50, 51, 52]), *posts) == expected


def test_subscribers_see_what_is_for_them() -> None:
    exclusive = {"marks": Mark.EXCLUSIVE}
    posts = (
        {"author_ids": 8},
        exclusive | {"author_ids": 7},
        exclusive | {"author_ids": 8},
        exclusive | {"author_ids": VIEWER},
        exclusive | {"author_ids": 8, "repost_of_ids": 5, "linked": [0, 0, 7]},
        exclusive | {"author_ids": 7, "repost_of_ids": 5, "linked": [0, 0, 8]},
    )
    asked = asking(subscriptions=[6, 7])
    assert kept(late.subscribed, asked, *posts) == [True, True, False, True, True, False]
    assert kept(late.subscribed, asking(), *posts[:2]) == [True, False]


CONTEXTS: dict[str, tuple[dict[str, Any], bool]] = {
    "in network": ({"is_followed": 1}, True),
    "a stranger's": ({}, False),
    "engaged with by somebody followed": ({"proof_ids": [9] + [0] * 9}, True),
    "the same, as the traversal counted": ({"proof_weight": 0.5}, True),
    "a reply": ({"is_reply": True}, True),
    "of a followed topic": ({"topic_ids": 4}, True),
    "of another topic": ({"topic_ids": 5}, False),
    "found by a source of no proof": ({"sources": 0b10}, False),
    "from a list": ({"sources": 0b100}, True),
    "from a list and elsewhere": ({"sources": 0b110}, True),
    "a popular video": ({"sources": 0b1000}, True),
    "popular": ({"sources": 0b10000}, True),
    "by a verified author": ({"marks": Mark.AUTHOR_VERIFIED}, False),
    "of unknown author": ({"author_ids": 0}, False),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_strangers_need_social_context(name: str) -> None:
    post, stays = CONTEXTS[name]
    asked = asking(followed_topics=[4])
    assert kept(FILTERS["social_context"], asked, post) == [stays]


def test_social_context_where_more_is_known() -> None:
    keep: Any = partial(late.has_social_context, SOURCES)
    candidates = rows({"is_reply": True}, {"is_reply": True}, {}, {})
    mask = np.array([True, False, True, False])
    assert keep(asking(), candidates, in_module=mask).tolist() == mask.tolist()
    assert keep(asking(), candidates, followed_by=mask).tolist() == [True, True, True, False]
    verified = {"marks": Mark.AUTHOR_VERIFIED}
    assert kept(keep, asking(filters_of(verified_need_no_proof=True)), verified) == [True]
    assert kept(keep, asking(filters_of(own_proof_sources=["cr_mixer"])), {"sources": 2}) == [True]


def test_competitors() -> None:
    asked = asking(filters_of(competitor_author_ids=[9, 7], competitor_linked_ids=[8]))
    posts = (
        {"author_ids": 7},
        {"author_ids": 7, "is_followed": 1},
        {"author_ids": 7, "repost_of_ids": 5},
        {"author_ids": 6},
        {"linked": [0, 8, 0]},
        {"linked": [0, 0, 8]},
        {"linked": [8, 0, 0]},
        {"linked": [0, 8, 0], "is_followed": 1},
    )
    assert kept(late.not_competitor, asked, *posts) == [False] + [True] * 7
    linked = [True, True, True, True, False, False, True, True]
    assert kept(late.not_competitor_linked, asked, *posts) == linked
    assert kept(late.not_competitor, asking(), *posts) == [True] * 8
    assert kept(late.not_competitor_linked, asking(), *posts) == [True] * 8


def test_what_a_reply_brings_with_it_does_not_stand_alone() -> None:
    posts = (
        {"post_ids": 1},  # the root of 3
        {"post_ids": 2, "is_reply": True, "links": [1, 0, 1]},  # which 3 answers
        {"post_ids": 3, "is_reply": True, "links": [2, 0, 1]},
        {"post_ids": 4},
        {"post_ids": 5, "repost_of_ids": 1},
        {"post_ids": 6, "repost_of_ids": 4},
        {"post_ids": 7, "links": [0, 4, 0]},  # a quote is no conversation
        {"post_ids": 8, "links": [0, 0, 8]},  # the root of itself
        {"post_ids": 9, "is_reply": True, "links": [99, 0, 98]},
    )
    expected = [False, False, True, True, False, True, True, True, True]
    assert kept(late.not_ancestor, asking(), *posts) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=10))
def test_no_ancestor_is_left_beside_what_it_comes_with(links: list[tuple[int, int]]) -> None:
    """Post i answers and began with what is given; against walking over all pairs."""
    posts = [
        {"post_ids": i + 1, "links": [parent, 0, root if parent else 0], "is_reply": parent > 0}
        for i, (parent, root) in enumerate(links)
    ]
    found = kept(late.not_ancestor, asking(), *posts)
    for i, keep in enumerate(found):
        others = [links[j] for j in range(len(links)) if j != i and links[j][0]]
        assert keep == all(i + 1 not in pair for pair in others)


def test_support_accounts_quick_replies() -> None:
    def reply(to: int, after_ms: int, author: int = 7) -> dict[str, Any]:
        created_ms = NOW_MS - 10 * MINUTE_MS + after_ms
        links = [to, 0, to]
        return {"author_ids": author, "is_reply": True, "links": links, "created_ms": created_ms}

    posts = (
        {"post_ids": 5, "created_ms": NOW_MS - 10 * MINUTE_MS},
        reply(5, MINUTE_MS - 1),
        reply(5, MINUTE_MS),
        reply(5, 1, author=8),
        reply(6, 9 * MINUTE_MS),
        {"author_ids": 7},
    )
    asked = asking(filters_of(support_author_ids=[9, 7]))
    expected = [True, False, True, True, False, True]
    assert kept(late.not_support_reply, asked, *posts) == expected
    # Any quick reply stays where nobody is known as a support account.
    assert kept(late.not_support_reply, asking(), *posts) == [True] * 6
    at_ms = np.array([0, 0, NOW_MS - 9 * MINUTE_MS, 0, NOW_MS - 9 * MINUTE_MS, 0])
    told = late.not_support_reply(asked, rows(*posts), at_ms)
    assert told.tolist() == [True, False, False, True, True, True]


def test_a_label_makes_a_support_account() -> None:
    name = KNOWN_LABELS[3]
    asked = asking(filters_of(support_label=name))
    reply = {"is_reply": True, "links": [5, 0, 5]}
    posts = (
        reply | {"labels": [0, label_bits(name)]},
        reply | {"labels": [label_bits(name), 0]},
        {"labels": [0, label_bits(name)]},
    )
    assert kept(late.not_support_reply, asked, *posts) == [False, True, True]
    unknown = asking(filters_of(support_label="no such label"))
    assert kept(late.not_support_reply, unknown, *posts) == [True] * 3


SENSITIVE = {"marked": {"marks": Mark.SENSITIVE}} | {
    f"{name} of the {whom}": {"labels": np.roll([label_bits(name), np.uint64(0)], column)}
    for name in late.SENSITIVE_LABELS
    for column, whom in enumerate(("post", "author"))
}


@pytest.mark.parametrize("name", SENSITIVE)
def test_nothing_sensitive_from_strangers(name: str) -> None:
    post = SENSITIVE[name]
    posts = (post, post | {"is_followed": 1}, {})
    keep = late.not_sensitive_stranger
    assert kept(keep, asking(), *posts) == [False, True, True]
    assert kept(keep, asking(allow_sensitive=True), *posts) == [True] * 3


def test_other_labels_and_marks_are_not_sensitive() -> None:
    others = label_bits(*(n for n in KNOWN_LABELS if n not in late.SENSITIVE_LABELS))
    posts = ({"labels": [others, others]}, {"marks": Mark.IMAGE | Mark.VIDEO | Mark.EXCLUSIVE})
    assert kept(late.not_sensitive_stranger, asking(), *posts) == [True, True]
    named = {"nsfw_text", "nsfw_admin", "gore", "gore_high_precision", "reported_sensitive"}
    assert named <= set(late.SENSITIVE_LABELS)


def test_muted_topics() -> None:
    posts = ({"topic_ids": 3}, {"topic_ids": 3, "is_followed": 1}, {"topic_ids": 4}, {})
    assert (
        kept(late.not_muted_topic, asking(muted_topics=[1, 3]), *posts) == [False] * 2 + [True] * 2
    )
    assert kept(late.not_muted_topic, asking(), *posts) == [True] * 4


LANGUAGES: dict[str, dict[str, Any]] = {
    name: {"languages": language_key(name)} for name in ("de", "en", "fr", "pt-BR")
} | {"unknown": {}}


@pytest.mark.parametrize("own", ["", "de", "ja"])
@pytest.mark.parametrize(
    ("chosen", "stay"),
    [
        ((), set(LANGUAGES)),
        (("de",), {"de"}),
        (("de", "en"), {"de", "en"}),
        (("en-GB",), {"en"}),
        (("fr", "pt"), {"fr", "pt-BR"}),
        (("ja",), set()),
    ],
)
def test_languages_that_the_viewer_chose(own: str, chosen: tuple[str, ...], stay: set[str]) -> None:
    asked = asking(language=own, languages=chosen)
    found = kept(late.in_chosen_language, asked, *LANGUAGES.values())
    left = {name for name, keep in zip(LANGUAGES, found, strict=True) if keep}
    assert left == stay | {"unknown"}


FRENCH, GERMAN = LANGUAGES["fr"], LANGUAGES["de"]


@pytest.mark.parametrize(
    ("only", "ranked", "ordered"),
    [
        (None, [True, False, False], [True, True, True]),
        (0.0, [True, True, True], [True, True, True]),
        (1.0, [False, False, False], [False, False, True]),
    ],
)
def test_whether_authors_whom_the_viewer_follows_write_as_they_like(
    only: float | None, ranked: list[bool], ordered: list[bool]
) -> None:
    preferences = {} if only is None else {late.ONLY_LANGUAGES: only}
    asked = asking(language="de", languages=("de",), preferences=preferences)
    posts = FRENCH | {"is_followed": 1}, FRENCH, FRENCH | {"author_ids": VIEWER}
    assert kept(late.in_chosen_language, asked, *posts) == ranked
    assert kept(late.in_languages_only, asked, *posts) == ordered
    assert kept(late.in_languages_only, asked, GERMAN, {}) == [True, True]
    nothing_chosen = asking(language="de", preferences=preferences)
    for keep in (late.in_chosen_language, late.in_languages_only):
        assert kept(keep, nothing_chosen, *posts) == [True] * 3
    assert late.ONLY_LANGUAGES in PREFERENCES


def test_reposts_are_judged_by_what_they_show() -> None:
    asked = asking(languages=("de",))
    candidates = rows({}, FRENCH, GERMAN)
    shown = np.array([language_key("fr"), language_key("de"), 0])
    assert late.in_chosen_language(asked, candidates, shown).tolist() == [False, True, True]
