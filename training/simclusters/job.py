"""The SimClusters job: from an archive to communities, and everybody's vectors over them."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from actors.stores.sparse_embeddings import SIMCLUSTERS, SIMCLUSTERS_SCHEMA, SparseEmbeddings
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.settings import Settings
from cluster.training_settings import SimClustersSettings
from training.job import Progress, Trained, TrainingError, silent
from training.simclusters.communities import Communities, carry_over, find_communities
from training.simclusters.consumers import ConsumerGraph, consumer_graph
from training.simclusters.descriptions import describe
from training.simclusters.embeddings import (
    Cut,
    embed,
    producer_audiences,
    topic_audiences,
    unit_columns,
)
from training.simclusters.interested_in import InterestedIn, interested_in
from training.simclusters.observed import Observed, observe
from training.simclusters.quality import KnownFor, agreement, known_for, quality
from training.simclusters.similarity import producer_similarity
from training.simclusters.topic_seeds import embed_topics

MIN_PRODUCERS = 20
"""With fewer to cluster there is nothing to find."""
MIN_MEMBERS = 4
"""Producers for each community that a small world is given beyond its share."""


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Learn from everything archived before `until_ms` and write a new `simclusters`.

    Communities start from the newest version that was made of less data, so that a community
    keeps its id from one version to the next; such ids never exceed the number of communities,
    which grows with the producers (in the original it cannot grow between updates). The
    artifact holds the matrices that `actors.stores.sparse_embeddings` names, communities.arrow
    (community, size, interested: consumers before the cut, by which a reader leaves out
    communities that everybody is interested in) and communities.json, for people to read.

    The same archive, settings, `until_ms` and earlier version give the same files, with one
    `sampler_threads`. Raises `TrainingError`, naming what is missing, where there is too
    little to learn from; nothing is written then.
    """
    chosen, watch = settings.training.simclusters, _Watch()
    progress("reading the archive", 0.0)
    observed = observe(archive, until_ms, chosen)
    nodes = producers_to_cluster(observed, chosen)
    watch.lap("read")
    similarity = producer_similarity(
        *(observed.follower_ids, observed.followed_ids, nodes),
        *(chosen.neighbours, chosen.max_follows),
        threads=chosen.threads,
        progress=progress,
    )
    if chosen.spread:
        similarity = similarity.spread()
    watch.lap("similarity")
    earlier = _earlier(artifacts, observed.data_range_ms[1])
    k = number_of_communities(len(nodes), earlier, chosen)
    rng, judge = np.random.default_rng(settings.training.seed).spawn(2)
    found = find_communities(
        similarity,
        k,
        rng=rng,
        initial=None
        if earlier is None
        else carry_over(earlier.producer_ids, earlier.communities, nodes),
        alpha=chosen.weight_coefficient,
        max_sweeps=chosen.cold_epochs if earlier is None else chosen.epochs,
        threads=chosen.sampler_threads,
        progress=progress,
    )
    known = known_for(similarity, found.memberships)
    watch.lap("communities")
    progress("interests", 0.0)
    followers = observed.follower_ids, observed.followed_ids
    graph = consumer_graph(*followers, observed.favourites, chosen.max_neighbours)
    interests = interests_of(graph, known, k, chosen)
    watch.lap("interested_in")
    progress("embeddings", 0.0)
    matrices = {
        "known_for": _matrix(known),
        "interested_in": interests.matrix,
        **_embeddings(graph, interests.matrix, observed, chosen),
    }
    watch.lap("embeddings")
    metrics = {
        **quality(similarity, found.memberships, judge),
        **_counts(graph, nodes, found, interests, matrices),
        **_compared(earlier, known),
    }
    with artifacts.writing(
        SIMCLUSTERS,
        schema_version=SIMCLUSTERS_SCHEMA,
        metrics=metrics,
        data_range_ms=observed.data_range_ms,
    ) as draft:
        for name, matrix in matrices.items():
            matrix.write(draft, name)
        sizes = np.bincount(known.communities, minlength=k)
        draft.write_table(
            "communities.arrow",
            pa.table(
                {
                    "community": np.arange(k, dtype=np.int32),
                    "size": sizes,
                    "interested": interests.interested,
                }
            ),
        )
        described = describe(k, matrices, interests.interested, observed, graph)
        draft.write_json("communities.json", described)
    watch.lap("write")
    progress("embeddings", 1.0)
    return Trained(SIMCLUSTERS, draft.written, metrics, watch.seconds)


def producers_to_cluster(observed: Observed, chosen: SimClustersSettings) -> Ids:
    """The producers with most followers of those that have enough, ascending by id.

    Raises `TrainingError` where there are too few.
    """
    producers, counts = np.unique(observed.followed_ids, return_counts=True)
    enough = counts >= chosen.min_followers
    if (n := int(enough.sum())) < MIN_PRODUCERS:
        raise TrainingError(
            f"{n} of {len(producers):,} producers have {chosen.min_followers} followers or more; "
            f"at least {MIN_PRODUCERS} are needed to find communities: bring in more follows, or "
            "lower training.simclusters.min_followers"
        )
    producers, counts = producers[enough], counts[enough]
    most = np.lexsort((producers, -counts))[: chosen.max_producers]
    return np.sort(producers[most])


def number_of_communities(
    n_producers: int, earlier: KnownFor | None, chosen: SimClustersSettings
) -> int:
    """Enough for the producers, and for the ids of the earlier communities."""
    share = math.ceil(n_producers / chosen.producers_per_community)
    small = min(chosen.min_communities, n_producers // MIN_MEMBERS)
    taken = 0 if earlier is None else int(earlier.communities.max(initial=-1)) + 1
    return max(share, small, taken)


def interests_of(
    graph: ConsumerGraph, known: KnownFor, n_communities: int, chosen: SimClustersSettings
) -> InterestedIn:
    """InterestedIn of everybody; raises `TrainingError` where nobody is interested in anything."""
    communities = carry_over(known.producer_ids, known.communities, graph.producer_ids)
    scores = np.zeros(len(graph.producer_ids), np.float32)
    scores[np.searchsorted(graph.producer_ids, known.producer_ids)] = known.scores
    interests = interested_in(
        graph,
        communities,
        scores,
        n_communities,
        min_proofs=chosen.min_proofs,
        max_communities=chosen.communities_per_user,
        threads=chosen.threads,
    )
    if not len(interests.matrix):
        raise TrainingError(
            f"none of {len(graph):,} users follows or favours {chosen.min_proofs} producers of one "
            f"community ({len(known):,} producers are in one): bring in more follows"
        )
    return interests


def _earlier(artifacts: ArtifactStore, end_ms: int) -> KnownFor | None:
    """Memberships of the newest readable version whose data ended before `end_ms`."""
    artifact = artifacts.open_latest(SIMCLUSTERS, end_ms - 1, schema_version=SIMCLUSTERS_SCHEMA)
    if artifact is None:
        return None
    matrix = SparseEmbeddings.read(artifact, "known_for")
    return KnownFor(matrix.ids, matrix.communities, matrix.scores)


def _matrix(known: KnownFor) -> SparseEmbeddings:
    return SparseEmbeddings.from_entries(known.producer_ids, known.communities, known.scores)


def _embeddings(
    graph: ConsumerGraph,
    interests: SparseEmbeddings,
    observed: Observed,
    chosen: SimClustersSettings,
) -> dict[str, SparseEmbeddings]:
    producers = Cut(
        chosen.min_audience,
        chosen.min_producer_score,
        chosen.communities_per_producer,
        chosen.producers_per_embedding_community,
    )
    # Those to be summed are not cut by community: a sum over some of a user's producers
    # would be of other producers in each community.
    aggregatable = Cut(producers.min_audience, producers.min_score, producers.communities_per_noun)
    topics = Cut(chosen.min_topic_followers, chosen.min_topic_score, chosen.communities_per_topic)
    threads = chosen.threads

    def of_producers(by: Any, cut: Cut, *, additive: bool = False) -> SparseEmbeddings:
        values = interests.columns[f"{by}_normalized"]
        audiences = producer_audiences(graph, interests, by)
        return embed(audiences, interests, values, cut, additive=additive, threads=threads)

    def of_topics(languages: Any) -> SparseEmbeddings:
        followers = observed.topic_follower_ids, observed.topic_ids
        audiences = topic_audiences(*followers, interests, languages)
        values = unit_columns(interests, "fav_score")
        return embed(audiences, interests, values, topics, threads=threads)

    additive = of_producers("log_fav", aggregatable, additive=True)
    return {
        "producers": of_producers("fav", producers),
        "producers_by_follows": of_producers("follow", producers),
        "producers_aggregatable": additive,
        "topics": of_topics(None),
        "topics_by_language": of_topics(observed.languages),
        "topics_by_producers": embed_topics(
            observed.topic_seeds, additive, chosen.communities_per_topic
        ),
    }


def _counts(
    graph: ConsumerGraph,
    nodes: Ids,
    found: Communities,
    interests: InterestedIn,
    matrices: Mapping[str, SparseEmbeddings],
) -> dict[str, Any]:
    return {
        "producers": len(nodes),
        "consumers": len(graph),
        "edges": len(graph.producers),
        "sweeps": len(found.sweeps),
        "accept_rate": found.sweeps[-1].accept_rate,
        "consumers_interested": len(interests.matrix) / len(graph),
        "communities_per_consumer": len(interests.matrix.scores) / len(interests.matrix),
        "rows": {name: len(matrix) for name, matrix in matrices.items()},
    }


def _compared(earlier: KnownFor | None, known: KnownFor) -> dict[str, Any]:
    """How much of the communities is as it was."""
    if earlier is None:
        return {"started_from_earlier": False}
    compared, cosines = agreement(earlier, known)
    mean = float(cosines.mean()) if len(compared) else 0.0
    return {
        "started_from_earlier": True,
        "communities_compared": len(compared),
        "mean_cosine_with_earlier": mean,
    }


@dataclass
class _Watch:
    """Wall clock of each part."""

    def __post_init__(self) -> None:
        self._last_s = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, part: str) -> None:
        """Note the time since the last part ended."""
        now_s = time.perf_counter()
        self.seconds[part], self._last_s = now_s - self._last_s, now_s
