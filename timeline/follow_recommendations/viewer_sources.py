"""Account sources that read only what the viewer's own shard knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from timeline.findings import Finding
from timeline.follow_recommendations.accounts import Accounts, Seeker, ranked, told


@dataclass(frozen=True)
class FromTies:
    """One source: its name and how it reads the viewer's ties."""

    names: tuple[str, ...]
    read: Callable[[Seeker], Accounts]

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """Asks nothing more."""
        return told({self.names[0]: self.read(seeker)})


def engaged_direct(seeker: Seeker) -> Accounts:
    """Followed accounts engaged with lately, by decayed engagement: seeds for expansions."""
    ties, limit = seeker.ties, seeker.settings.sources.follow_recommendations.max_engaged
    followed = np.isin(ties.engaged_ids, seeker.heard(len(ties.follow_ids)))
    return ranked(ties.engaged_ids[followed], ties.engagements[followed], limit)


def strongly_engaged_direct(seeker: Seeker) -> Accounts:
    """The same by reposts, replies and quotes alone."""
    ties, limit = seeker.ties, seeker.settings.sources.follow_recommendations.max_engaged
    kept = np.isin(ties.engaged_ids, seeker.heard(len(ties.follow_ids)))
    kept &= ties.strong_engagements > 0
    return ranked(ties.engaged_ids[kept], ties.strong_engagements[kept], limit)


def engaged_non_direct(seeker: Seeker) -> Accounts:
    """Accounts engaged with lately and not followed, by decayed engagement."""
    ties, limit = seeker.ties, seeker.settings.sources.follow_recommendations.max_engaged
    new = seeker.new(ties.engaged_ids)
    return ranked(ties.engaged_ids[new], ties.engagements[new], limit)


def visited(seeker: Seeker) -> Accounts:
    """Accounts whose profile was visited often; the score is how often."""
    ties, settings = seeker.ties, seeker.settings.sources.follow_recommendations
    often = (ties.visits >= settings.min_profile_visits) & seeker.new(ties.visited_ids)
    return ranked(ties.visited_ids[often], ties.visits[often], len(often))


def close(seeker: Seeker) -> Accounts:
    """Accounts by Real Graph's score for the viewer, whatever it is."""
    tastes, settings = seeker.query.tastes, seeker.settings.sources.follow_recommendations
    new = seeker.new(tastes.affine_ids)
    limit = settings.real_graph_oon_results
    return ranked(tastes.affine_ids[new], tastes.real_graph[new], limit)


def close_out_of_network(seeker: Seeker) -> Accounts:
    """Accounts that Real Graph says the viewer will interact with, though not followed."""
    least = seeker.settings.sources.follow_recommendations.real_graph_oon_score
    found = close(seeker)
    return found.take(found.scores >= least)


def mutuals(seeker: Seeker) -> Accounts:
    """The newest follows who follow back, the newest first: seeds of strong ties."""
    ties, limit = seeker.ties, seeker.settings.sources.follow_recommendations.max_mutuals
    ids, times_ms = ties.follow_ids[ties.mutual], ties.follow_times_ms[ties.mutual]
    return ranked(ids, times_ms, limit)


SOURCES = (
    FromTies(("recent_engagement_non_direct",), engaged_non_direct),
    FromTies(("repeated_profile_visits",), visited),
    FromTies(("real_graph",), close),
    FromTies(("real_graph_oon",), close_out_of_network),
)
"""Sources whose accounts may be recommended."""

OF_FOLLOWED = (
    FromTies(("recent_engagement_direct",), engaged_direct),
    FromTies(("mutual_follow_stp",), mutuals),
)
"""The original's sources of accounts that are followed already: no flow asks them, but
expansions set out from what they read."""
