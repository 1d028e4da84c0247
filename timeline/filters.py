"""Which candidates may be shown at all: each filter says True for those that stay."""

import numpy as np

from actors.features.light import positions_in
from cluster.ids import Ids, mix64
from timeline.candidates import Candidates, Mask
from timeline.query import Query


def known(query: Query, candidates: Candidates) -> Mask:
    """Posts that exist: created, not deleted, by an author who is still there."""
    keep: Mask = (candidates.created_ms > 0) & ~candidates.deleted & ~candidates.author_gone
    return keep


def not_protected(query: Query, candidates: Candidates) -> Mask:
    """Posts of protected authors stay only for their followers, and for themselves."""
    followed = query.viewer.followed
    keep: Mask = ~candidates.author_protected | _in(followed, candidates.author_ids)
    keep |= candidates.author_ids == query.viewer_id
    return keep


def recent(windowed: int, query: Query, candidates: Candidates) -> Mask:
    """Posts within the window of their side; a light user's network has the longer one.

    `windowed` are the sources (bits) that leave the windows to this filter: where they look,
    the age of a post is not known. What any other source found too is as old as that allows.
    """
    windows = query.settings.windows
    age_ms = query.now_ms - candidates.created_ms
    followed = candidates.feature("is_followed") > 0
    longest = max(windows.in_network_ms, windows.in_network_light_ms)
    keep: Mask = np.where(followed, age_ms <= longest, age_ms <= windows.out_of_network_ms)
    keep |= (candidates.sources & np.uint32(~windowed & 0xFFFFFFFF)) > 0
    return keep & (age_ms >= 0)


def no_replies(sources: int, query: Query, candidates: Candidates) -> Mask:
    """No replies that none but these sources (bits) found."""
    elsewhere = (candidates.sources & np.uint32(~sources & 0xFFFFFFFF)) > 0
    keep: Mask = ~candidates.is_reply | elsewhere
    return keep


def not_own(query: Query, candidates: Candidates) -> Mask:
    """Not the viewer's posts, nor reposts of them."""
    reposted = candidates.linked_author_ids[:, 2]
    keep: Mask = (candidates.author_ids != query.viewer_id) & (reposted != query.viewer_id)
    return keep


def not_blocked(query: Query, candidates: Candidates) -> Mask:
    """No author, quoted, reposted or replied-to author with a block in either direction."""
    return _no_author_in(query.viewer.blocked_either_way, candidates)


def not_muted(query: Query, candidates: Candidates) -> Mask:
    """No author, quoted, reposted or replied-to author whom the viewer muted."""
    return _no_author_in(query.viewer.mutes, candidates)


def not_seen(query: Query, candidates: Candidates) -> Mask:
    """Not what was on the viewer's screen, itself or what it reposts."""
    seen = query.viewer.seen_ids
    return ~(_in(seen, candidates.post_ids) | _in(seen, candidates.repost_of_ids))


def not_served(query: Query, candidates: Candidates) -> Mask:
    """Not what this cursor chain served, itself or what it reposts.

    While paging, nor what was served lately at all; like the original, a fresh first page
    may show again what was served but not seen.
    """
    if not len(query.chain):
        return np.ones(len(candidates), bool)
    originals = originals_of(candidates)
    served = _in(query.viewer.served_ids, candidates.post_ids)
    for post_ids in (candidates.post_ids, originals):
        hashes = chain_hashes(post_ids)
        at = np.minimum(np.searchsorted(query.chain, hashes), len(query.chain) - 1)
        served |= query.chain[at] == hashes
    return ~served


def not_disliked(query: Query, candidates: Candidates) -> Mask:
    """Not posts the viewer gave negative feedback on."""
    return ~_in(query.viewer.hidden_post_ids, candidates.post_ids)


def one_per_repost(query: Query, candidates: Candidates) -> Mask:
    """A post beats its reposts; of several reposts of one post the first stays."""
    originals = originals_of(candidates)
    is_repost = candidates.repost_of_ids > 0
    order = np.lexsort((np.arange(len(originals)), is_repost, originals))
    ordered = originals[order]
    keep = np.zeros(len(originals), bool)
    keep[order] = np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)]
    return keep


def originals_of(candidates: Candidates) -> Ids:
    """What each candidate shows: the post that it reposts, or itself."""
    reposted = candidates.repost_of_ids
    return np.where(reposted > 0, reposted, candidates.post_ids)


def chain_hashes(post_ids: Ids) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """32-bit hashes of posts, as cursors carry them."""
    return (mix64(post_ids) >> np.uint64(32)).astype(np.uint32)


def _no_author_in(users: Ids, candidates: Candidates) -> Mask:
    if not len(users):
        return np.ones(len(candidates), bool)
    linked = _in(users, candidates.linked_author_ids.reshape(-1)).reshape(
        candidates.linked_author_ids.shape
    )
    return ~(_in(users, candidates.author_ids) | linked.any(axis=1))


def _in(sorted_ids: Ids, ids: Ids) -> Mask:
    found: Mask = positions_in(sorted_ids, ids) >= 0
    return found
