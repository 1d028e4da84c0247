"""The columnar batch of candidates that a request works on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.light import FEATURES, POST_FEATURES
from actors.posts import FoundPosts
from actors.stores.id_map import IdMap
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MAX_PROOFS = 10
REPLY_TO, QUOTE_OF, ROOT = 0, 1, 2
"""Columns of `Candidates.links`."""
ENGINES = (
    *("simclusters_ann", "twhin_ann", "user_tweet_graph", "user_video_graph"),
    *("interested_in", "consumer_twhin"),
)
"""What sources that ask several engines call them; see `Candidates.engines`."""
N_POST_FEATURES = len(POST_FEATURES)


@dataclass(frozen=True)
class Candidates:
    """Posts that may be shown; every array has n rows, one a candidate."""

    post_ids: Ids
    author_ids: Ids
    created_ms: Ids
    newest_ids: Ids
    repost_of_ids: Ids
    links: Ids
    """Shape (n, 3): the posts replied to and quoted, and the root of the conversation
    (`REPLY_TO`, `QUOTE_OF`, `ROOT`); 0 for none."""
    linked_author_ids: Ids
    """Shape (n, 4): authors of the posts replied to, quoted and reposted, and of the root;
    0 for none."""
    topic_ids: Ids
    languages: Ids
    """The `language_key` of each post; 0 where its event named no language."""
    labels: npt.NDArray[np.uint64]
    """Shape (n, 2): which of `KNOWN_LABELS` the post has, and which its author."""
    marks: npt.NDArray[np.uint16]
    """Flags of `Mark`."""
    deleted: Mask
    author_gone: Mask
    author_protected: Mask
    is_reply: Mask
    has_uri: Mask
    sources: npt.NDArray[np.uint32]
    """Bit i: source i of the product found the post."""
    source: npt.NDArray[np.int8]
    """The first source that found it; what it counts under."""
    engines: npt.NDArray[np.uint32]
    """Bit i: `ENGINES[i]` found the post, for a source that asks several."""
    signals: npt.NDArray[np.int16]
    """The `SignalType` of what the viewer did that led here; -1 for none."""
    signal_ids: Ids
    """The post, user or list that the signal is about, or that a source came by; 0 for none."""
    features: Floats
    """Shape (n, len(FEATURES))."""
    proof_ids: Ids
    """Shape (n, MAX_PROOFS): users whose engagement is the proof, heaviest first; 0 pads."""
    proof_kinds: npt.NDArray[np.uint8]
    """Shape (n, MAX_PROOFS): the engagement's code in the interaction graph."""
    scores: Floats
    """The ranking score so far."""

    def __len__(self) -> int:
        return len(self.post_ids)

    def take(self, rows: npt.NDArray[np.int64] | Mask) -> "Candidates":
        """Candidates at the given rows, or of a mask."""
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        # Several times faster than an index where a column has more than one dimension.
        return Candidates(**{f.name: getattr(self, f.name).take(rows, 0) for f in fields(self)})

    def of_source(self, number: int) -> "Candidates":
        """The same candidates as found by the source of this number.

        Those that it has from other sources go on counting under these.
        """
        source = np.where(self.source < 0, np.int8(number), self.source)
        return replace(self, sources=self.sources | np.uint32(1 << number), source=source)

    def with_scores(self, scores: npt.NDArray[np.floating]) -> "Candidates":
        """The same candidates with other scores."""
        return replace(self, scores=scores.astype(np.float32, copy=False))

    def feature(self, name: str) -> Floats:
        """One feature of all candidates."""
        return self.features[:, FEATURES.index(name)]


def from_found(found: FoundPosts) -> Candidates:
    """Candidates from what a shard found, scored by its ranks."""
    n = len(found.post_ids)
    features = np.zeros((n, len(FEATURES)), np.float32)
    features[:, :N_POST_FEATURES] = found.features
    return Candidates(
        post_ids=found.post_ids,
        author_ids=found.author_ids,
        created_ms=found.created_ms,
        newest_ids=found.newest_ids,
        repost_of_ids=found.repost_of_ids,
        links=found.links,
        linked_author_ids=found.linked_author_ids,
        topic_ids=found.topic_ids,
        languages=found.languages,
        labels=found.labels,
        marks=found.marks,
        deleted=found.deleted,
        author_gone=found.author_gone,
        author_protected=found.author_protected,
        is_reply=found.is_reply,
        has_uri=found.has_uri,
        sources=np.zeros(n, np.uint32),
        source=np.full(n, -1, np.int8),
        engines=np.zeros(n, np.uint32),
        signals=np.full(n, -1, np.int16),
        signal_ids=np.zeros(n, np.int64),
        features=features,
        proof_ids=np.zeros((n, MAX_PROOFS), np.int64),
        proof_kinds=np.zeros((n, MAX_PROOFS), np.uint8),
        scores=found.ranks,
    )


def unhydrated(post_ids: Ids, author_ids: Ids, scores: npt.NDArray[np.floating]) -> Candidates:
    """Candidates of which only these columns (n,) are known yet; `created_ms` 0 says so."""
    n = len(post_ids)
    columns: dict[str, Any] = {
        name: np.zeros((n, *column.shape[1:]), column.dtype) for name, column in vars(NONE).items()
    }
    columns["source"] -= 1
    columns["signals"] -= 1
    columns |= {"post_ids": post_ids, "author_ids": author_ids}
    return Candidates(**columns).with_scores(scores)


def best_of(parts: Sequence[FoundPosts], limit: int) -> Candidates:
    """The `limit` best candidates of all shards, by what the shards ranked by."""
    if not parts:
        return NONE
    together = concatenate([from_found(found) for found in parts])
    return together.take(np.lexsort((together.post_ids, -together.scores))[:limit])


def concatenate(parts: Sequence[Candidates]) -> Candidates:
    """All candidates of several batches, in order."""
    return Candidates(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Candidates)
        }
    )


def first_copies(candidates: Candidates) -> Candidates:
    """One candidate a post: the first copy, with the sources of all as evidence."""
    posts = IdMap(len(candidates))
    at = posts.get_or_insert(candidates.post_ids)
    if len(posts) == len(candidates):
        return candidates
    first = np.empty(len(posts), np.int64)
    # Of several values for one place the last one written stays.
    first[at[::-1]] = np.arange(len(candidates))[::-1]
    sources, engines = np.zeros((2, len(posts)), np.uint32)
    np.bitwise_or.at(sources, at, candidates.sources)
    np.bitwise_or.at(engines, at, candidates.engines)
    return replace(candidates.take(first), sources=sources, engines=engines)


_NO_IDS, _NO_FLAGS = np.empty(0, np.int64), np.empty(0, np.bool_)

NONE = from_found(
    FoundPosts(
        *(_NO_IDS, _NO_IDS, _NO_IDS, _NO_IDS, _NO_IDS),
        *(np.empty((0, 3), np.int64), np.empty((0, 4), np.int64), _NO_IDS, _NO_IDS),
        *(np.empty((0, 2), np.uint64), np.empty(0, np.uint16)),
        *(_NO_FLAGS, _NO_FLAGS, _NO_FLAGS, _NO_FLAGS, _NO_FLAGS),
        *(np.empty((0, N_POST_FEATURES), np.float32), np.empty(0, np.float32)),
    )
)
"""No candidates."""
