"""What a viewer's own shard knows of the viewer beside ties and posts: choices and habits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.choices import Choices, Chosen, Sort
from actors.graph import FATIGUE_MS, FEEDBACK_CODES, Feedback
from actors.state import ShardState
from cluster.controls import LANGUAGE_PREFIX
from cluster.events import NEGATIVE_FEEDBACK
from cluster.ids import Ids


def _no_ids() -> Ids:
    return np.empty(0, np.int64)


def _no_kinds() -> npt.NDArray[np.uint8]:
    return np.empty(0, np.uint8)


@dataclass(frozen=True)
class ViewerState:
    """One viewer at one instant; without arguments a viewer of whom nothing is known."""

    created_ms: int = 0
    """When the account was made; 0 where unknown."""
    age_years: int = 0
    """0 where unknown."""
    allow_sensitive: bool = False
    country: str = ""
    languages: tuple[str, ...] = ()
    """Those that the viewer chose, sorted; the account's own is in the viewer's context."""
    muted_keywords: tuple[str, ...] = ()
    """In lower case, sorted."""
    followed_topics: Ids = field(default_factory=_no_ids)
    """Sorted, like the three below."""
    unfollowed_topics: Ids = field(default_factory=_no_ids)
    """Followed once and no more."""
    muted_topics: Ids = field(default_factory=_no_ids)
    subscriptions: Ids = field(default_factory=_no_ids)
    """Creators whose exclusive posts the viewer may read."""
    feedback_author_ids: Ids = field(default_factory=_no_ids)
    """Whom the viewer gave negative feedback on in the last 154 days, sorted, a row for each
    kind of it; what was taken back does not count."""
    feedback_kinds: npt.NDArray[np.uint8] = field(default_factory=_no_kinds)
    """Of `NEGATIVE_FEEDBACK`."""
    feedback_ms: Ids = field(default_factory=_no_ids)
    """When last."""
    active_days: int = 0
    """Of the last 28 UTC dates, those on which the viewer did anything or was served."""
    visits_ms: tuple[int, ...] = ()
    """The last requests that served the viewer, at most ten, newest first."""
    dismissals: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Module → how often the viewer put it away, and when last (ms)."""
    modules_ms: Mapping[str, int] = field(default_factory=dict)
    """Module → when it was served last."""
    preferences: Mapping[str, float] = field(default_factory=dict)
    """Name of `cluster.controls.PREFERENCES` → what the viewer set it to."""


@dataclass(frozen=True)
class AskViewerState:
    """The viewer's state; for the viewer's own shard."""

    viewer_id: int
    now_ms: int

    def answer(self, state: ShardState) -> ViewerState:
        """As of `now_ms`; about 60 µs."""
        graph, users, windows = state.graph, state.users, state.settings.windows
        topics, _ = graph.topics.others(self.viewer_id)
        feedback_ms = max(windows.negative_ms, FATIGUE_MS)
        given = graph.feedback_of(self.viewer_id, self.now_ms - feedback_ms)
        authors, kinds, times_ms = _by_author(given)
        attendance = graph.activity.of(
            self.viewer_id, self.now_ms, self.now_ms - windows.signals_ms
        )
        row = int(users.rows_of(np.array([self.viewer_id], np.int64))[0])
        named = _named(graph.choices, chosen := graph.choices.of(self.viewer_id))
        return ViewerState(
            created_ms=int(users["created_ms"][row]) if row >= 0 else 0,
            age_years=int(users["age_years"][row]) if row >= 0 else 0,
            allow_sensitive=bool(users["allow_sensitive"][row]) if row >= 0 else False,
            country=users.words.word(int(users["country"][row])) or "" if row >= 0 else "",
            languages=named.languages,
            muted_keywords=named.muted_keywords,
            followed_topics=np.sort(topics),
            unfollowed_topics=graph.topics.dropped(self.viewer_id),
            muted_topics=_on(chosen, Sort.MUTED_TOPIC),
            subscriptions=_on(chosen, Sort.SUBSCRIPTION),
            feedback_author_ids=authors,
            feedback_kinds=kinds,
            feedback_ms=times_ms,
            active_days=attendance.active_days,
            visits_ms=attendance.visits_ms,
            dismissals=named.dismissals,
            modules_ms=named.modules_ms,
            preferences=named.preferences,
        )


@dataclass
class _Named:
    """Choices that have names."""

    languages: tuple[str, ...] = ()
    muted_keywords: tuple[str, ...] = ()
    dismissals: dict[str, tuple[int, int]] = field(default_factory=dict)
    modules_ms: dict[str, int] = field(default_factory=dict)
    preferences: dict[str, float] = field(default_factory=dict)


# Plain integers: the members of an enumeration are looked up at every use.
_FIRST_NAMED = _KEYWORD = int(Sort.MUTED_KEYWORD)
_DISMISSED, _MODULE = int(Sort.DISMISSED), int(Sort.MODULE)


def _named(choices: Choices, chosen: Chosen) -> _Named:
    named = _Named()
    languages, keywords = [], []
    for sort, thing, value, time_ms in zip(*(column.tolist() for column in chosen), strict=True):
        if sort < _FIRST_NAMED:
            continue
        name = choices.name(thing)
        if sort == _KEYWORD:
            if value > 0:
                keywords.append(name)
        elif sort == _MODULE:
            named.modules_ms[name] = time_ms
        elif sort == _DISMISSED:
            named.dismissals[name] = (int(value), time_ms)
        elif name.startswith(LANGUAGE_PREFIX):
            if value > 0:
                languages.append(name.removeprefix(LANGUAGE_PREFIX))
        elif value >= 0:
            # As it was written, and not as single precision has it.
            named.preferences[name] = round(value, 6)
    named.languages, named.muted_keywords = tuple(sorted(languages)), tuple(sorted(keywords))
    return named


def _on(chosen: Chosen, sort: Sort) -> Ids:
    return np.sort(chosen.things[(chosen.sorts == int(sort)) & (chosen.values > 0)])


def _by_author(given: Feedback) -> tuple[Ids, npt.NDArray[np.uint8], Ids]:
    """Authors, kinds and newest times: one row for each author and kind, sorted by them."""
    if not len(given.codes):
        return given.author_ids, _no_kinds(), given.times_ms
    order = np.lexsort((given.times_ms, given.codes, given.author_ids))
    authors, codes = given.author_ids[order], given.codes[order]
    last = np.ones(len(order), bool)
    last[:-1] = (authors[1:] != authors[:-1]) | (codes[1:] != codes[:-1])
    return authors[last], _KIND_OF_CODE[codes[last]], given.times_ms[order[last]]


_KIND_OF_CODE = np.zeros(16, np.uint8)
for _kind in NEGATIVE_FEEDBACK:
    _KIND_OF_CODE[FEEDBACK_CODES[_kind]] = _kind
