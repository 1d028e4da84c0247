"""Which modules a page has, by gate, and what is in them."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.router import Gathered, LocalRouter, Wave
from actors.viewer_state import ViewerState
from cluster.events import Kind
from cluster.mixer_settings import (
    DAY_MS,
    HOUR_MS,
    MixerSettings,
    NewPostsSettings,
    TopicsSettings,
    WhoToFollowSettings,
)
from tests.timeline.candidate_rows import NOW_MS, query, rows
from tests.timeline.follow_recommendations.asking import ME, asked_of, follows, settings_of
from tests.worlds import Clock, PartialRouter, states_of
from timeline import modules
from timeline.candidates import NONE
from timeline.cursors import CursorKind, Walk
from timeline.findings import ask_together
from timeline.follow_recommendations.flow import CONTENT, find_accounts
from timeline.follow_recommendations.reasons import Because
from timeline.follow_recommendations.service import AccountRecommendations, Recommendation
from timeline.gates import Moment, closed_gate
from timeline.modules import (
    ACCOUNTS,
    NAMES,
    PROMPTS,
    Module,
    Pill,
    ahead_of_modules,
    modules_for,
)
from timeline.query import Query

RULES = MixerSettings()
MINUTE_MS = 60_000


def moment(state: ViewerState | None = None, **given: Any) -> Moment:
    plain = Moment("for_you", NOW_MS, state or ViewerState(), n_follows=100, is_new=False)
    return replace(plain, **given)


def served(name: str, ago_ms: int) -> Moment:
    return moment(ViewerState(modules_ms={name: NOW_MS - ago_ms}))


def dismissed(name: str, count: int, ago_ms: int) -> Moment:
    return moment(ViewerState(dismissals={name: (count, NOW_MS - ago_ms)}))


GATED = [("who_to_follow", RULES.who_to_follow), ("topics", RULES.topics)]


@pytest.mark.parametrize(("name", "rules"), GATED)
@pytest.mark.parametrize(
    ("asked", "changed", "expected"),
    [
        ("plain", {}, None),
        ("plain", {"on": False}, "on"),
        ("plain", {"products": ("following",)}, "on"),
        ({"product": "following"}, {}, None),
        ({"product": "lists"}, {}, "on"),
        ({"first_page": False}, {}, "page"),
        ({"first_page": False}, {"pages": "all"}, None),
        # 1,800 minutes since it was served last.
        (("served", 1_800 * MINUTE_MS - 1), {}, "interval"),
        (("served", 1_800 * MINUTE_MS), {}, None),
        (("served", 0), {"interval_ms": 0}, None),
        (("served", -1), {"interval_ms": 0}, "interval"),
        # 7 days for each dismissal, 28 at most.
        (("dismissed", 1, 7 * DAY_MS - 1), {}, "dismissals"),
        (("dismissed", 1, 7 * DAY_MS), {}, None),
        (("dismissed", 2, 14 * DAY_MS - 1), {}, "dismissals"),
        (("dismissed", 2, 14 * DAY_MS), {}, None),
        (("dismissed", 3, 21 * DAY_MS - 1), {}, "dismissals"),
        (("dismissed", 4, 28 * DAY_MS - 1), {}, "dismissals"),
        (("dismissed", 4, 28 * DAY_MS), {}, None),
        (("dismissed", 5, 28 * DAY_MS - 1), {}, "dismissals"),
        (("dismissed", 99, 28 * DAY_MS), {}, None),
    ],
)
def test_the_gates_of_a_module(
    name: str, rules: Any, asked: Any, changed: dict[str, Any], expected: str | None
) -> None:
    if isinstance(asked, dict):
        now = moment(**asked)
    elif asked == "plain":
        now = moment()
    else:
        now = (served if asked[0] == "served" else dismissed)(name, *asked[1:])
    rules = rules.model_copy(update=changed)
    assert closed_gate(now, name, rules, RULES.dismissals) == expected
    # What happened to one module closes no other.
    assert closed_gate(now, "other", rules, RULES.dismissals) in (None, "on", "page")


def recommended(n: int) -> list[Recommendation]:
    return [
        Recommendation(50 + k, 1.0 / (1 + k), ["x"], [Because("popular", f"because {k}")])
        for k in range(n)
    ]


@pytest.mark.parametrize(("found", "shown"), [(0, 0), (2, 0), (3, 3), (20, 20), (25, 20)])
def test_accounts_are_three_to_twenty(found: int, shown: int) -> None:
    module = modules.accounts_to_follow(recommended(found), RULES.who_to_follow)
    assert (module.user_ids if module else ()) == tuple(range(50, 50 + shown))
    if module:
        assert module.because == tuple(f"because {k}" for k in range(shown))
        assert (module.kind, module.name, module.position) == ("who_to_follow", NAMES[0], 5)


FEW_TOPICS = TopicsSettings(min_items=1, max_items=3)


def topics(*posts: dict[str, Any], rules: TopicsSettings = FEW_TOPICS, **known: Any) -> Any:
    columns: dict[str, Any] = {name: np.array(ids, np.int64) for name, ids in known.items()}
    state = ViewerState(**columns)
    unsignalled = [{"signals": -1, **post} for post in posts]
    module = modules.topics_to_follow(rows(*unsignalled), state, rules)
    return None if module is None else list(zip(module.topic_ids, module.because, strict=True))


def test_topics_of_whom_the_viewer_engages_with_come_first() -> None:
    posts = [
        {"topic_ids": 1, "favourites": 9.0},
        {"topic_ids": 2, "author_affinity": 0.5},
        {"topic_ids": 3, "author_affinity": 0.5},
        {"topic_ids": 3, "signals": 0, "favourites": 1.0},
        {"topic_ids": 4, "favourites": 5.0},
        {"topic_ids": 4, "favourites": 5.0},
        {"topic_ids": 0, "favourites": 99.0},
    ]
    close, popular = "close to what you engage with", "popular"
    assert topics(*posts) == [(3, close), (2, close), (4, popular)]
    assert topics(*posts, followed_topics=[3], muted_topics=[4]) == [(2, close), (1, popular)]


def test_an_author_counts_once_for_a_topic() -> None:
    posts = [
        *({"topic_ids": 1, "author_affinity": 0.5, "author_ids": 7} for _ in range(5)),
        {"topic_ids": 2, "author_affinity": 0.5, "author_ids": 7},
        {"topic_ids": 2, "author_affinity": 0.5, "author_ids": 8},
    ]
    assert [topic for topic, _ in topics(*posts)] == [2, 1]


def test_equal_topics_are_in_the_order_of_their_ids_however_posts_come() -> None:
    posts = [{"topic_ids": 9 - k % 3, "favourites": (k // 3) * 0.1} for k in range(30)]
    candidates = rows(*posts)
    state = ViewerState()
    found = {
        modules.topics_to_follow(
            candidates.take(np.random.default_rng(k).permutation(30)), state, FEW_TOPICS
        )
        for k in range(10)
    }
    assert [module.topic_ids for module in found if module] == [(7, 8, 9)]


def test_too_few_topics_are_none() -> None:
    posts = [{"topic_ids": topic} for topic in (1, 2)]
    assert topics(*posts, rules=RULES.topics) is None
    assert topics(*posts, {"topic_ids": 3}, rules=RULES.topics) is not None
    assert topics() is None
    assert modules.topics_to_follow(NONE, ViewerState(), FEW_TOPICS) is None


TOPIC = np.array([5], np.int64)


@pytest.mark.parametrize(
    ("given", "state", "expected"),
    [
        ({"n_follows": 0}, {}, "prompt_accounts"),
        ({"n_follows": 9}, {}, "prompt_accounts"),
        ({"n_follows": 10}, {}, "prompt_topics"),
        ({"n_follows": 10}, {"followed_topics": TOPIC}, "prompt_languages"),
        ({"n_follows": 10}, {"followed_topics": TOPIC, "languages": ("de",)}, None),
        ({"n_follows": 0, "is_new": False}, {}, None),
        ({"n_follows": 0, "first_page": False}, {}, None),
        ({"n_follows": 0, "product": "lists"}, {}, None),
        # Who dismissed one, or has just seen it, is asked the next.
        ({"n_follows": 0}, {"dismissals": {"prompt_accounts": (1, NOW_MS)}}, "prompt_topics"),
        ({"n_follows": 0}, {"modules_ms": {"prompt_accounts": NOW_MS}}, "prompt_topics"),
        ({"n_follows": 0}, {"modules_ms": {"prompt_accounts": NOW_MS - DAY_MS}}, "prompt_accounts"),
        ({"n_follows": 0}, {"modules_ms": dict.fromkeys(NAMES, NOW_MS)}, None),
    ],
)
def test_prompts_of_new_users(
    given: dict[str, Any], state: dict[str, Any], expected: str | None
) -> None:
    asked = moment(ViewerState(**state), **{"is_new": True, **given})
    module = modules.prompt_for(asked, RULES)
    assert (module.name if module else None) == expected
    if module:
        assert (module.kind, module.position) == ("prompt", 0)
        assert module.text in {prompt.text for prompt in PROMPTS}


PILL = NewPostsSettings()


@pytest.mark.parametrize(
    ("authors", "given", "expected"),
    [
        ([], {}, None),
        ([7], {}, Pill(1, (7,), 240_000)),
        ([7, 8, 7, 9, 6], {}, Pill(5, (7, 8, 9), 240_000)),
        ([7], {"asked": True}, Pill(1, (7,), 0)),
        ([1, 1], {}, Pill(2, (1,), 0)),  # the viewer's own thread
        ([1, 7], {}, Pill(2, (1, 7), 240_000)),
    ],
)
def test_the_pill(authors: list[int], given: dict[str, bool], expected: Pill | None) -> None:
    assert modules.new_posts_pill(1, authors, PILL, **given) == expected
    assert modules.new_posts_pill(1, authors, NewPostsSettings(on=False), **given) is None


class Timed(LocalRouter):
    """Keeps how long each wave might take, and what was asked."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.timeouts_s: list[float] = []
        self.asked: Counter[str] = Counter()

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.timeouts_s.append(timeout_s)
        self.asked.update(type(question).__name__ for asked in wave.values() for question in asked)
        return super().ask(wave, timeout_s)


def a_world() -> list[dict[str, Any]]:
    """The viewer follows 10 and 11, who follow 20 … 24."""
    clock = Clock()
    friends = {10: [20, 21, 22, 23], 11: [22, 23, 24, 20]}
    return [
        *follows(clock, {ME: [10, 11], **friends}),
        *(clock.post(100 + user, user) for user in range(20, 25)),
        clock.edge(Kind.BLOCK, ME, 24),
    ]


@pytest.fixture
def asked() -> Query:
    states = states_of(a_world(), 2, settings_of())
    query = asked_of(states, router=Timed(states))
    assert isinstance(query.router, Timed)
    query.router.timeouts_s.clear()
    return query


def test_accounts_are_those_of_follow_recommendations(asked: Query) -> None:
    found = modules.find_accounts(asked, RULES.who_to_follow)
    service = AccountRecommendations(asked.settings, asked.router, lambda: asked.now_ms)
    assert found == service.of(ME, 20, 1e9).what
    assert {account.user_id for account in found} == {20, 21, 22, 23}
    assert asked.degraded == []


def test_accounts_asked_for_beside_the_candidates_cost_no_wave_of_their_own(asked: Query) -> None:
    expected = modules.find_accounts(asked, RULES.who_to_follow)
    assert isinstance(asked.router, Timed)
    asked.router.timeouts_s.clear()
    posts = ask_together(asked, {"posts": find_accounts(asked, CONTENT)}, 0.6)["posts"]
    alone = len(asked.router.timeouts_s)
    asked.router.timeouts_s.clear()

    asked.router.asked.clear()
    ahead = ahead_of_modules("for_you", asked)
    assert ACCOUNTS in ahead
    found = ask_together(asked, {"posts": find_accounts(asked, CONTENT), **ahead}, 0.6)
    # One search for both.
    assert [asked.router.asked[name] for name in ("AskFollowees", "AskNearFollowers")] == [1, 1]
    # Facts of the accounts take one wave more, beside that of their posts.
    assert len(asked.router.timeouts_s) == alone + 1
    shared = found.pop("posts")
    assert posts is not None
    assert shared is not None
    assert shared.user_ids.tolist() == posts.user_ids.tolist()
    assert shared.scores.tolist() == posts.scores.tolist()
    asked.router.timeouts_s.clear()
    asked.beside = found
    assert modules.find_accounts(asked, RULES.who_to_follow) == expected
    assert asked.router.timeouts_s == []


@pytest.mark.parametrize(
    "changed",
    [
        {"posts_only": True},
        {"context": None},
        {"state": ViewerState(modules_ms={"who_to_follow": NOW_MS - HOUR_MS})},
        {"walk": Walk(CursorKind.OLDER)},
    ],
)
def test_accounts_that_are_not_due_are_not_asked_for(asked: Query, changed: dict[str, Any]) -> None:
    assert ACCOUNTS not in ahead_of_modules("for_you", replace(asked, **changed))


def test_accounts_that_were_not_found_are_missed(asked: Query) -> None:
    asked.beside = {ACCOUNTS: None}
    assert modules.find_accounts(asked, RULES.who_to_follow) == []
    assert asked.degraded == [ACCOUNTS]


@pytest.mark.parametrize("recorded", [True, False])
def test_accounts_have_a_budget_unless_the_request_is_exact(asked: Query, recorded: bool) -> None:
    asked.recorded = recorded
    modules.find_accounts(asked, WhoToFollowSettings(budget_ms=1_000))
    assert isinstance(asked.router, Timed)
    assert asked.router.timeouts_s
    assert all((timeout_s < 1.0) == recorded for timeout_s in asked.router.timeouts_s)


@pytest.mark.parametrize(
    ("state", "given", "is_new"),
    [
        ({"created_ms": NOW_MS - HOUR_MS, "active_days": 1}, {}, True),
        ({"active_days": 0}, {}, True),
        ({"active_days": 28, "created_ms": NOW_MS - 1_000 * DAY_MS}, {"follows": [7, 8]}, False),
    ],
)
def test_the_moment_of_a_request(
    state: dict[str, Any], given: dict[str, Any], is_new: bool
) -> None:
    known = ViewerState(**state)
    asked = replace(query(**given), state=known)
    expected = Moment("for_you", NOW_MS, known, len(given.get("follows", [])), is_new, False)
    assert Moment.of(asked, "for_you", first_page=False) == expected


def modules_of(asked: Query, **given: Any) -> list[Module]:
    candidates = rows(*({"topic_ids": topic} for topic in (1, 2, 3)))
    return modules_for(asked, "for_you", candidates, **{"first_page": True, **given})


def test_a_page_has_its_modules_in_the_published_order(asked: Query) -> None:
    made = modules_of(asked)
    assert [module.name for module in made] == ["who_to_follow", "topics", "prompt_accounts"]
    assert set(made[0].user_ids) == {20, 21, 22, 23}
    assert made[0].because[0].startswith("followed by 1")
    assert made[1].topic_ids == (1, 2, 3)


def test_where_a_gate_is_closed_nobody_is_asked(asked: Query) -> None:
    assert isinstance(asked.router, Timed)
    asking = ("who_to_follow", "who_to_subscribe", "post_preview")
    asked.state = ViewerState(modules_ms=dict.fromkeys(asking, NOW_MS - HOUR_MS))
    assert [module.name for module in modules_of(asked)] == ["topics", "prompt_accounts"]
    assert modules_of(asked, first_page=False) == []
    assert asked.router.timeouts_s == []


def test_no_answer_is_no_module_and_is_said() -> None:
    states = states_of(a_world(), 1, settings_of())
    router = PartialRouter(states)
    asked = asked_of(states, router=router)
    asked.told.clear()
    router.missing.add(0)
    assert "who_to_follow" not in [module.name for module in modules_of(asked)]
    assert asked.degraded == ["shard_0", "who_to_follow"]


def test_without_the_viewers_context_there_is_nothing() -> None:
    unknown = query()
    unknown.context = None
    assert modules_of(unknown) == []
