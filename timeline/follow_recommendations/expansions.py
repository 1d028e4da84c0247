"""Account sources that walk the graph of follows one step further than the viewer's shard."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from actors.follow_questions import AskFollowees, AskMutuals
from actors.graph_questions import AskTwoHop, merge_counts
from actors.posts import rank_within
from actors.router import shards_of
from actors.state import Question
from actors.two_hop import FOLLOWED_BY_FOLLOWED, EdgeType, Pair
from actors.user_user_graph import UserEdge
from cluster.ids import Ids
from timeline.findings import Answers, Finding, Questions
from timeline.follow_recommendations.accounts import (
    MAX_PROOFS,
    Accounts,
    Seeker,
    connected,
    ranked,
)
from timeline.follow_recommendations.viewer_sources import mutuals
from timeline.sources.user_user_graph import connected_accounts

_MUTUAL_WEIGHT, _LOW_REPUTATION_WEIGHT = 10, 6
_LOOP_PAIRS: tuple[Pair, ...] = (
    *FOLLOWED_BY_FOLLOWED,
    (EdgeType.FOLLOWING, EdgeType.FOLLOWING),
)


class FollowGraph:
    """Whom those follow whom the viewer follows, read in two ways.

    `two_hop_random_walk`: how likely a walk of two steps over the newest follows ends there;
    the walk is worked out, not drawn. `recent_following_recent_following`: how many of the 5
    newest follows have it among their 20 newest.
    """

    names = ("two_hop_random_walk", "recent_following_recent_following")

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the follows' shards whom they followed last."""
        settings = seeker.settings.sources.follow_recommendations
        seeds = seeker.heard(max(settings.walk_follows, settings.recent_follows))
        limit = max(settings.walk_followees, settings.recent_followees)
        if not len(seeds):
            return {}
        homes = shards_of(seeds, seeker.query.router.n_shards)
        answers = yield _to_homes(seeds, homes, lambda ids: AskFollowees(ids, limit))
        places, ids, degrees = _edges(answers, homes)
        nth = rank_within(places)
        new = seeker.new(ids)
        walked = new & (places < settings.walk_follows) & (nth < settings.walk_followees)
        recent = new & (places < settings.recent_follows) & (nth < settings.recent_followees)
        n_walked = max(min(len(seeds), settings.walk_follows), 1)
        return {
            "two_hop_random_walk": connected(
                *(seeds, places[walked], ids[walked], 1 / (n_walked * degrees[walked])),
                limit=settings.walk_results,
            ),
            "recent_following_recent_following": connected(
                *(seeds, places[recent], ids[recent], np.ones(int(recent.sum()))),
                limit=settings.recent_follows * settings.recent_followees,
            ),
        }


class UserUserGraph:
    """Whom several of the newest follows began to follow within a week."""

    names = ("user_user_graph",)

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the user-user graph, all follows weighing 1."""
        settings = seeker.settings.sources.follow_recommendations
        seeds = seeker.heard(settings.graph_seeds)
        found = yield from connected_accounts(
            seeker.query,
            seeds,
            np.ones(len(seeds)),
            limit=settings.graph_results,
            types=(UserEdge.FOLLOW,),
            least_seeds={UserEdge.FOLLOW: settings.graph_min_proofs},
            excluded_ids=seeker.excluded,
            since_ms=max(seeker.query.now_ms - settings.graph_window_ms, 0),
        )
        proofs = found.proof_ids, found.n_seeds.astype(np.int64)
        return {"user_user_graph": Accounts(found.user_ids, found.scores, *proofs)}


class OnlineStrongTies:
    """Strong ties: who follows one another with those who follow one another with the viewer.

    First degree: follows who follow back (weight 10) and follows of low reputation (6); the
    original adds address books. Second degree: with whom each of them follows one another.
    In order of paths over mutual follows, then over low reputations; the model that the
    original scores them with was not published. Proofs are those with the highest Real Graph
    score.
    """

    names = ("online_stp",)

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the first degree's shards."""
        settings, ties = seeker.settings.sources.follow_recommendations, seeker.ties
        mutual = np.isin(ties.follow_ids, mutuals(seeker).user_ids)
        heard = np.isin(ties.follow_ids, seeker.heard(len(ties.follow_ids)))
        weights = _MUTUAL_WEIGHT * mutual + _LOW_REPUTATION_WEIGHT * ties.low_reputation
        first = np.flatnonzero((weights > 0) & heard)
        first = first[np.argsort(-weights[first], kind="stable")][: settings.max_first_degree]
        seeds = ties.follow_ids[first]
        if not len(seeds):
            return {}
        homes = shards_of(seeds, seeker.query.router.n_shards)
        limit = settings.mutuals_of_each
        answers = yield _to_homes(seeds, homes, lambda ids: AskMutuals(ids, limit))
        places, ids, _ = _edges(answers, homes)
        new = seeker.new(ids)
        places, ids = places[new], ids[new]
        # One path over a mutual follow outweighs all paths over low reputations.
        low = ties.low_reputation[first] / (2 * len(seeds))
        found = connected(
            *(seeds, places, ids, (mutual[first] + low)[places]),
            limit=settings.strong_ties,
            nearness=seeker.query.tastes.scores_of(seeds),
        )
        return {"online_stp": found}


class TriangularLoops:
    """Those who follow the viewer and whom somebody follows whom the viewer follows.

    The loop viewer → follow → account → viewer; the fewer ties the account has, the more it
    says: the score is 1 / max(1, followers + followings).
    """

    names = ("triangular_loops",)

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Ask the followers' shards who of the viewer's follows follow them."""
        followers = seeker.ties.follower_ids
        followers = followers[seeker.new(followers)]
        listed = seeker.ties.listed
        if not len(followers) or listed is None or not len(listed.ids):
            return {}
        homes = shards_of(followers, seeker.query.router.n_shards)
        answers = yield {
            shard: [AskTwoHop(listed, followers[homes == shard], _LOOP_PAIRS, MAX_PROOFS)]
            for shard in np.unique(homes).tolist()
        }
        of_shards = {shard: found for shard, (found,) in answers.items()}
        counts = merge_counts(followers, _LOOP_PAIRS, of_shards, homes, MAX_PROOFS)
        closed = counts.counts[:, 0] > 0
        scores = 1 / np.maximum(1, counts.right_degrees.sum(axis=1))
        limit = seeker.settings.sources.follow_recommendations.loops
        found = ranked(followers[closed], scores[closed], limit)
        rows = np.argsort(followers)[np.searchsorted(np.sort(followers), found.user_ids)]
        return {
            "triangular_loops": Accounts(
                found.user_ids,
                found.scores,
                counts.named_ids[rows],
                counts.counts[rows, 0].astype(np.int64),
            )
        }


def _to_homes(
    user_ids: Ids, homes: npt.NDArray[np.int64], ask: Callable[[Ids], Question]
) -> Questions:
    return {shard: [ask(user_ids[homes == shard])] for shard in np.unique(homes).tolist()}


def _edges(
    answers: Answers, homes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Ids, npt.NDArray[np.int64]]:
    """(place of the seed, account, how many the seed follows) of all entries of all shards."""
    parts = [(np.empty(0, np.int64),) * 3]
    for shard, (related,) in answers.items():
        mine = related.places
        degrees = related.degrees.astype(np.int64)[mine]
        parts.append((np.flatnonzero(homes == shard)[mine], related.other_ids, degrees))
    places, ids, degrees = (np.concatenate(column) for column in zip(*parts, strict=True))
    return places, ids, degrees
