"""What a user may say of oneself: the events that a token of that user alone may send.

They are what somebody does at a screen, under the own name. What needs somebody to check it first
stays with servers: who a user is, whose a post is and whom it names (its id decides what an edit
or a deletion reaches), whether a protected account lets itself be followed, who has paid, what is
a safety label, and what the service itself tells.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import Ids, id_of_string

OWN_KINDS = frozenset(
    {
        *ENGAGEMENTS,
        *NEGATIVE_FEEDBACK,
        *UNDONE_BY,
        *(Kind.UNFOLLOW, Kind.BLOCK, Kind.UNBLOCK, Kind.MUTE, Kind.UNMUTE),
        *(Kind.TOPIC_MUTE, Kind.TOPIC_UNMUTE, Kind.TOPIC_FOLLOW, Kind.TOPIC_UNFOLLOW),
        *(Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE, Kind.PREFERENCE, Kind.DISMISS),
        *(Kind.LIST_CREATE, Kind.LIST_DELETE, Kind.LIST_ADD, Kind.LIST_REMOVE),
        Kind.IMPRESSION,
    }
)
"""All have an actor, in whose name they are."""
PAID = ("ad_free",)
"""Preferences that are not for the user alone to set."""

_MAY = np.isin(np.arange(256), sorted(OWN_KINDS))
_NEEDS = "needs a token with the scope write"


@dataclass(frozen=True)
class NotOwn:
    """Why some rows are not the sender's to send."""

    rows: npt.NDArray[np.bool_]
    """Shape (n,)."""
    field: str
    message: str


def not_own(
    kinds: npt.NDArray[np.uint8], actor_ids: Ids, user_ids: Collection[int], names: pa.Array | None
) -> list[NotOwn]:
    """What is wrong with events (n,) by somebody who writes for these users alone."""
    users = sorted(user_ids)
    # The token's own users are no secret to its holder.
    whose = " or ".join(map(str, users))
    found = [
        NotOwn(~_MAY[kinds], "kind", _NEEDS),
        NotOwn(~np.isin(actor_ids, users), "actor_id", f"must be {whose}, whose token this is"),
    ]
    if names is not None:
        paid = pc.is_in(names, pa.array(PAID)).to_numpy(zero_copy_only=False)
        found.append(NotOwn((kinds == Kind.PREFERENCE) & paid, "name", f"of this value {_NEEDS}"))
    return found


def own_ids(event_ids: Ids, actor_ids: Ids) -> npt.NDArray[np.int64]:
    """The ids of users' own events, which never meet those of anybody else's.

    An id is taken once. Nobody who chooses ids, or what they are derived from, may so take
    those of others' events; a hash that cannot be steered keeps them apart.
    """
    pairs: Any = zip(actor_ids.tolist(), event_ids.tolist(), strict=True)
    return np.array([id_of_string(f"{actor} {event}") for actor, event in pairs], np.int64)
