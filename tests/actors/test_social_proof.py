import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.graph import PUBLIC_CODES
from actors.social_proof import SocialProof
from actors.stores.proof_ranking import Proofs
from cluster.events import Kind

FAVOURITE, REPLY = PUBLIC_CODES[Kind.FAVOURITE], PUBLIC_CODES[Kind.REPLY]


def proof_of(engaged: dict[int, list[tuple[int, int]]]) -> SocialProof:
    """Of each post the seeds who engaged, and how."""
    edges = [edge for of_post in engaged.values() for edge in of_post]
    proofs = Proofs(
        post_ids=np.array(list(engaged), np.int64),
        author_ids=np.ones(len(engaged), np.int64),
        offsets=np.cumsum([0, *map(len, engaged.values())]).astype(np.int32),
        seed_indices=np.array([seed for seed, _ in edges], np.int32),
        kinds=np.array([kind for _, kind in edges], np.uint8),
        times_ms=np.ones(len(edges), np.int64),
    )
    return SocialProof(proofs, np.ones(100))


def test_engagers_are_named_once_for_each_post() -> None:
    proof = proof_of({7: [(3, FAVOURITE), (1, REPLY), (3, REPLY)], 5: [(2, FAVOURITE)]})
    offsets, seeds = proof.engagers(np.array([5, 6, 7, 5], np.int64))
    assert offsets.tolist() == [0, 1, 1, 3, 4]
    assert seeds.tolist() == [2, 1, 3, 2]


@given(
    st.dictionaries(
        st.integers(1, 9), st.lists(st.tuples(st.integers(0, 5), st.just(FAVOURITE)), max_size=6)
    ),
    st.lists(st.integers(1, 12), max_size=12),
)
def test_engagers_are_those_of_a_dictionary(
    engaged: dict[int, list[tuple[int, int]]], wanted: list[int]
) -> None:
    offsets, seeds = proof_of(engaged).engagers(np.array(wanted, np.int64))
    found = [
        seeds[a:b].tolist()
        for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    assert found == [sorted({seed for seed, _ in engaged.get(post, [])}) for post in wanted]
