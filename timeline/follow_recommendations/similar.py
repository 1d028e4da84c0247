"""Account sources that go from accounts the viewer knows to accounts like them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from actors.features.real_graph import REAL_GRAPH
from actors.models import VECTORS
from actors.similar_accounts import Alike, AskAlike, AskCloseTo, AskNearFollowers
from actors.state import Question
from cluster.ids import Ids
from timeline.findings import Finding
from timeline.follow_recommendations.accounts import (
    Accounts,
    Aggregate,
    Floats,
    Seeker,
    connected,
)
from timeline.follow_recommendations.viewer_sources import (
    engaged_direct,
    engaged_non_direct,
    strongly_engaged_direct,
)

Seeds = tuple[Ids, Floats]


@dataclass(frozen=True)
class Expansion:
    """Accounts like seeds: what their likenesses, times the seeds' weights, add up to."""

    names: tuple[str, ...]
    seeds: Callable[[Seeker], Seeds]
    weighted: bool = False
    """Whether seeds weigh; else each counts as 1."""
    salsa: bool = False
    """Whether several seeds have to agree, over longer lists."""

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the viewer's shard, for every shard holds all representations."""
        query, settings = seeker.query, seeker.settings.sources.follow_recommendations
        version = query.tastes.versions.get(VECTORS)
        seeds, weights = self.seeds(seeker)
        seeds, weights = seeds[: settings.similar_seeds], weights[: settings.similar_seeds]
        if version is None or not len(seeds):
            return {}
        n_each = settings.salsa_neighbours if self.salsa else settings.similar_of_each
        answers = yield {query.viewer_shard: [AskAlike(version, seeds, n_each)]}
        if not answers:
            return {}
        alike: Alike = answers[query.viewer_shard][0]
        least = min(settings.salsa_connectors, len(seeds)) if self.salsa else 1
        aggregate: Aggregate = "sum" if self.salsa else settings.similar_aggregate
        values = weights if self.weighted else np.ones(len(seeds))
        found = _expanded(seeker, seeds, values, alike, settings.similar_results, least, aggregate)
        return {self.names[0]: found}


@dataclass(frozen=True)
class LikeViewer:
    """Accounts like the viewer: by who follows them, and by what their followers follow.

    `sims` is the viewer's own list of similar users, `follow2vec` the accounts whose followers
    are nearest to the viewer in TwHIN's space of follows.
    """

    names: tuple[str, ...] = ("sims", "follow2vec")

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the viewer's shard."""
        query, settings = seeker.query, seeker.settings.sources.follow_recommendations
        version = query.tastes.versions.get(VECTORS)
        if version is None:
            return {}
        viewer, limit = np.array([query.viewer_id], np.int64), settings.similar_results
        asked: list[Question] = [
            AskAlike(version, viewer, limit),
            AskNearFollowers(version, query.viewer_id, limit),
        ]
        answers = yield {query.viewer_shard: asked}
        if not answers:
            return {}
        return {
            name: _expanded(seeker, viewer, np.ones(1), alike, limit).unproven()
            for name, alike in zip(self.names, answers[query.viewer_shard], strict=True)
        }


@dataclass(frozen=True)
class RealGraphExpansion:
    """Whom those are close to who are close to the viewer: the sum of products of scores."""

    names: tuple[str, ...] = ("real_graph_expansion",)

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the viewer's shard, for every shard holds all scores."""
        query, settings = seeker.query, seeker.settings.sources.follow_recommendations
        version = query.tastes.versions.get(REAL_GRAPH)
        heard = ~np.isin(query.tastes.affine_ids, query.viewer.hidden_ids)
        ids, scores = query.tastes.affine_ids[heard], query.tastes.real_graph[heard]
        best = np.lexsort((ids, -scores))[: settings.real_graph_first]
        if version is None or not len(best):
            return {}
        question = AskCloseTo(version, ids[best], settings.real_graph_second)
        answers = yield {query.viewer_shard: [question]}
        if not answers:
            return {}
        close: Alike = answers[query.viewer_shard][0]
        first = scores[best].astype(np.float64)
        limit = settings.similar_results
        return {self.names[0]: _expanded(seeker, ids[best], first, close, limit)}


def newest_follows(seeker: Seeker) -> Seeds:
    """The viewer's newest follows."""
    seeds = seeker.heard(seeker.settings.sources.follow_recommendations.similar_seeds)
    return seeds, np.ones(len(seeds))


def _of(read: Callable[[Seeker], Accounts]) -> Callable[[Seeker], Seeds]:
    def seeds(seeker: Seeker) -> Seeds:
        found = read(seeker)
        return found.user_ids, found.scores

    return seeds


def engaged(seeker: Seeker) -> Seeds:
    """Accounts engaged with lately, whether followed or not, the most engaged first."""
    ties = seeker.ties
    viewer = seeker.query.viewer
    kept = ~np.isin(ties.engaged_ids, viewer.hidden_ids)
    return ties.engaged_ids[kept], ties.engagements[kept]


SOURCES = (
    Expansion(("recent_following_similar_users",), newest_follows),
    Expansion(("recent_engagement_similar_users",), engaged, weighted=True),
    Expansion(
        ("recent_strong_engagement_similar_users",), _of(strongly_engaged_direct), weighted=True
    ),
    Expansion(("salsa_expansion",), _of(engaged_direct), salsa=True),
    Expansion(("similar_user_expander",), _of(engaged_non_direct), weighted=True),
    LikeViewer(),
    RealGraphExpansion(),
)
"""The original's four stores of similar users are one here: see `similar_accounts`. Its SALSA
lists were walked offline; here they are the same similar users, longer, and several seeds have
to agree. Of its similar-user expander only the base class is told of: accounts engaged with
and not followed, whose scores carry over."""


def _expanded(
    seeker: Seeker,
    seeds: Ids,
    weights: Floats,
    found: Alike,
    limit: int,
    least: int = 1,
    aggregate: Aggregate = "sum",
) -> Accounts:
    new = seeker.new(found.user_ids)
    places = found.places[new]
    values = found.scores[new] * weights[places]
    ids = found.user_ids[new]
    return connected(seeds, places, ids, values, limit=limit, least=least, aggregate=aggregate)
