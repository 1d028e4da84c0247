"""Embeddings of what users gather around: producers and topics, as vectors over communities.

All are one recipe, L2row(B)·L2col(U): B says how much each user counts in the audience of each
noun (a producer, a topic), U is InterestedIn. An entry is the cosine of the noun's audience with
the community's.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
from actors.stores.sparse_embeddings import SparseEmbeddings, topic_in_language
from cluster.ids import Ids
from training.simclusters.consumers import ConsumerGraph, Float64s, Floats, Int32s, inverse
from training.simclusters.observed import Languages

WeightedBy = Literal["fav", "log_fav", "follow"]

_CHUNKS = 64


@dataclass(frozen=True)
class Cut:
    """Which entries of an embedding are kept."""

    min_audience: int
    """Nouns with fewer in their audience get none."""
    min_score: float
    """Entries must be above it."""
    communities_per_noun: int
    nouns_per_community: int | None = None
    """The best of each community, by score, then id; None: all."""


@dataclass(frozen=True)
class Audiences:
    """B in CSR form: the audience of each of n nouns, a entries in all."""

    noun_ids: Ids
    """int64 (n,), ascending."""
    indptr: Ids
    """int64 (n + 1,)."""
    users: Ids
    """int64 (a,): rows of InterestedIn; −1 for who is interested in nothing."""
    weights: Floats
    """float32 (a,)."""
    sizes: Ids
    """int64 (n,): what is compared with `Cut.min_audience`."""
    norms: Float64s
    """float64 (n,): L2 of each row, entries included that are not here."""


def producer_audiences(
    graph: ConsumerGraph, interests: SparseEmbeddings, weighted_by: WeightedBy = "fav"
) -> Audiences:
    """The favourers of every producer (`fav`, `log_fav`), or its followers (`follow`)."""
    sizes, norms = graph.faver_counts, graph.faver_norms
    match weighted_by:
        case "fav":
            weights = graph.favourites
        case "log_fav":
            weights, norms = graph.log_favourites, graph.log_faver_norms
        case "follow":
            weights, sizes = graph.followed.astype(np.float32), graph.follower_counts
            norms = np.sqrt(sizes)
    edges = np.flatnonzero(weights > 0)
    places = graph.consumers()[edges], graph.producers[edges]
    shape = len(graph), len(graph.producer_ids)
    by_producer = sparse.coo_matrix((weights[edges], places), shape).tocsc()
    return Audiences(
        graph.producer_ids,
        by_producer.indptr.astype(np.int64),
        interests.rows_of(graph.user_ids)[by_producer.indices],
        by_producer.data,
        sizes,
        norms,
    )


def topic_audiences(
    follower_ids: Ids,
    topic_ids: Ids,
    interests: SparseEmbeddings,
    languages: Languages | None = None,
) -> Audiences:
    """The followers of every topic, each counting 1.

    With `languages` the nouns are (topic, language) pairs under the ids that
    `topic_in_language` gives; who never named a language is then in no audience.
    """
    if languages is not None:
        codes = languages.of(follower_ids)
        known = codes >= 0
        follower_ids, topic_ids, codes = follower_ids[known], topic_ids[known], codes[known]
        pairs, of_pair = np.unique(
            np.stack([topic_ids, codes.astype(np.int64)]), axis=1, return_inverse=True
        )
        ids = [topic_in_language(t, languages.names[c]) for t, c in pairs.T.tolist()]
        topic_ids = np.array(ids, np.int64)[of_pair.ravel()]
    order = np.lexsort((follower_ids, topic_ids))
    noun_ids, counts = np.unique(topic_ids, return_counts=True)
    return Audiences(
        noun_ids.astype(np.int64),
        _starts(counts),
        interests.rows_of(follower_ids[order]),
        np.ones(len(order), np.float32),
        counts.astype(np.int64),
        np.sqrt(counts),
    )


def unit_columns(interests: SparseEmbeddings, name: str) -> Floats:
    """L2col(U) of one column of InterestedIn, float32 (entries,)."""
    values = interests.columns[name].astype(np.float64)
    norms = np.sqrt(np.bincount(interests.communities, weights=values**2))
    return (values * inverse(norms)[interests.communities]).astype(np.float32)


def embed(
    audiences: Audiences,
    interests: SparseEmbeddings,
    values: Floats,
    cut: Cut,
    *,
    additive: bool = False,
    threads: int = 2,
) -> SparseEmbeddings:
    """Nouns as vectors over communities; entries are cosines in 0 … 1.

    `values` (entries,) is a column of `interests` with columns of L2 norm 1 or less (the
    community-normalised scores, `unit_columns`). `additive` multiplies what was kept with the
    norm of the noun's audience (aggregatable producer embeddings), so that such vectors may
    be summed. The answer does not depend on `threads`.
    """
    nouns = np.flatnonzero((audiences.sizes >= cut.min_audience) & (np.diff(audiences.indptr) > 0))
    width = min(cut.communities_per_noun, interests.n_communities)
    found = np.full((len(nouns), width), -1, np.int32)
    scores = np.zeros((len(nouns), width), np.float32)
    inverse_norms = inverse(audiences.norms)
    cuts = np.linspace(0, len(nouns), _CHUNKS + 1).astype(np.int64)
    offsets = writable(interests.offsets, np.int64)
    communities = writable(interests.communities, np.int32)
    values = writable(values, np.float32)
    arrays = (audiences.indptr, audiences.users, audiences.weights, inverse_norms)

    def project(i: int) -> None:
        part = slice(cuts[i], cuts[i + 1])
        _project(
            *(nouns[part], *arrays, offsets, communities, values),
            *(cut.min_score, np.zeros(interests.n_communities), found[part], scores[part]),
        )

    if width:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(project, range(_CHUNKS)))
    rows, places = np.nonzero(found >= 0)
    entries = (nouns[rows], found[rows, places], scores[rows, places])
    if cut.nouns_per_community is not None:
        kept = _best_of_each(entries[1], entries[2], entries[0], cut.nouns_per_community)
        entries = (entries[0][kept], entries[1][kept], entries[2][kept])
    of, where, how_much = entries
    if additive:
        how_much = (how_much * audiences.norms[of]).astype(np.float32)
    return SparseEmbeddings.from_entries(audiences.noun_ids[of], where, how_much)


def _starts(counts: npt.NDArray[np.int64]) -> Ids:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _best_of_each(communities: Int32s, scores: Floats, nouns: Ids, n: int) -> Ids:
    """Entries that are among the `n` best of their community, ascending."""
    order = np.lexsort((nouns, -scores, communities))
    ordered = communities[order]
    begins = np.searchsorted(ordered, ordered)
    return np.sort(order[np.arange(len(order)) - begins < n])


@kernel
def _project(
    nouns: Ids,
    indptr: Ids,
    users: Ids,
    weights: Floats,
    inverse_norms: Float64s,
    offsets: Ids,
    communities: Int32s,
    values: Floats,
    min_score: float,
    sums: Float64s,
    found: Int32s,
    scores: Floats,
) -> None:
    """The best communities of each noun, by score, then community; `sums` (K,) are zero."""
    width = found.shape[1]
    touched = np.empty(len(sums), np.int32)
    for i in range(len(nouns)):
        noun = nouns[i]
        n = 0
        for at in range(indptr[noun], indptr[noun + 1]):
            user = users[at]
            if user < 0:
                continue
            weight = np.float64(weights[at]) * inverse_norms[noun]
            for entry in range(offsets[user], offsets[user + 1]):
                value = values[entry]
                if value > 0:
                    community = communities[entry]
                    if sums[community] == 0.0:
                        touched[n] = community
                        n += 1
                    sums[community] += weight * value
        size = 0
        for j in range(n):
            community = touched[j]
            # Rounding may take a cosine past 1.
            score = np.float32(min(sums[community], 1.0))
            sums[community] = 0.0
            if score <= min_score:
                continue
            if size == width and not _before(
                score, community, scores[i, size - 1], found[i, size - 1]
            ):
                continue
            place = size if size < width else size - 1
            while place > 0 and _before(
                score, community, scores[i, place - 1], found[i, place - 1]
            ):
                scores[i, place], found[i, place] = scores[i, place - 1], found[i, place - 1]
                place -= 1
            scores[i, place], found[i, place] = score, community
            size = min(size + 1, width)


@kernel
def _before(score: Int, community: Int, other_score: Int, other_community: Int) -> bool:
    return bool(score > other_score or (score == other_score and community < other_community))
