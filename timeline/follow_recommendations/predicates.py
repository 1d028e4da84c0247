"""Who must not be recommended: what is known of the viewer, and what the accounts' shards say."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from actors.follow_questions import AccountFacts
from actors.follow_ties import FollowTies
from cluster.ids import Ids
from timeline.follow_recommendations.accounts import Mask
from timeline.query import Query

OfViewer = Callable[[Query, FollowTies], Ids]
"""Accounts that a viewer is not to be recommended."""
OfAccount = Callable[[AccountFacts], Mask]
"""Which accounts (n,) may not be recommended to anybody, or not to this viewer."""

BEFORE_RANKING: Mapping[str, OfViewer] = {
    "self": lambda query, _: np.array([query.viewer_id], np.int64),
    "following": lambda _, ties: ties.follow_ids,
    "used_to_follow": lambda _, ties: ties.unfollowed_ids,
    "blocked": lambda query, _: query.viewer.blocks,
    "blocked_by": lambda query, _: query.viewer.blocked_by,
    "muted": lambda query, _: query.viewer.mutes,
    # No event dismisses a recommendation; less of an author, or a report, says as much.
    "dismissed": lambda query, _: query.viewer.hidden_author_ids,
}
"""The original's excluded, recent-following, dismissed and relationship predicates. Whom it
hides by follow requests, curated lists or undiscoverable contacts no event tells of."""

OF_ACCOUNTS: Mapping[str, OfAccount] = {
    "gone": lambda facts: facts.gone,
    "protected": lambda facts: facts.protected,
    "followed": lambda facts: facts.followed,
    "hides_viewer": lambda facts: facts.hides,
    "inactive": lambda facts: ~facts.posted,
    "unhealthy": lambda facts: facts.labelled,
}
"""The original's account (Gizmoduck), inactive and health predicates. Like there, an account of
which nothing is known, or whose shard does not answer, is not recommended."""

ALL = tuple(OF_ACCOUNTS)


def excluded_ids(query: Query, ties: FollowTies, asked: Ids) -> Ids:
    """Everyone whom `BEFORE_RANKING` or the request leaves out, sorted."""
    parts = [predicate(query, ties) for predicate in BEFORE_RANKING.values()]
    return np.unique(np.concatenate([asked, *parts]))


def invalid(facts: AccountFacts, names: Sequence[str] = ALL) -> dict[str, Mask]:
    """Which accounts each of the predicates takes out."""
    return {name: OF_ACCOUNTS[name](facts) for name in names}
