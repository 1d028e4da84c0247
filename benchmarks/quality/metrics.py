"""How well ranked lists answer a problem: recall, NDCG, hit rate, coverage, unique hits."""

from collections.abc import Mapping

import numpy as np

from benchmarks.quality.splits import Mask, Problem
from cluster.ids import Ids

DEPTH = 100
"""Posts kept of a ranked list."""
RECALL_AT = (20, 50, 100)
AT = 20
"""Where NDCG, hit rate and coverage are measured."""


def judge(ranked: Ids, problem: Problem) -> dict[str, float]:
    """Metrics of ranked lists, means over the problem's users.

    `ranked` has shape (users, ≥ 100): post ids, best first, 0 where a list has ended.
    Recall@k is the share of a user's wanted posts among the first k; NDCG has gain 1 for each,
    and the best order of as many as fit is its ideal; coverage is the share of all candidates
    that are among the first 20 of anybody.
    """
    hits = hits_of(ranked, problem)
    n_wanted = np.bincount(np.searchsorted(problem.users, problem.wanted.user_ids))
    told = {f"recall@{k}": float((hits[:, :k].sum(1) / n_wanted).mean()) for k in RECALL_AT}
    discounts = 1 / np.log2(np.arange(2, AT + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_wanted, AT) - 1]
    shown = np.unique(ranked[:, :AT])
    return told | {
        f"ndcg@{AT}": float((hits[:, :AT] @ discounts / ideal).mean()),
        f"hit_rate@{AT}": float(hits[:, :AT].any(1).mean()),
        f"coverage@{AT}": float((shown > 0).sum() / len(problem.post_ids)),
    }


def hits_of(ranked: Ids, problem: Problem) -> Mask:
    """Which places of ranked lists hold a wanted post, shape (users, DEPTH)."""
    first = ranked[:, :DEPTH]
    n = len(problem.post_ids)

    def keys(rows: Ids, post_ids: Ids) -> Ids:
        found: Ids = rows * n + np.searchsorted(problem.post_ids, post_ids)
        return found

    rows = np.repeat(np.arange(len(first)), first.shape[1])
    wanted = keys(np.searchsorted(problem.users, problem.wanted.user_ids), problem.wanted.post_ids)
    there = (first > 0) & np.isin(keys(rows, first.ravel()), wanted).reshape(first.shape)
    if there.shape[1] < DEPTH:
        there = np.pad(there, ((0, 0), (0, DEPTH - there.shape[1])))
    return there


def unique_shares(lists: Mapping[str, Ids], problem: Problem) -> dict[str, float]:
    """Of all wanted posts that some list has among its first 100, the share only this one has."""
    n = len(problem.post_ids)
    found = {}
    for name, ranked in lists.items():
        rows, places = np.nonzero(hits_of(ranked, problem))
        found[name] = rows * n + np.searchsorted(problem.post_ids, ranked[rows, places])
    keys = np.concatenate([np.empty(0, np.int64), *found.values()])
    every, counts = np.unique(keys, return_counts=True)
    alone = every[counts == 1]
    return {
        name: float(np.isin(mine, alone).sum() / max(len(every), 1)) for name, mine in found.items()
    }
