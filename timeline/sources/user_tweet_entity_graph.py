"""UTEG: posts that those the viewer follows engaged with (GraphJet's top second degree)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from actors import social_proof
from actors.router import shards_of
from actors.stores.proof_ranking import PostFilter, ProofGate, Proofs, merge_proofs, rank_proofs
from cluster.ids import Ids
from timeline.candidates import MAX_PROOFS, NONE, Candidates
from timeline.pipeline import Questions
from timeline.query import Query


class UserTweetEntityGraph:
    """Posts with the greatest summed weight of seeds who engaged with them.

    Seeds are those the viewer follows, weighted by how much the viewer engages with them.
    Proofs count over all shards before gates and the top k, so that the answer does not
    depend on the number of shards. A post's age is known only to its own shard: the window
    bounds the age of the engagement here and that of the post in a later filter.
    """

    name = "user_tweet_entity_graph"

    def questions(self, query: Query) -> Questions:
        """Ask each shard about the seeds that live in it."""
        query.seeds = social_proof.seeds_of(query.viewer, query.settings.for_you.max_seeds)
        seeds, _ = query.seeds
        if not len(seeds):
            return {}
        homes = shards_of(seeds, query.router.n_shards)
        return {
            shard: [
                social_proof.ask_proofs(
                    query.settings,
                    query.now_ms,
                    seeds[homes == shard],
                    np.flatnonzero(homes == shard).astype(np.int32),
                )
            ]
            for shard in np.unique(homes).tolist()
        }

    def candidates(
        self, query: Query, answers: Mapping[int, Sequence[Any]], number: int
    ) -> Candidates:
        """The best posts by weight with their proofs; what they are is not known yet."""
        parts: list[Proofs] = [found for _, (found,) in sorted(answers.items())]
        if not parts or query.seeds is None:
            return NONE
        seeds, weights = query.seeds
        merged = parts[0] if len(parts) == 1 else merge_proofs(parts)
        query.proof = social_proof.SocialProof(merged, weights)
        limits = query.settings.for_you
        ranked = rank_proofs(
            [merged],
            seeds,
            weights,
            k=limits.out_of_network_results,
            max_proofs=limits.max_proofs,
            gate=ProofGate(limits.min_proof),
            post_filter=PostFilter(excluded_author_ids=np.array([query.viewer_id], np.int64)),
        )
        return _candidates_of(ranked.proofs, seeds, number)


def _candidates_of(proofs: Proofs, seeds: Ids, number: int) -> Candidates:
    n = len(proofs.post_ids)
    blank = {
        name: np.zeros((n, *column.shape[1:]), column.dtype) for name, column in vars(NONE).items()
    }
    counts = np.diff(proofs.offsets)
    row = np.repeat(np.arange(n), counts)
    column = np.arange(len(row)) - np.repeat(proofs.offsets[:-1], counts)
    shown = column < MAX_PROOFS
    proof_ids, proof_kinds = blank["proof_ids"], blank["proof_kinds"]
    proof_ids[row[shown], column[shown]] = seeds[proofs.seed_indices[shown]]
    proof_kinds[row[shown], column[shown]] = proofs.kinds[shown]
    blank |= {
        "post_ids": proofs.post_ids,
        "author_ids": proofs.author_ids,
        "sources": np.full(n, 1 << number, np.uint32),
        "source": np.full(n, number, np.int8),
    }
    return Candidates(**blank)
