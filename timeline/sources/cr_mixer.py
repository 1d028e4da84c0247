"""CR-Mixer: what the viewer did, asked of several engines, and their answers as one list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.light import positions_in
from actors.signal_types import SignalType
from actors.stores.ranked_lists import RankedLists
from actors.tastes import seeding
from cluster.ids import Ids
from cluster.source_settings import CrMixerSettings
from timeline.candidates import ENGINES, NONE, Candidates, Mask, unhydrated
from timeline.findings import Finding, together
from timeline.query import Query
from timeline.sources import simclusters_ann, twhin_ann, user_tweet_graph, user_video_graph
from timeline.sources.blending import Blending, blended, first_of_each
from timeline.sources.co_engagement import Related
from timeline.sources.source_keys import SourceKeys, source_keys
from timeline.sources.user_tweet_graph import may_be_shown

Lists = RankedLists | Related
"""A ranked list for each of some keys."""

_ANY_AGE_MS = 720 * 3_600_000
_AFTER = 1 << 20
"""Added to the places of what comes after all that another engine found."""
_TURNS = ("simclusters_ann", "user_video_graph", "user_tweet_graph", "twhin_ann")
"""In which engines take turns for one key (published)."""


class CrMixer:
    """Posts like what the viewer engaged with, of authors like those followed, and of interest.

    Each signal has a list, made by its engines in turn; the lists take turns, that of the most
    recent signal first. There is no learned ranker behind it, nor was there one in the
    original: a candidate's score is how many of the list come from it on.
    """

    name = "cr_mixer"
    gated = True

    def find(self, query: Query) -> Finding[Candidates]:
        """All engines' questions in common waves: two, or as many as the graphs take."""
        settings = query.settings.sources.cr_mixer
        keys = source_keys(query, len(settings.viewer_engines))
        asked = _asked(query, keys, settings)
        answers = yield from together(query, {name: part.finding for name, part in asked.items()})
        found = [
            (asked[name], lists)
            for name, lists in answers.items()
            if lists is not None and len(lists.post_ids)
        ]
        if not found:
            return NONE
        return _blended(query, keys, _gathered(found, settings))


class _Engine(NamedTuple):
    """An engine that is asked about some of the keys."""

    name: str
    keys: Ids
    """Of which key each of its lists is."""
    finding: Finding[Lists]
    after: int = 0
    """How much later than others of the key it comes."""


def _asked(query: Query, keys: SourceKeys, settings: CrMixerSettings) -> dict[str, _Engine]:
    """What is asked, by the names under which failures are noted."""
    posts, accounts = keys.posts, keys.accounts
    of_posts: dict[str, Callable[[Query, Ids, Ids], Finding[Lists]]] = {
        "simclusters_ann": simclusters_ann.of_posts,
        "user_video_graph": user_video_graph.related_by_posts,
        "user_tweet_graph": user_tweet_graph.related_by_posts,
        "twhin_ann": twhin_ann.of_posts,
    }
    of_accounts: dict[str, Callable[[Query, Ids], Finding[Lists]]] = {
        "simclusters_ann": simclusters_ann.of_producers,
        "user_tweet_graph": user_tweet_graph.related_by_producers,
    }
    of_viewer: dict[str, Callable[[Query], Finding[Lists]]] = {
        "interested_in": simclusters_ann.of_interests,
        "consumer_twhin": twhin_ann.of_viewer,
    }
    asked: dict[str, _Engine] = {}
    if len(posts):
        for name in dict.fromkeys(settings.tweet_engines):
            finding = of_posts[name](query, keys.target_ids[posts], keys.author_ids[posts])
            asked[name] = _Engine(name, posts, finding)
    if len(accounts):
        first = settings.user_tweet_graph_first and "user_tweet_graph" in settings.producer_engines
        for name in dict.fromkeys(settings.producer_engines):
            finding = of_accounts[name](query, keys.target_ids[accounts])
            after = _AFTER if first and name != "user_tweet_graph" else 0
            asked[f"{name}_producers"] = _Engine(name, accounts, finding, after)
    for of_user, key in zip(settings.viewer_engines, keys.viewer, strict=True):
        asked[of_user] = _Engine(of_user, np.array([key]), of_viewer[of_user](query))
    return asked


@dataclass(frozen=True)
class _Rows:
    """Rows of all lists: by key, then in the order in which its engines' posts come."""

    keys: Ids
    engines: Ids
    """Places in `ENGINES`."""
    post_ids: Ids
    author_ids: Ids
    created_ms: Ids
    scores: npt.NDArray[np.float32]
    posts: Ids
    """A number for each post, from 0."""

    def take(self, rows: Ids | Mask) -> "_Rows":
        return _Rows(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def ranks(self) -> Ids:
        """Places among the rows of the same key, from 0."""
        counts = np.bincount(self.keys)
        return np.arange(len(self.keys)) - np.repeat(np.cumsum(counts) - counts, counts)


def _gathered(found: Sequence[tuple[_Engine, Lists]], settings: CrMixerSettings) -> _Rows:
    """All that was found, in order."""
    columns: dict[str, list[npt.NDArray[np.int64]]] = {}
    scores = []
    for engine, lists in found:
        n = len(lists.post_ids)
        counts = np.diff(lists.offsets)
        ranks = np.arange(n) - np.repeat(lists.offsets[:-1], counts)
        of = {
            "keys": np.repeat(engine.keys, counts),
            "places": ranks + engine.after,
            "turns": np.full(n, _TURNS.index(engine.name) if engine.name in _TURNS else 0),
            "engines": np.full(n, ENGINES.index(engine.name)),
            "post_ids": lists.post_ids,
            "author_ids": lists.author_ids,
            "created_ms": getattr(lists, "created_ms", np.zeros(n, np.int64)),
        }
        for name, column in of.items():
            columns.setdefault(name, []).append(column)
        scores.append(lists.scores)
    of_all = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.lexsort((of_all.pop("turns"), of_all.pop("places"), of_all["keys"]))
    order = order[of_all["post_ids"][order] > 0]
    ordered = {name: column[order] for name, column in of_all.items()}
    _, posts = first_of_each(ordered["post_ids"])
    return _Rows(**ordered, scores=np.concatenate(scores)[order], posts=posts)


def _blended(query: Query, keys: SourceKeys, rows: _Rows) -> Candidates:
    """The lists cut, filtered, blended and ranked."""
    settings = query.settings.sources.cr_mixer
    n_posts = int(rows.posts.max()) + 1
    engines = np.zeros(n_posts, np.uint32)
    np.bitwise_or.at(engines, rows.posts, np.uint32(1) << rows.engines.astype(np.uint32))
    # Engines that take turns for a key bring each post once.
    first, _ = first_of_each(rows.keys * n_posts + rows.posts + 1)
    listed = rows.take(first)
    listed = listed.take(listed.ranks < settings.results_per_signal)
    listed = listed.take(_may_be_shown(query, keys, rows, n_posts)[listed.posts])
    back_fill = np.array(seeding(settings.back_fill), np.int16)
    order = blended(
        settings.blender,
        Blending(
            listed.keys,
            listed.ranks,
            listed.scores,
            listed.engines,
            np.isin(keys.signals, back_fill)[listed.keys],
        ),
        settings.evenness,
    )
    first, _ = first_of_each(listed.posts[order] + 1)
    chosen = listed.take(order[first][: settings.max_blended])
    scores = np.arange(len(chosen.keys), 0, -1).astype(np.float32)
    # Opening a notification is no reason of its own to see more of the kind (published).
    reasoned = np.zeros(n_posts, bool)
    reasoned[listed.posts[keys.signals[listed.keys] != SignalType.NOTIFICATION_OPEN]] = True
    kept = np.flatnonzero(reasoned[chosen.posts])[: query.width("cr_mixer", settings.max_results)]
    chosen = chosen.take(kept)
    return replace(
        unhydrated(chosen.post_ids, chosen.author_ids, scores[kept]),
        engines=engines[chosen.posts],
        signals=keys.signals[chosen.keys],
        signal_ids=keys.target_ids[chosen.keys],
    )


def _may_be_shown(query: Query, keys: SourceKeys, rows: _Rows, n_posts: int) -> Mask:
    """By number of a post, whether it passes the filters before the blending.

    The original also drops what a post led to that the viewer has seen; nobody engages with
    what they have not seen, so here such a post is only no candidate itself. Replies are told
    from other posts by the filter `mixer_replies`, when facts are known.
    """
    max_age_ms = query.settings.sources.cr_mixer.max_age_ms
    created_ms = np.zeros(n_posts, np.int64)
    np.maximum.at(created_ms, rows.posts, rows.created_ms)
    post_ids, author_ids = np.empty((2, n_posts), np.int64)
    post_ids[rows.posts] = rows.post_ids
    author_ids[rows.posts] = rows.author_ids
    shown = may_be_shown(query, author_ids) & (author_ids > 0)
    shown &= positions_in(query.viewer.seen_ids, post_ids) < 0
    shown &= ~np.isin(post_ids, keys.target_ids[keys.posts])
    if max_age_ms < _ANY_AGE_MS:
        shown &= (created_ms == 0) | (query.now_ms - created_ms <= max_age_ms)
    return shown
