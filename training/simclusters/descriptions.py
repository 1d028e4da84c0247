"""What a community is about, for people: its best-known producers, its topics and languages."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.stores.sparse_embeddings import SparseEmbeddings
from cluster.ids import Ids
from training.simclusters.consumers import ConsumerGraph, Floats, Int32s
from training.simclusters.observed import Languages, Observed

N_PRODUCERS = 5
N_TOPICS = 3
N_LANGUAGES = 3


def describe(
    n_communities: int,
    matrices: Mapping[str, SparseEmbeddings],
    interested: Ids,
    observed: Observed,
    graph: ConsumerGraph,
) -> list[dict[str, Any]]:
    """One entry for each community, by id.

    `size` counts its producers, `interested` its consumers before the cut to the best of
    each. Producers are those with most followers; topics those whose followers are most alike
    its consumers (cosine); languages those of most of its consumers, with their share of all
    who named one.
    """
    known, topics = matrices["known_for"], matrices["topics"]
    rows = np.searchsorted(graph.producer_ids, known.ids)
    followers = graph.follower_counts[rows]
    producers = _leading(known.communities, known.ids, followers, N_PRODUCERS)
    topic_ids = np.repeat(topics.ids, np.diff(topics.offsets))
    leading_topics = _leading(topics.communities, topic_ids, topics.scores, N_TOPICS)
    languages = _languages(n_communities, matrices["interested_in"], observed.languages)
    sizes = np.bincount(known.communities, minlength=n_communities)
    return [
        {
            "community": c,
            "size": int(sizes[c]),
            "interested": int(interested[c]),
            "producers": [{"user_id": p, "followers": n} for p, n in producers.get(c, [])],
            "topics": [
                {"topic_id": t, "cosine": round(s, 4)} for t, s in leading_topics.get(c, [])
            ],
            "languages": languages[c],
        }
        for c in range(n_communities)
    ]


def _leading(
    communities: Int32s, ids: Ids, weights: Floats | Ids, n: int
) -> dict[int, list[tuple[int, Any]]]:
    """The `n` heaviest ids of each community, by weight, then id."""
    order = np.lexsort((ids, -weights, communities))
    ordered = communities[order]
    order = order[np.arange(len(order)) - np.searchsorted(ordered, ordered) < n]
    found: dict[int, list[tuple[int, Any]]] = {}
    for community, id_, weight in zip(
        communities[order].tolist(), ids[order].tolist(), weights[order].tolist(), strict=True
    ):
        found.setdefault(community, []).append((id_, weight))
    return found


def _languages(
    n_communities: int, interests: SparseEmbeddings, languages: Languages
) -> list[list[dict[str, Any]]]:
    codes = np.repeat(languages.of(interests.ids), np.diff(interests.offsets))
    n = max(1, len(languages.names))
    keys = interests.communities[codes >= 0] * np.int64(n) + codes[codes >= 0]
    counts = np.bincount(keys, minlength=n_communities * n).reshape(n_communities, n)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    best = np.argsort(-shares, axis=1, kind="stable")[:, :N_LANGUAGES]
    return [
        [
            {"language": languages.names[code], "share": round(float(shares[c, code]), 4)}
            for code in row
            if shares[c, code] > 0
        ]
        for c, row in enumerate(best.tolist())
    ]
