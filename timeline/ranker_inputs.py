"""The heavy ranker's inputs in a request: what to ask with the viewer, and of the candidates.

What a shard does not answer costs its values, which are then those of what is not known, and
never the request.
"""

import numpy as np

from actors.features.inputs import RankerInputs
from actors.features.light import PROOF_FEATURES
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.assembly import Posts, gather
from actors.ranker_inputs.links import N_LINKED, Engagers
from actors.ranker_questions import AskViewerInputs, ViewerInputs
from actors.social_proof import seeds_of
from actors.state import Failed
from timeline.candidates import N_POST_FEATURES, Candidates
from timeline.findings import Answers, Finding
from timeline.query import Query

_SHARE = 0.5
"""Of the time left, that each wave may take."""


def viewer_question(query: Query) -> AskViewerInputs:
    """What to ask the viewer's own shard beside the viewer's context, in the first wave.

    The answer says under which versions of the artifacts it was given; the rest of the request
    keeps to those.
    """
    chosen = query.settings.heavy_ranker.features
    dimensions = query.settings.training.twhin.dimensions
    return AskViewerInputs(Asking(query.viewer_id, query.now_ms, chosen, dimensions))


def fetch_inputs(query: Query, candidates: Candidates) -> RankerInputs:
    """The inputs of candidates of For You, which have their facts and the light ranker's features.

    In two waves; in three where the viewer's inputs did not come with the viewer.
    """
    steps = finding(query, candidates)
    answers: Answers | None = None
    while True:
        try:
            wave = next(steps) if answers is None else steps.send(answers)
        except StopIteration as done:
            inputs: RankerInputs = done.value
            return inputs
        replies = query.ask(wave, _SHARE).replies
        for shard, reply in replies.items():
            if any(isinstance(answer, Failed) for answer in reply.answers):
                query.note(f"shard_{shard}")
        answers = {shard: reply.answers for shard, reply in replies.items()}


def finding(query: Query, candidates: Candidates) -> Finding[RankerInputs]:
    """`fetch_inputs` as a finding, whose questions may travel with those of others."""
    question = viewer_question(query)
    asked, viewer = query.told.get(AskViewerInputs, (None, None))
    if asked != question:
        answers = yield {query.viewer_shard: [question]}
        viewer = next((told[0] for told in answers.values()), None)
    told = viewer if isinstance(viewer, ViewerInputs) else None
    asking = question.asking.keeping_to(told.versions if told is not None else {})
    posts = _posts(query, candidates)
    return (yield from gather(asking, told, posts, query.router.n_shards))


def _posts(query: Query, candidates: Candidates) -> Posts:
    features = candidates.features
    light = [features[:, :N_POST_FEATURES], features[:, -len(PROOF_FEATURES) :]]
    return Posts(
        candidates.post_ids,
        candidates.author_ids,
        candidates.linked_author_ids[:, :N_LINKED],
        np.concatenate(light, axis=1),
        # The first source of For You is what was cached, then come those of `found.SOURCES`.
        np.maximum(candidates.source, 0).astype(np.int64),
        _engagers(query, candidates),
    )


def _engagers(query: Query, candidates: Candidates) -> Engagers:
    if query.proof is None:
        return Engagers(np.zeros(len(candidates) + 1, np.int64), np.empty(0, np.int64))
    seeds, _ = seeds_of(query.viewer, query.settings.for_you.max_seeds)
    offsets, indices = query.proof.engagers(candidates.post_ids)
    return Engagers(offsets, seeds[indices])
