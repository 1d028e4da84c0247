"""Inputs of the viewer and the request: who asks, what they did lately, and when they ask."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.families import Family, Place, flag, number
from actors.features.inputs import Level
from actors.features.real_graph import REAL_GRAPH
from actors.features.reputation import TWEEPCRED
from actors.ranker_inputs.activity import KINDS, NEVER_DAYS, TOTALS, Activity, by_kind
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.ties import MAX_LISTS, MAX_MEMBERS
from actors.state import ShardState
from actors.two_hop import EdgeType, LeftLists
from cluster.events import ENGAGEMENTS, Kind
from cluster.ids import id_of_string
from cluster.settings import DAY_MS, HOUR_MS

Floats = npt.NDArray[np.float32]

NEW_ACCOUNT_MS = 30 * DAY_MS
_POSTS_WINDOWS_MS = (DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
_MAX_POSTS = 200
_BEST_SCORES = 10
_STATES = ("near_zero", "light", "medium_writer", "medium_reader", "heavy_writer", "heavy_reader")
_LIGHT_DAYS, _HEAVY_DAYS = 1, 10
_LIGHT_UNTIL = 3

REQUEST = Family(
    "request",
    "request context",
    Level.VIEWER,
    Place.VIEWER,
    (
        number("request.hour_sin", "sine of the hour of the day, UTC", laptop=True),
        number("request.hour_cos", "cosine of the hour of the day, UTC", laptop=True),
        number("request.weekday_sin", "sine of the day of the week", laptop=True),
        number("request.weekday_cos", "cosine of the day of the week", laptop=True),
        flag("request.weekend", "Saturday or Sunday, UTC", laptop=True),
    ),
)
VIEWER = Family(
    "viewer",
    "viewer",
    Level.VIEWER,
    Place.VIEWER,
    (
        number("viewer.account_days", "days since the account was created", laptop=True),
        number("viewer.age_years", "age as the account says; 0 where it does not"),
        number("viewer.follows", "users followed", laptop=True),
        number("viewer.followers", "users who follow the viewer", laptop=True),
        number("viewer.followers_per_follow", "followers by follows", laptop=True),
        number("viewer.blocks", "users blocked"),
        number("viewer.blocked_by", "users who block the viewer"),
        number("viewer.mutes", "users muted"),
        number("viewer.topics", "topics followed", laptop=True),
        number("viewer.lists", "lists made"),
        number("viewer.list_members", "members of these lists"),
        number("viewer.posts_1d", "posts written in a day", laptop=True),
        number("viewer.posts_7d", "posts written in 7 days", laptop=True),
        number("viewer.posts_30d", "posts written in 30 days"),
        number(
            *("viewer.hours_since_post", "hours since the last post of 30 days"),
            default=24 * NEVER_DAYS,
        ),
        number("viewer.reputation", "Tweepcred's reputation, 0–100", laptop=True),
        number("viewer.real_graph_authors", "authors whom Real Graph scores", laptop=True),
        number("viewer.real_graph_best", "the best of these scores", laptop=True),
        number("viewer.real_graph_mean", "their mean"),
        number("viewer.real_graph_top", f"the sum of the best {_BEST_SCORES}"),
        *(
            number(
                f"viewer.{name}", f"authors with an engagement of the viewer ({kind}) that stands"
            )
            for name, kind in (
                ("favoured", "favourite"),
                ("reposted", "repost or quote"),
                ("replied_to", "reply"),
            )
        ),
        *(
            number(
                f"viewer.{name}", f"users with an engagement ({kind}) with the viewer that stands"
            )
            for name, kind in (
                ("favoured_by", "favourite"),
                ("reposted_by", "repost or quote"),
                ("replied_to_by", "reply"),
            )
        ),
        number("viewer.affine_authors", "authors the viewer engaged with lately", laptop=True),
        number("viewer.affinity", "decayed weighted engagements with all of them", laptop=True),
        number("viewer.affinity_share", "share of the author engaged with most"),
        number("viewer.active_days", "days with an engagement in the window", laptop=True),
        number("viewer.communities", "SimClusters communities of interest", laptop=True),
        number("viewer.best_interest", "the score of the first of them"),
        number("viewer.interest_entropy", "entropy of these scores, in nats", laptop=True),
        *(
            number(f"two_hop.viewer.{name}", f"length of the viewer's {name} list, at most 512")
            for name in ("following", "favorite", "mutual_follow")
        ),
        flag("viewer.new", "account created within 30 days", laptop=True),
        flag("viewer.verified", "verified"),
        flag("viewer.protected", "protected"),
        flag("viewer.allows_sensitive", "wants to see sensitive posts"),
        flag("viewer.follows_few", "follows fewer than 50 users", laptop=True),
        flag("viewer.has_vector", "TwHIN has a follow vector of the viewer", laptop=True),
        flag("viewer.has_engagement_vector", "TwHIN has an engagement vector of the viewer"),
        *(
            flag(f"viewer.state.{name}", "how often the viewer is there, and whether they write")
            for name in _STATES
        ),
    ),
)
_TOTAL_MEANS = {
    "last_hour": "{kind} events of the viewer in the last hour",
    "last_day": "{kind} events of the viewer in the last 24 hours",
    "last_week": "{kind} events of the viewer in the last 7 days",
    "hours_since_last": "hours since the viewer's last {kind} event",
}
_ON_LAPTOP = {Kind.FAVOURITE, Kind.REPLY, Kind.CLICK, Kind.IMPRESSION}
ACTIVITY = Family(
    "viewer_activity",
    "viewer",
    Level.VIEWER,
    Place.VIEWER,
    tuple(
        number(
            f"viewer.{kind.label}.{name}",
            _TOTAL_MEANS[name].format(kind=kind.label),
            laptop=kind in _ON_LAPTOP and name in ("last_day", "hours_since_last"),
            default=24 * NEVER_DAYS if name == "hours_since_last" else 0.0,
        )
        for kind in KINDS
        for name in TOTALS
        # Impressions are kept for two days.
        if (kind, name) != (Kind.IMPRESSION, "last_week")
    ),
)
_KEPT_TOTALS = np.array(
    [(kind, name) != (Kind.IMPRESSION, "last_week") for kind in KINDS for name in TOTALS]
)
LEFT_TYPES = (EdgeType.FOLLOWING, EdgeType.FAVORITE, EdgeType.MUTUAL_FOLLOW)


class Person(NamedTuple):
    """What the viewer's account says, for those who compare it with others'."""

    language: str
    country: str


NOBODY = Person("", "")


def request_context(now_ms: int) -> Floats:
    """The block of `REQUEST`, (1, ·)."""
    hours = now_ms / HOUR_MS
    hour, day = hours % 24 / 24, weekday(now_ms) / 7
    turns = [f(2 * math.pi * share) for share in (hour, day) for f in (math.sin, math.cos)]
    return np.array([[*turns, weekday(now_ms) >= 5]], np.float32)


def weekday(now_ms: int) -> int:
    """The day of the week, UTC, 0 for Monday."""
    return (now_ms // DAY_MS + 3) % 7


def hour_of_week(now_ms: int) -> int:
    """1 … 168, from Monday, UTC."""
    return 1 + 24 * weekday(now_ms) + now_ms // HOUR_MS % 24


def person_of(state: ShardState, viewer_id: int) -> Person:
    """The viewer's language and country; "" where unknown."""
    row = state.users.rows_of(np.array([viewer_id], np.int64))
    if row[0] < 0:
        return Person("", "")
    words = (
        state.users.words.word(int(state.users[name][row[0]])) or ""
        for name in ("language", "country")
    )
    return Person(*words)


@lru_cache(maxsize=4_096)
def code_of(word: str) -> int:
    """A language or country as a discrete input: the same number everywhere, 0 for none."""
    return id_of_string(word) if word else 0


def activity_totals(activity: Activity, now_ms: int) -> Floats:
    """The block of `ACTIVITY`, (1, ·)."""
    return by_kind(activity, now_ms)[None, _KEPT_TOTALS]


def viewer(state: ShardState, asking: Asking, activity: Activity, left: LeftLists) -> Floats:
    """The block of `VIEWER`, (1, ·)."""
    graph, users, now_ms, one = state.graph, state.users, asking.now_ms, asking.viewer
    row = int(users.rows_of(one)[0])
    known = row >= 0

    def said(name: str) -> float:
        return float(users[name][row]) if known else 0.0

    created_ms = said("created_ms")
    age_ms = max(now_ms - created_ms, 0) if created_ms else 0
    follows, followers = (float(of.degrees(one)[0]) for of in (graph.follows, state.followers))
    lists = graph.lists.of(asking.viewer_id, MAX_LISTS, MAX_MEMBERS)
    posts = _own_posts(state, asking)
    scores = _real_graph(state, asking)
    affinities = graph.affinities(asking.viewer_id, now_ms)[1]
    engaging = activity.kinds < len(ENGAGEMENTS)
    days = len(np.unique(activity.times_ms[engaging] // DAY_MS))
    interests, has_vectors = _representations(state, asking)
    reputation = 0.0
    if version := asking.version(TWEEPCRED):
        reputation = float(state.models.reputations(version).of(one)[0])
    values = [
        *(age_ms / DAY_MS, said("age_years"), follows, followers, followers / max(follows, 1.0)),
        *(float(of.degrees(one)[0]) for of in (graph.blocks, graph.blocked_by, graph.mutes)),
        *(float(graph.topics.degrees(one)[0]), len(lists.list_ids), len(lists.member_ids)),
        *posts,
        *(reputation, len(scores), scores.max(initial=0), scores.mean() if len(scores) else 0),
        np.sort(scores)[-_BEST_SCORES:].sum(),
        *(of.degrees(one, k)[0] for of in (graph.engaged, graph.engaged_by) for k in range(3)),
        *(len(affinities), affinities.sum()),
        affinities.max(initial=0) / max(affinities.sum(), 1e-9),
        *(days, *interests),
        *(left.degrees.get(kind, 0) for kind in LEFT_TYPES),
        created_ms > 0 and age_ms < NEW_ACCOUNT_MS,
        *(said(name) for name in ("verified", "protected", "allow_sensitive")),
        *(follows < 50, *has_vectors),
        *_state(days, writes=posts[1] > 0),
    ]
    return np.array([values], np.float32)


def person_codes(person: Person, asking: Asking) -> tuple[int, int, int, int]:
    """Viewer, language, country and hour of the week, as discrete inputs."""
    return (
        *(asking.viewer_id, code_of(person.language), code_of(person.country)),
        hour_of_week(asking.now_ms),
    )


def _own_posts(state: ShardState, asking: Asking) -> list[float]:
    if "posts" not in state.settings.shards.kinds:
        return [0.0, 0.0, 0.0, 24 * NEVER_DAYS]
    table, now_ms = state.posts.table, asking.now_ms
    since_ms = max(now_ms - _POSTS_WINDOWS_MS[-1], 0)
    rows = table.of_authors(asking.viewer, since_ms, now_ms + 1, _MAX_POSTS)
    age_ms = now_ms - table["created_ms"][rows]
    counts = [float((age_ms < window_ms).sum()) for window_ms in _POSTS_WINDOWS_MS]
    hours = float(age_ms.min()) / HOUR_MS if len(rows) else 24 * NEVER_DAYS
    return [*counts, hours]


def _real_graph(state: ShardState, asking: Asking) -> Floats:
    version = asking.version(REAL_GRAPH)
    if version is None:
        return np.empty(0, np.float32)
    return state.models.real_graph(version).of(asking.viewer_id)[1]


def _representations(
    state: ShardState, asking: Asking
) -> tuple[tuple[float, float, float], tuple[bool, bool]]:
    """Number, best score and entropy of communities; whether TwHIN has the viewer's vectors."""
    models = asking.vector_models(state)
    if models is None:
        return (0.0, 0.0, 0.0), (False, False)
    communities, scores = models.interested_in.of(asking.viewer_id)
    shares = scores / max(float(scores.sum()), 1e-9)
    entropy = float(-(shares * np.log(np.maximum(shares, 1e-9))).sum())
    follow = models.dense.get("user_follow")
    has = follow is not None and bool(follow.holds(asking.viewer)[0])
    engaged = bool(models.user_engagement.holds(asking.viewer)[0])
    return (len(communities), float(scores.max(initial=0)), entropy), (has, engaged)


def _state(days: int, *, writes: bool) -> list[bool]:
    """One of `_STATES`: days with an engagement of 14, and whether a post was written."""
    if days < _LIGHT_DAYS:
        at = 0
    elif days <= _LIGHT_UNTIL:
        at = 1
    else:
        at = (4 if days >= _HEAVY_DAYS else 2) + (not writes)
    return [at == k for k in range(len(_STATES))]
