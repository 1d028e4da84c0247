"""Which events become edges of which graph (the role of the original's recos-injector).

| Event | Edge | Where | Read by |
|---|---|---|---|
| follow, block, mute (and undone) | user → user | `Relations` | follow graph, two-hop, filters |
| favourite, repost, reply, quote | user → post | `engagements` | user-tweet graphs, signals |
| reply, quote or repost made as a post | author → the post it is about | `engagements` | the same |
| undo of one of these | the same, by the undo's code | `engagements` | reads that cancel |
| video watched to half and more | user → post | `videos` | user-video graph |
| click, dwell, bookmark, share … | user → post | `signals` | only the viewer's own signals |
| show less, not interested, report | user → post | `feedback` | filters |
| impression, served | user → post | `views` | seen and served filters |

An edge stands with its user and, where it is public, with the post's author, both in their own
shards. The original also has edges from an author to the own post, and from users mentioned or
tagged: posts of followed authors are found by the in-network search here, and who is mentioned
is counted by the two-hop counts alone (`EdgeType.MENTION`).

| Filter of the original | Here |
|---|---|
| self-engagement: own favourites and reposts | not ingested: `by_others`; no signals either |
| user safety (deactivated, suspended, restricted, protected, NSFW) | when served, see below |
| nullcast (ads only) | no event makes such posts |
| post visibility (deleted, labelled) | when served: hydration, then the filters |

A shard knows the state of its own users alone, and events come in any order: an account that
is protected or suspended today may not have been when it engaged, nor be so tomorrow. So their
edges are kept, and their posts are dropped from answers by the filters `unknown_or_deleted` and
`protected`. As proof only those count whom the viewer follows, less who is muted or blocked:
a protected one is seen by followers, and one suspended since keeps what was said before, as in
the original, which looks at a user when the event comes.
"""

import numpy as np
import numpy.typing as npt

from actors.rows import Engagements
from cluster.events import UNDONE_BY, Kind

NO_PROOF_OF_ONESELF = (Kind.FAVOURITE, Kind.REPOST)
"""Replies and quotes of own posts are threads: they lead on, and are kept."""

_OWN = np.isin(
    np.arange(256),
    (
        *NO_PROOF_OF_ONESELF,
        *(undo for undo, kind in UNDONE_BY.items() if kind in NO_PROOF_OF_ONESELF),
    ),
)


def by_others(engagements: Engagements) -> npt.NDArray[np.bool_]:
    """Which engagements may be edges that others see: not own posts favoured or reposted."""
    own = engagements.actor_ids == engagements.author_ids
    kept: npt.NDArray[np.bool_] = ~(own & _OWN[engagements.kinds])
    return kept
