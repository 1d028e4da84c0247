"""How well held-out later edges are found again, beside what popularity alone would find."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.twhin.edges import EdgeColumns, Edges
from training.twhin.relations import RELATIONS

MAX_CANDIDATES = 100_000
"""A true node is ranked among all nodes of its table, or among so many drawn from it."""
HITS_AT = (1, 10, 50)
_CELLS = 4_000_000
"""Scores held at a time."""

Floats = npt.NDArray[np.float32]
Vectors = dict[str, Floats]


@dataclass(frozen=True)
class _Question:
    """Held-out edges of one relation, and what their left nodes are known to be joined with."""

    lhs: npt.NDArray[np.int32]
    rhs: npt.NDArray[np.int32]
    known: EdgeColumns


def evaluate(
    edges: Edges, vectors: Vectors, seed: int, max_edges: int = 2_000
) -> dict[str, dict[str, float]]:
    """MRR and hits@k of the model and of popularity, on later edges; relation → metrics.

    For each held-out edge all nodes of the right-hand table are ranked for the left node, but
    not those that it is joined with already (the *filtered* setting of link prediction); the
    true one shares the middle of the ranks of its equals. `mrr` and `hits_at_k` rank by the
    score, in which the translation is the same for all; `cosine_…` by the angle, as an index
    of normalised vectors does; `popularity_…` by a node's number of earlier edges of the
    relation. A relation without held-out edges is left out; at most `max_edges` of each are
    drawn from the others.
    """
    rng = np.random.default_rng((seed, 3))
    found = {}
    for i, asked in _questions(edges, rng, max_edges).items():
        relation = RELATIONS[i]
        lhs, rhs = vectors[relation.lhs][asked.lhs], vectors[relation.rhs]
        popularity = edges.frequencies(relation.name, "rhs").astype(np.float32)[:, None]
        rankings = {
            "": (lhs, rhs),
            "cosine_": (lhs, _normalised(rhs)),
            "popularity_": (np.ones((len(lhs), 1), np.float32), popularity),
        }
        candidates = _candidates(len(rhs), rng)
        metrics: dict[str, float] = {"edges": len(lhs)}
        for name, (left, right) in rankings.items():
            ranks = _ranks(left, right, asked, candidates)
            metrics[f"{name}mrr"] = float(np.mean(1 / ranks))
            metrics |= {f"{name}hits_at_{k}": float(np.mean(ranks <= k)) for k in HITS_AT}
        found[relation.name] = metrics
    return found


def _questions(edges: Edges, rng: np.random.Generator, max_edges: int) -> dict[int, _Question]:
    later = edges.later()
    chosen = {}
    for i in range(len(RELATIONS)):
        some = np.flatnonzero(later.rel == i)
        if len(some):
            drawn = np.sort(rng.permutation(some)[:max_edges])
            chosen[i] = later.take(drawn)
    known: dict[int, list[EdgeColumns]] = {i: [later.take(later.rel == i)] for i in chosen}
    for name, _ in edges.shards:
        shard = edges.shard(name)
        for i, asked in chosen.items():
            mine = np.flatnonzero(shard.rel == i)
            known[i].append(shard.take(mine[np.isin(shard.lhs[mine], asked.lhs)]))
    return {i: _Question(asked.lhs, asked.rhs, _by_lhs(known[i])) for i, asked in chosen.items()}


def _by_lhs(parts: list[EdgeColumns]) -> EdgeColumns:
    lhs = np.concatenate([part.lhs for part in parts])
    order = np.argsort(lhs, kind="stable")
    rel, rhs = (np.concatenate([getattr(p, c) for p in parts])[order] for c in ("rel", "rhs"))
    return EdgeColumns(lhs[order], rel, rhs)


def _candidates(n_rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if n_rows <= MAX_CANDIDATES:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, MAX_CANDIDATES, replace=False))


def _ranks(
    lhs: Floats, rhs: Floats, asked: _Question, candidates: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Rank, from 1, of each edge's right node among the candidates; shape (edges,)."""
    place = np.full(len(rhs), -1, np.int64)
    place[candidates] = np.arange(len(candidates))
    among = rhs[candidates]
    ranks = np.empty(len(lhs))
    step = max(1, _CELLS // max(len(candidates), 1))
    for begin in range(0, len(lhs), step):
        cut = slice(begin, begin + step)
        scores = lhs[cut] @ among.T
        # The true node's own score by the same sum, so that it equals itself among the rest.
        true_rhs = asked.rhs[cut]
        at = place[true_rhs]
        listed = at >= 0
        rows = np.arange(len(scores))
        true = np.einsum("ij,ij->i", lhs[cut], rhs[true_rhs])
        true[listed] = scores[rows[listed], at[listed]]
        firsts = np.searchsorted(asked.known.lhs, asked.lhs[cut], "left")
        lasts = np.searchsorted(asked.known.lhs, asked.lhs[cut], "right")
        lengths = lasts - firsts
        row = np.repeat(rows, lengths)
        offset = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        column = place[asked.known.rhs[np.repeat(firsts, lengths) + offset]]
        scores[row[column >= 0], column[column >= 0]] = -np.inf
        above = (scores > true[:, None]).sum(1)
        equal = (scores == true[:, None]).sum(1)
        ranks[cut] = 1 + above + equal / 2
    return ranks


def _normalised(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
