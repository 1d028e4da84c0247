"""Blending: several ranked lists as one, by turns or by score, with each post once.

A blender only says in which order rows come; a post's first row in that order is the one that
stays. So a list whose turn brings a post that was there before passes its turn (the original
asks the same list again at once, which gives lists of much-found posts more than their share).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import IdMap
from cluster.ids import Ids
from cluster.source_settings import Blender

_TURNS = 3_000
"""After so many turns of count-weighted interleaving every list speaks in each (published)."""


@dataclass(frozen=True)
class Blending:
    """Rows of the lists that are to be blended; arrays of shape (m,)."""

    keys: Ids
    """Of which list each row is; 0 … n − 1, in the order of the lists."""
    ranks: Ids
    """Places in their lists, from 0, without gaps."""
    scores: npt.NDArray[np.float32]
    engines: Ids
    """What the scores are comparable within."""
    filling: npt.NDArray[np.bool_]
    """Of lists that only fill up what others leave."""


def blended(blender: Blender, rows: Blending, evenness: float) -> Ids:
    """Row numbers in the order of a blender."""
    match blender:
        case "round_robin":
            return np.lexsort((rows.keys, rows.ranks))
        case "back_fill":
            return np.lexsort((rows.keys, rows.ranks, rows.filling))
        case "count_weighted":
            return np.lexsort((rows.keys, _turns(rows, evenness)))
        case "similarity":
            return np.lexsort((rows.keys, rows.ranks, -_standard_scores(rows)))


def first_of_each(post_ids: Ids) -> tuple[Ids, Ids]:
    """Of rows of posts the first of each (k,), ascending, and to which of these each row (m,)
    belongs."""
    posts = IdMap(len(post_ids))
    at = posts.get_or_insert(post_ids).astype(np.int64)
    first = np.empty(len(posts), np.int64)
    # Of several values for one place the last one written stays. Posts are numbered as they
    # are first met, so these ascend.
    first[at[::-1]] = np.arange(len(post_ids))[::-1]
    return first, at


def _turns(rows: Blending, evenness: float) -> Ids:
    """The turn in which each row comes, where a list's share grows with its length.

    Every turn a list gains its weight, (1 − evenness)·length/longest + evenness, and speaks
    when it has gathered 1.
    """
    lengths = np.bincount(rows.keys)
    weights = (1 - evenness) * lengths / max(lengths.max(initial=0), 1) + evenness
    weight = weights[rows.keys]
    # A little less, lest a third gathered three times be less than 1.
    turns = np.ceil((rows.ranks + 1) / weight - 1e-9)
    in_time = np.floor(_TURNS * weight + 1e-9)
    late = _TURNS + rows.ranks - in_time + 1
    found: Ids = np.where(rows.ranks < in_time, turns, late).astype(np.int64)
    return found


def _standard_scores(rows: Blending) -> npt.NDArray[np.float64]:
    """Scores less their engine's mean, by its standard deviation; 0 where all are the same."""
    scores = rows.scores.astype(np.float64)
    counts = np.maximum(np.bincount(rows.engines), 1)
    means = np.bincount(rows.engines, scores) / counts
    centred = scores - means[rows.engines]
    deviations = np.sqrt(np.bincount(rows.engines, centred**2) / counts)
    scale = deviations[rows.engines]
    # Rounding leaves a little of equal scores' deviation.
    varied = scale > 1e-6 * np.abs(means[rows.engines])
    found: npt.NDArray[np.float64] = np.divide(
        centred, scale, out=np.zeros_like(centred), where=varied
    )
    return found
