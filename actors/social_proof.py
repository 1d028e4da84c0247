"""Social proof: who of the viewer's own people engaged with a post, whichever source found it.

One request asks for it and training replays it, so both call what is here.
"""

import numpy as np
import numpy.typing as npt

from actors.features.light import PROOF_FEATURES, positions_in
from actors.graph import PUBLIC_CODES, ViewerContext
from actors.questions import AskSecondDegree
from actors.stores.id_map import IdMap
from actors.stores.kernels import kernel, writable
from actors.stores.proof_ranking import ProofGate, Proofs
from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import Settings

PROOF_KINDS = (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE)
"""Engagements that may be social proof, if they are public."""

_COLUMN_OF_CODE = np.zeros(256, np.int64)
for _kind, _column in ((Kind.FAVOURITE, 1), (Kind.REPOST, 2), (Kind.REPLY, 3), (Kind.QUOTE, 2)):
    _COLUMN_OF_CODE[PUBLIC_CODES[_kind]] = _column


def seeds_of(viewer: ViewerContext, max_seeds: int) -> tuple[Ids, npt.NDArray[np.float64]]:
    """The heaviest `max_seeds` of those the viewer follows, sorted by id, and their weights.

    A weight is 1 + ln(1 + affinity): one more engaged with weighs more. Whoever the viewer
    muted, or is blocked from, lends no proof and is not named as one.
    """
    follows = viewer.heard()
    at = positions_in(viewer.affine_ids, follows)
    weights = np.ones(len(follows))
    weights[at >= 0] += np.log1p(viewer.affinities[at[at >= 0]])
    if len(follows) > max_seeds:
        heaviest = np.sort(np.lexsort((follows, -weights))[:max_seeds])
        return follows[heaviest], weights[heaviest]
    return follows, weights


def ask_proofs(
    settings: Settings, now_ms: int, seed_ids: Ids, seed_indices: npt.NDArray[np.int32]
) -> AskSecondDegree:
    """What to ask the shard of these seeds, which are at `seed_indices` among all seeds."""
    return AskSecondDegree(
        seed_ids=seed_ids,
        seed_indices=seed_indices,
        since_ms=max(now_ms - settings.windows.out_of_network_ms, 0),
        kinds=tuple(kind for kind in PROOF_KINDS if kind.label in settings.graph.public_kinds),
        edges_per_seed=settings.for_you.edges_per_seed,
    )


def proof_gate(settings: Settings) -> ProofGate:
    """Which proofs a post needs to be found by them."""
    least = settings.sources.user_tweet_entity_graph.min_proofs
    of_kinds = tuple((PUBLIC_CODES[kind], getattr(least, kind.label)) for kind in PROOF_KINDS)
    return ProofGate(kinds_mask=sum(1 << code for code, n in of_kinds if n), of_kinds=of_kinds)


class SocialProof:
    """The proofs of one traversal, of all shards and before any cut."""

    def __init__(self, proofs: Proofs, weights: npt.NDArray[np.float64]) -> None:
        self._proofs = proofs
        self._weights = weights

    def features(self, post_ids: Ids) -> npt.NDArray[np.float32]:
        """ln(1 + x) of weight and counts, as `PROOF_FEATURES`: shape (n, 4)."""
        proofs = self._proofs
        wanted = IdMap(len(post_ids))
        place = wanted.get_or_insert(post_ids)
        values = np.zeros((len(wanted), len(PROOF_FEATURES)))
        _tally(
            wanted.get(proofs.post_ids),
            writable(proofs.offsets, np.int32),
            writable(proofs.seed_indices, np.int32),
            writable(proofs.kinds, np.uint8),
            writable(self._weights, np.float64),
            _COLUMN_OF_CODE,
            values,
        )
        features: npt.NDArray[np.float32] = np.log1p(values).astype(np.float32)[place]
        return features

    def engagers(self, post_ids: Ids) -> tuple[Ids, Ids]:
        """Which seeds engaged with each of n posts, each once: offsets (n + 1,) and indices.

        Those of post i are `indices[offsets[i] : offsets[i + 1]]`, ascending.
        """
        proofs, wanted = self._proofs, IdMap(len(post_ids))
        place = wanted.get_or_insert(post_ids)
        rows = wanted.get(proofs.post_ids)
        at = np.flatnonzero(rows >= 0)
        counts = np.diff(proofs.offsets)[at]
        begins = proofs.offsets[at].astype(np.int64)
        entries = np.arange(counts.sum()) + np.repeat(begins - np.cumsum(counts) + counts, counts)
        seeds = proofs.seed_indices[entries].astype(np.int64)
        pairs = np.unique(np.repeat(rows[at], counts).astype(np.int64) << 32 | seeds)
        starts = np.searchsorted(pairs, np.arange(len(wanted) + 1) << 32)
        lengths = np.diff(starts)[place]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        chosen = np.arange(offsets[-1]) + np.repeat(starts[:-1][place] - offsets[:-1], lengths)
        return offsets, pairs[chosen] & 0xFFFFFFFF


@kernel
def _tally(
    places: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int32],
    seed_indices: npt.NDArray[np.int32],
    kinds: npt.NDArray[np.uint8],
    weights: npt.NDArray[np.float64],
    column_of_code: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> None:
    """Add weight and count of each proof to the row of its post, where that is wanted."""
    for post in range(len(places)):
        row = places[post]
        if row < 0:
            continue
        for proof in range(offsets[post], offsets[post + 1]):
            values[row, 0] += weights[seed_indices[proof]]
            column = column_of_code[kinds[proof]]
            if column > 0:
                values[row, column] += 1
