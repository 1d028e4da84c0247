"""Which (viewer, post, instant) a ranker learns from, and what it should have said of them."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.light import positions_in
from cluster.events import NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import Ids
from cluster.settings import FOREVER_MS, Settings
from training.facts import Engaged, Facts, Impressions, Posts, pair_keys

TARGETS: dict[Kind, float] = {
    Kind.CLICK: 0.3,
    Kind.FAVOURITE: 1.0,
    Kind.LINK_OPEN: 0.1,
    Kind.PHOTO_EXPAND: 0.03,
    Kind.PROFILE_CLICK: 1.0,
    Kind.REPLY: 9.0,
    Kind.REPOST: 1.0,
    Kind.VIDEO_WATCH: 0.01,
    # Not published: a quote counts as the repost it is, and the other two as a favourite.
    Kind.QUOTE: 1.0,
    Kind.BOOKMARK: 1.0,
    Kind.SHARE: 1.0,
}
"""Engagements that make an example positive (their union is the label) → what each adds to
its weight; a negative weighs 1. The light ranker's published table."""

_DRAWS_PER_NEGATIVE = 4
_WEIGHT_OF = np.zeros(256)
_IS_TARGET = np.zeros(256, bool)
for _kind, _weight in TARGETS.items():
    _WEIGHT_OF[_kind], _IS_TARGET[_kind] = _weight, True
_IS_NEGATIVE = np.isin(np.arange(256), NEGATIVE_FEEDBACK)
_SUBJECT = np.arange(256)
for _undo, _kind in UNDONE_BY.items():
    _SUBJECT[_undo] = _kind


@dataclass(frozen=True)
class Examples:
    """What to learn from, in order of time; arrays of shape (n,)."""

    viewer_ids: Ids
    post_ids: Ids
    times_ms: Ids
    """The instant at which features are taken: nothing that happened then is in them."""
    groups: Ids
    """What was, or is treated as, one request: a ranking is judged within it."""
    labels: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]
    request_ids: pa.Array
    """Strings; null where no request is known."""

    def __len__(self) -> int:
        return len(self.viewer_ids)

    def take(self, rows: npt.NDArray[np.int64]) -> "Examples":
        """The examples at given places."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        request_ids = columns.pop("request_ids").take(pa.array(rows))
        return Examples(**{n: c[rows] for n, c in columns.items()}, request_ids=request_ids)


def of_impressions(
    facts: Facts, settings: Settings, max_examples: int, rng: np.random.Generator
) -> Examples:
    """Every impression, or of at most `max_examples` those of some requests drawn at random.

    An engagement belongs to the viewer's last impression of the post before it, within
    `label_window_ms`.
    """
    shown = facts.impressions
    labels, weights = _outcome(
        shown.viewer_ids,
        shown.post_ids,
        shown.times_ms,
        facts.engaged,
        settings.training.label_window_ms,
    )
    rows = _rows_of_some_requests(shown, max_examples, rng)
    rows = rows[np.lexsort((shown.post_ids[rows], shown.requests[rows], shown.asked_ms[rows]))]
    return Examples(
        viewer_ids=shown.viewer_ids[rows],
        post_ids=shown.post_ids[rows],
        times_ms=shown.asked_ms[rows],
        groups=shown.requests[rows],
        labels=labels[rows],
        weights=weights[rows],
        request_ids=shown.request_ids.take(pa.array(rows)),
    )


def of_engagements(
    facts: Facts, settings: Settings, max_examples: int, rng: np.random.Generator
) -> Examples:
    """Each viewer's first engagement with each post, with sampled negatives beside it.

    For data without impressions. A negative is a post that was there at that instant and
    recent enough to be a candidate, by another author, with which the viewer does not
    engage before the label window has passed; half are drawn evenly from the posts, half
    from the engagements with them.
    """
    engaged, window_ms = facts.engaged, settings.training.label_window_ms
    keys = pair_keys(engaged.actor_ids, engaged.post_ids)
    wanted = np.flatnonzero(_IS_TARGET[engaged.kinds] & (engaged.actor_ids != engaged.author_ids))
    _, first = np.unique(keys[wanted], return_index=True)
    rows = np.sort(wanted[first])
    per_positive = settings.training.negatives_per_positive
    most = max(max_examples // (1 + per_positive), 1)
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, most, replace=False))
    viewers, posts, times_ms = (
        engaged.actor_ids[rows],
        engaged.post_ids[rows],
        engaged.times_ms[rows],
    )
    labels, weights = _outcome(viewers, posts, times_ms, engaged, window_ms)
    # Taken back, or followed by negative feedback: neither a positive nor a negative.
    kept = labels
    rows, viewers, posts, times_ms = rows[kept], viewers[kept], posts[kept], times_ms[kept]
    drawn = _draw(facts, settings, times_ms, per_positive, rng)
    chosen = _first_good(drawn, viewers, posts, times_ms, facts, window_ms, per_positive)
    group, _ = np.nonzero(chosen)
    n_negatives = len(group)
    groups = np.concatenate([np.arange(len(rows)), group])
    columns = {
        "viewer_ids": viewers[groups],
        "post_ids": np.concatenate([posts, drawn[chosen]]),
        "times_ms": times_ms[groups],
        "groups": groups,
        "labels": np.arange(len(groups)) < len(rows),
        "weights": np.concatenate([weights[kept], np.ones(n_negatives, np.float32)]),
    }
    # By post within a group, so that no order gives the positive away.
    order = np.lexsort((columns["post_ids"], groups))
    return Examples(
        **{name: column[order] for name, column in columns.items()},
        request_ids=pa.nulls(len(order), pa.string()),
    )


def _outcome(
    viewer_ids: Ids, post_ids: Ids, times_ms: Ids, engaged: Engaged, window_ms: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """(labels, weights) of viewers who met posts at given times.

    Of each kind the last word counts, an engagement or its undo (which wins a tie). Who
    gave negative feedback did not want the post, whatever else he did with it.
    """
    n = len(viewer_ids)
    keys = np.concatenate(
        [pair_keys(viewer_ids, post_ids), pair_keys(engaged.actor_ids, engaged.post_ids)]
    )
    times = np.concatenate([times_ms, engaged.times_ms])
    order = np.lexsort((np.arange(len(keys)) >= n, times, keys))
    met = np.maximum.accumulate(np.where(order < n, np.arange(len(order)), -1))
    met = np.where(met >= 0, order[met], -1)
    follows = (order >= n) & (met >= 0)
    event, example = order[follows] - n, met[follows]
    belongs = (keys[n + event] == keys[example]) & (
        engaged.times_ms[event] - times_ms[example] < window_ms
    )
    event, example = event[belongs], example[belongs]
    kinds = engaged.kinds[event]
    subject, undone = _SUBJECT[kinds], _SUBJECT[kinds] != kinds
    order = np.lexsort((undone, engaged.times_ms[event], subject, example))
    example, subject, undone = example[order], subject[order], undone[order]
    last = np.ones(len(order), bool)
    last[:-1] = (example[1:] != example[:-1]) | (subject[1:] != subject[:-1])
    stands = last & ~undone
    example, subject = example[stands], subject[stands]
    weights = np.bincount(example, _WEIGHT_OF[subject], n)
    disliked = np.bincount(example, _IS_NEGATIVE[subject], n) > 0
    labels = (weights > 0) & ~disliked
    return labels, np.where(labels, weights, 1.0).astype(np.float32)


def _rows_of_some_requests(
    shown: Impressions, max_examples: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    if len(shown.requests) <= max_examples:
        return np.arange(len(shown.requests))
    sizes = np.bincount(shown.requests)
    order = rng.permutation(len(sizes))
    drawn = np.zeros(len(sizes), bool)
    drawn[order[np.cumsum(sizes[order]) <= max_examples]] = True
    return np.flatnonzero(drawn[shown.requests])


def _draw(
    facts: Facts,
    settings: Settings,
    times_ms: Ids,
    per_positive: int,
    rng: np.random.Generator,
) -> Ids:
    """(positives, draws): posts that were there, 0 where nothing was; many more than needed."""
    windows = settings.windows
    window_ms = max(windows.in_network_ms, windows.in_network_light_ms, windows.out_of_network_ms)
    since_ms = times_ms - min(window_ms, FOREVER_MS)
    shape = (len(times_ms), _DRAWS_PER_NEGATIVE * per_positive)
    # Row by row, so that what comes later has no part in what is drawn earlier.
    luck = rng.random((*shape, 2))
    posts, engaged = facts.posts, facts.engaged
    positive = _IS_TARGET[engaged.kinds]
    evenly = _drawn_from(posts.post_ids, posts.created_ms, since_ms, times_ms, luck[..., 0])
    popular = _drawn_from(
        engaged.post_ids[positive], engaged.times_ms[positive], since_ms, times_ms, luck[..., 0]
    )
    drawn = np.where((luck[..., 1] < 0.5) & (popular > 0), popular, evenly)
    created_ms = _created_ms(posts, drawn)
    drawn[(created_ms == 0) | (created_ms < since_ms[:, None])] = 0
    return drawn


def _drawn_from(
    post_ids: Ids, order_ms: Ids, since_ms: Ids, until_ms: Ids, luck: npt.NDArray[np.float64]
) -> Ids:
    """Ids at places drawn evenly among those with `order_ms` in [since, until), else 0."""
    if not len(post_ids):
        return np.zeros(luck.shape, np.int64)
    low = np.searchsorted(order_ms, since_ms)[:, None]
    high = np.searchsorted(order_ms, until_ms)[:, None]
    at = np.minimum(low + (luck * (high - low)).astype(np.int64), len(post_ids) - 1)
    return np.where(high > low, post_ids[at], 0)


def _created_ms(posts: Posts, post_ids: Ids) -> Ids:
    """When posts were created; 0 for those that never were."""
    order = np.argsort(posts.post_ids, kind="stable")
    at = positions_in(posts.post_ids[order], post_ids.ravel()).reshape(post_ids.shape)
    return np.where(at >= 0, posts.created_ms[order][at], 0) if len(order) else np.zeros_like(at)


def _first_good(
    drawn: Ids,
    viewers: Ids,
    post_ids: Ids,
    times_ms: Ids,
    facts: Facts,
    window_ms: int,
    per_positive: int,
) -> npt.NDArray[np.bool_]:
    """Which draws to take: of each row the first few that are good and not yet taken."""
    engaged, posts = facts.engaged, facts.posts
    whose = np.broadcast_to(viewers[:, None], drawn.shape)
    pairs = pair_keys(whose.ravel(), drawn.ravel()).reshape(drawn.shape)
    keys = pair_keys(engaged.actor_ids, engaged.post_ids)
    _, first = np.unique(keys, return_index=True)
    at = positions_in(keys[first], pairs.ravel()).reshape(pairs.shape)
    engaged_ms = np.where(at >= 0, engaged.times_ms[first][at], np.iinfo(np.int64).max)
    is_own = np.isin(pairs, pair_keys(posts.author_ids, posts.post_ids))
    good = (drawn > 0) & (drawn != post_ids[:, None]) & ~is_own
    good &= engaged_ms - window_ms >= times_ms[:, None]
    rows, columns = np.indices(drawn.shape).reshape(2, -1)
    order = np.lexsort((columns, drawn.ravel(), rows))
    again = np.zeros(drawn.size, bool)
    again[order[1:]] = (rows[order[1:]] == rows[order[:-1]]) & (
        drawn.ravel()[order[1:]] == drawn.ravel()[order[:-1]]
    )
    good &= ~again.reshape(drawn.shape)
    chosen: npt.NDArray[np.bool_] = good & (np.cumsum(good, axis=1) <= per_positive)
    return chosen
