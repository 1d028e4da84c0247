"""CR-Mixer: what the viewer did, asked of several engines, and their answers as one list."""

from collections.abc import Sequence
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
from timeline.findings import Answers, Finding, together
from timeline.query import Query
from timeline.sources import simclusters_ann, twhin_ann, user_tweet_graph, user_video_graph
from timeline.sources.blending import Blending, blended, first_of_each
from timeline.sources.co_engagement import Related
from timeline.sources.source_keys import SourceKeys, source_keys
from timeline.sources.user_tweet_graph import may_be_shown
from timeline.sources.visited_accounts import not_to_seed

Lists = RankedLists | Related
"""A ranked list for each of some keys."""

_ANY_AGE_MS = 720 * 3_600_000
_AFTER = 1 << 20
"""Added to the places of what comes after all that another engine found."""
_SPARE = 100
"""Facts are asked of so many more posts than are candidates."""
_TURNS = ("simclusters_ann", "user_video_graph", "user_tweet_graph", "twhin_ann")
"""In which engines take turns for one key (published)."""
_GRAPHS = {"user_video_graph": user_video_graph, "user_tweet_graph": user_tweet_graph}
_VISITS = "visited_accounts"
_NO_IDS = np.empty(0, np.int64)
_TURN_OF = np.array([_TURNS.index(name) if name in _TURNS else 0 for name in ENGINES])


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
        found, hidden = yield from _found(query, asked, not_to_seed(query, keys))
        found = [(part, lists) for part, lists in found if len(lists.post_ids)]
        if not found:
            return NONE
        rows = _gathered(found, keys.visits if hidden is None else hidden)
        return _blended(query, keys, rows) if len(rows.keys) else NONE


class _Part(NamedTuple):
    """A finding that makes lists for some of the keys."""

    engines: Ids
    """For each of its lists the engine that it counts under, a place in `ENGINES`,"""
    keys: Ids
    """and of which key it is."""
    finding: Finding[Lists]
    counts: bool = False
    """Whether it counts in a graph, which takes more waves than the others."""
    after: Ids | int = 0
    """How much later than others of its key each list comes."""


def _asked(query: Query, keys: SourceKeys, settings: CrMixerSettings) -> dict[str, _Part]:
    """What is asked, by the names under which failures are noted."""
    posts, accounts = keys.posts, keys.accounts
    own = dict(zip(settings.viewer_engines, keys.viewer[:, None], strict=True))
    target_ids, author_ids = keys.target_ids[posts], keys.author_ids[posts]
    tweet_engines = dict.fromkeys(settings.tweet_engines if len(posts) else ())
    producer_engines = dict.fromkeys(settings.producer_engines if len(accounts) else ())
    limit = _depth(query, len(keys), settings)
    asked = {"simclusters_ann": _by_communities(query, keys, settings, limit)}
    finding: Finding[Lists]
    for name, graph in _GRAPHS.items():
        if name in tweet_engines:
            finding = graph.related_by_posts(query, target_ids, author_ids)
            asked[name] = _Part(_engine(name, posts), posts, finding, counts=True)
    if "twhin_ann" in tweet_engines:
        finding = twhin_ann.of_posts(query, target_ids, author_ids, limit)
        asked["twhin_ann"] = _Part(_engine("twhin_ann", posts), posts, finding)
    if "user_tweet_graph" in producer_engines:
        engines = _engine("user_tweet_graph", accounts)
        finding = user_tweet_graph.related_by_producers(query, keys.target_ids[accounts])
        asked["user_tweet_graph_producers"] = _Part(engines, accounts, finding, counts=True)
    if "consumer_twhin" in own:
        key = own["consumer_twhin"]
        finding = twhin_ann.of_viewer(query, limit)
        asked["consumer_twhin"] = _Part(_engine("consumer_twhin", key), key, finding)
    return asked


def _by_communities(
    query: Query, keys: SourceKeys, settings: CrMixerSettings, limit: int | None
) -> _Part:
    """One search for the viewer's interests, posts and accounts, as far as they are to be asked."""
    own = np.flatnonzero(np.array(settings.viewer_engines) == "interested_in")
    viewer = keys.viewer[own]
    posts = keys.posts if "simclusters_ann" in settings.tweet_engines else _NO_IDS
    accounts = keys.accounts if "simclusters_ann" in settings.producer_engines else _NO_IDS
    first = settings.user_tweet_graph_first and "user_tweet_graph" in settings.producer_engines
    finding = simclusters_ann.of_all(
        query,
        limit,
        interests=len(own) > 0,
        post_ids=keys.target_ids[posts],
        author_ids=keys.author_ids[posts],
        producer_ids=keys.target_ids[accounts],
    )
    searched = np.concatenate([posts, accounts])
    after = np.zeros(len(viewer) + len(searched), np.int64)
    after[len(viewer) + len(posts) :] = _AFTER if first else 0
    engines = [_engine("interested_in", viewer), _engine("simclusters_ann", searched)]
    return _Part(np.concatenate(engines), np.concatenate([viewer, searched]), finding, after=after)


def _engine(name: str, keys: Ids) -> Ids:
    return np.full(len(keys), ENGINES.index(name))


def _found(
    query: Query, asked: dict[str, _Part], hiding: Finding[Mask]
) -> Finding[tuple[list[tuple[_Part, Lists]], Mask | None]]:
    """What was found, of what did not fail, and what `hiding` found beside it.

    While graphs alone still count, facts come of what the other parts found.
    """
    done: dict[str, Lists] = {}
    parts: dict[str, Finding[Mask | None]] = {
        name: _kept(part.finding, name, done) for name, part in asked.items()
    }
    finding = together(query, {**parts, _VISITS: hiding})
    held_back = query.ahead.held_back if query.ahead else set()
    held_back.add(CrMixer.name)
    answers: Answers | None = None
    while True:
        try:
            wave = next(finding) if answers is None else finding.send(answers)
        except StopIteration as over:
            hidden: Mask | None = over.value[_VISITS]
            break
        waiting = asked.keys() - done.keys()
        if CrMixer.name in held_back and all(asked[name].counts for name in waiting):
            _foresee(query, [(asked[name], lists) for name, lists in done.items()])
            held_back.discard(CrMixer.name)
        answers = yield wave
    held_back.discard(CrMixer.name)
    return [(asked[name], done[name]) for name in asked if name in done], hidden


def _depth(query: Query, n_lists: int, settings: CrMixerSettings) -> int | None:
    """How long lists need be: several times what they give if all give the same."""
    if settings.blender != "round_robin":
        return None
    wanted = settings.max_results + len(query.viewer.seen_ids)
    return int(np.ceil(settings.depth * wanted / max(n_lists, 1)))


def _kept(finding: Finding[Lists], name: str, done: dict[str, Lists]) -> Finding[None]:
    done[name] = yield from finding


def _foresee(query: Query, found: Sequence[tuple[_Part, Lists]]) -> None:
    """Have facts come of posts that will be candidates, whatever the graphs still find.

    Of those the best places in any list: the graphs' posts take turns too, so they push others
    back, and what comes instead is a little deeper in its list.
    """
    places = np.concatenate([_NO_IDS, *(_places(part, lists) for part, lists in found)])
    post_ids = np.concatenate([_NO_IDS, *(lists.post_ids for _, lists in found)])
    author_ids = np.concatenate([_NO_IDS, *(lists.author_ids for _, lists in found)])
    order = np.argsort(places, kind="stable")
    order = order[post_ids[order] > 0]
    order = order[first_of_each(post_ids[order])[0]]
    shown = may_be_shown(query, author_ids[order])
    shown &= positions_in(query.viewer.seen_ids, post_ids[order]) < 0
    settings = query.settings.sources.cr_mixer
    order = order[shown][: settings.max_results + _SPARE]
    query.want_facts(post_ids[order], author_ids[order])


def _places(part: _Part, lists: Lists) -> Ids:
    """The place of each row among those of its part and key."""
    counts = np.diff(lists.offsets)
    shift = part.after - lists.offsets[:-1]
    found: Ids = np.arange(len(lists.post_ids)) + np.repeat(shift, counts)
    return found


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


def _gathered(found: Sequence[tuple[_Part, Lists]], hidden: Mask) -> _Rows:
    """All that was found, in order, but by keys that are `hidden`."""
    columns: dict[str, list[npt.NDArray[np.int64]]] = {}
    scores = []
    for part, lists in found:
        counts = np.diff(lists.offsets)
        engines = np.repeat(part.engines, counts)
        of = {
            "keys": np.repeat(part.keys, counts),
            "places": _places(part, lists),
            "turns": _TURN_OF[engines],
            "engines": engines,
            "post_ids": lists.post_ids,
            "author_ids": lists.author_ids,
            "created_ms": getattr(lists, "created_ms", np.zeros(len(engines), np.int64)),
        }
        for name, column in of.items():
            columns.setdefault(name, []).append(column)
        scores.append(lists.scores)
    of_all = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.lexsort((of_all.pop("turns"), of_all.pop("places"), of_all["keys"]))
    order = order[(of_all["post_ids"][order] > 0) & ~hidden[of_all["keys"][order]]]
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
