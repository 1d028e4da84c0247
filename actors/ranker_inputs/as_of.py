"""The ranker's inputs as a state that holds every user tells them: for replays and training."""

import numpy as np
import numpy.typing as npt

from actors.features.families import Selection
from actors.features.inputs import RankerInputs
from actors.features.light import PROOF_FEATURES
from actors.features.registry import VECTOR_DIMENSIONS
from actors.features.reputation import TWEEPCRED
from actors.ranker_inputs.asking import Asking, versions_of
from actors.ranker_inputs.assembly import Posts, gather
from actors.ranker_inputs.links import N_LINKED, Engagers
from actors.ranker_questions import AskViewerInputs
from actors.social_proof import SocialProof, ask_proofs, seeds_of
from actors.state import ShardState
from cluster.ids import Ids


def inputs_as_of(
    state: ShardState,
    viewer_id: int,
    post_ids: Ids,
    sources: npt.NDArray[np.int64],
    now_ms: int,
    selection: Selection,
    vector_dimensions: int | None = None,
) -> RankerInputs:
    """What the ranker would be given for posts (n,) and a viewer, in the order asked.

    By the same questions as in a request, put together by the same code; `sources` (n,) are
    numbers as `found.source_codes` gives them. A post that was edited is its newest version.
    """
    asking = Asking(
        viewer_id,
        now_ms,
        selection,
        vector_dimensions or VECTOR_DIMENSIONS[selection],
        versions_of(state),
    )
    viewer = AskViewerInputs(asking).answer(state)
    posts = _posts(state, asking, viewer.person.language, post_ids, sources)
    steps = gather(asking, viewer, posts, 1)
    wave = next(steps)
    while True:
        answers = {shard: [q.answer(state) for q in asked] for shard, asked in wave.items()}
        try:
            wave = steps.send(answers)
        except StopIteration as done:
            inputs: RankerInputs = done.value
            return inputs


def _posts(
    state: ShardState,
    asking: Asking,
    language: str,
    post_ids: Ids,
    sources: npt.NDArray[np.int64],
) -> Posts:
    """Candidates as a request knows them when it comes to rank."""
    settings, now_ms, n = state.settings, asking.now_ms, len(post_ids)
    version = asking.version(TWEEPCRED)
    reputations = state.models.reputations(version) if version else None
    found = state.posts.hydrate(post_ids, language, now_ms, reputations)
    context = state.graph.context(asking.viewer_id, now_ms, settings.for_you.max_follows, 1)
    seeds, weights = seeds_of(context, settings.for_you.max_seeds)
    proof = np.zeros((n, len(PROOF_FEATURES)), np.float32)
    engagers = Engagers(np.zeros(n + 1, np.int64), np.empty(0, np.int64))
    if len(seeds):
        asked = ask_proofs(settings, now_ms, seeds, np.arange(len(seeds), dtype=np.int32))
        told = SocialProof(asked.answer(state), weights)
        proof = told.features(found.post_ids)
        offsets, indices = told.engagers(found.post_ids)
        engagers = Engagers(offsets, seeds[indices])
    light = np.concatenate([found.features, proof], axis=1)
    return Posts(
        *(
            found.post_ids,
            found.author_ids,
            found.linked_author_ids[:, :N_LINKED],
            light,
            sources,
            engagers,
        )
    )
