"""Who is known for a topic in a language, and the topic as the sum of their embeddings.

The original aggregates the embeddings of accounts that people chose for each topic. Nobody chooses
here: an account is known for a topic if enough of the favourites of its posts are of posts that
name the topic in the language, and those with most of them stand for it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from actors.stores.sparse_embeddings import SparseEmbeddings, topic_in_language
from cluster.events import Kind
from cluster.ids import Ids


@dataclass(frozen=True)
class TopicSeeds:
    """Producers known for topics, (s,) pairs by topic, the best known of each first."""

    keys: Ids
    """What `topic_in_language` gives."""
    producer_ids: Ids


def topic_seeds(
    posts: pa.Table, favours: pa.Table, *, min_share: float, per_topic: int
) -> TopicSeeds:
    """From `post_create` events (post_id, author_id, language, topics), and favourites and their
    undoing (post_id, kind).

    A producer of whose favourites at least `min_share` are of posts on a topic in a language is
    known for it; of each topic the `per_topic` with most favourites there count, of equals the
    lesser ids. What one edits into a post later does not count.
    """
    posts = posts.combine_chunks()
    post_ids, author_ids = (posts.column(name).to_numpy() for name in ("post_id", "author_id"))
    favourites = _favourites(post_ids, favours)
    authors, of_author = np.unique(author_ids, return_inverse=True)
    totals = np.bincount(of_author, favourites, len(authors))
    lists = posts.column("topics").combine_chunks()
    counts = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    rows, topic_ids = np.repeat(np.arange(len(posts)), counts), lists.flatten().to_numpy()
    languages = posts.column("language").combine_chunks().dictionary_encode()
    codes = languages.indices.fill_null(-1).to_numpy()[rows]
    told = np.flatnonzero((codes >= 0) & (favourites[rows] > 0))
    rows, topic_ids, codes = rows[told], topic_ids[told], codes[told]
    if not len(rows):
        return TopicSeeds(np.empty(0, np.int64), np.empty(0, np.int64))
    pairs, of_pair = np.unique(np.stack([topic_ids, codes], axis=1), axis=0, return_inverse=True)
    words = languages.dictionary.to_pylist()
    keys = np.array([topic_in_language(t, words[c]) for t, c in pairs.tolist()], np.int64)
    # Two spellings of one language are one.
    triples = np.stack([keys[of_pair.ravel()], of_author[rows]], axis=1)
    found, at = np.unique(triples, axis=0, return_inverse=True)
    on_topic = np.bincount(at.ravel(), favourites[rows], len(found))
    known = np.flatnonzero(on_topic >= min_share * totals[found[:, 1]])
    order = known[np.lexsort((authors[found[known, 1]], -on_topic[known], found[known, 0]))]
    of_key = found[order, 0]
    nth = np.arange(len(order)) - np.searchsorted(of_key, of_key)
    best = order[nth < per_topic]
    return TopicSeeds(found[best, 0], authors[found[best, 1]])


def embed_topics(
    seeds: TopicSeeds, producers: SparseEmbeddings, communities_per_topic: int
) -> SparseEmbeddings:
    """Sums of the additive embeddings of the producers of each topic, cut to its best communities;
    nothing of topics none of whose producers has one."""
    rows = producers.rows_of(seeds.producer_ids)
    known = rows >= 0
    keys, of_key = np.unique(seeds.keys[known], return_inverse=True)
    whose = sparse.csr_matrix(
        (np.ones(len(of_key)), (of_key, rows[known])), (len(keys), len(producers))
    )
    entries = (producers.scores.astype(np.float64), producers.communities, producers.offsets)
    sums = (whose @ sparse.csr_matrix(entries, (len(producers), producers.n_communities))).tocoo()
    order = np.lexsort((sums.col, -sums.data, sums.row))
    nth = np.arange(len(order)) - np.searchsorted(sums.row[order], sums.row[order])
    best = order[nth < communities_per_topic]
    return SparseEmbeddings.from_entries(
        keys[sums.row[best]].astype(np.int64),
        sums.col[best].astype(np.int32),
        sums.data[best].astype(np.float32),
    )


def _favourites(post_ids: Ids, favours: pa.Table) -> npt.NDArray[np.float64]:
    """How many favourites of each post stand, (n,)."""
    changes = np.where(favours.column("kind").to_numpy() == Kind.FAVOURITE, 1.0, -1.0)
    if not len(post_ids):
        return np.zeros(0)
    order = np.argsort(post_ids)
    of = favours.column("post_id").to_numpy()
    at = order[np.minimum(np.searchsorted(post_ids[order], of), len(order) - 1)]
    there = post_ids[at] == of
    return np.maximum(np.bincount(at[there], changes[there], len(post_ids)), 0)
