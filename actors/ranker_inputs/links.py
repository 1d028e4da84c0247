"""Inputs of posts that a candidate replies to, quotes or reposts, and of users related to it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.families import Column, Family, Place, flag, number, renamed
from actors.features.inputs import Level
from actors.features.light import POST_FEATURES
from actors.features.reputation import TWEEPCRED
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.ties import RELATED
from actors.ranker_inputs.viewer import Person
from actors.state import ShardState
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

_NOT_OF_LINKED = ("same_language", "author_same_language", "author_known", "is_repost")
"""Light features of which a linked post has others that say the same, or none."""
_OF_REPLIED_TO = tuple(name for name in POST_FEATURES if name != "is_repost")
_OF_SOURCE = tuple(name for name in POST_FEATURES if name not in _NOT_OF_LINKED)
_OF_QUOTED = (
    *("age_hours", "favourites", "reposts", "replys", "clicks", "impressions"),
    *("engagements_per_hour", "favourites_per_impression", "has_image", "has_video"),
    *("text_length", "text_score", "language_match", "author_followers", "author_reputation"),
)
_ON_LAPTOP = {"age_hours", "favourites", "favourites_per_impression", "author_followers"}


def _of_linked(prefix: str, words: str, names: tuple[str, ...]) -> tuple[Column, ...]:
    return (
        *(
            number(
                f"{prefix}.{name}",
                f"of {words}: the light ranker's {name}",
                laptop=name in _ON_LAPTOP and prefix != "quoted",
            )
            for name in names
        ),
        flag(f"{prefix}.known", f"{words} is known", laptop=prefix == "in_reply_to"),
    )


REPLIED_TO = Family(
    "in_reply_to",
    "in-reply-to tweet",
    Level.POST,
    Place.LINKS,
    _of_linked("in_reply_to", "the post replied to", _OF_REPLIED_TO),
)
SOURCE = Family(
    "tweet_source",
    "tweet source",
    Level.POST,
    Place.LINKS,
    _of_linked("source", "the post reposted", _OF_SOURCE),
)
QUOTED = Family(
    "quoted",
    "tweet source",
    Level.POST,
    Place.LINKS,
    _of_linked("quoted", "the post quoted", _OF_QUOTED),
)
FAMILIES = (REPLIED_TO, QUOTED, SOURCE)
"""In the order of `Candidates.linked_author_ids`, which goes on with the root's author."""
N_LINKED = len(FAMILIES)
N_FEATURES = len(POST_FEATURES)
_PARTS = tuple(
    np.array([POST_FEATURES.index(name) for name in names])
    for names in (_OF_REPLIED_TO, _OF_QUOTED, _OF_SOURCE)
)

_RELATED_ON_LAPTOP = {"real_graph.score", "real_graph.affinity", "tie.followed"}
RELATED_USERS = Family(
    "real_graph_related",
    "Real Graph viewer-related users",
    Level.POST,
    Place.REQUEST,
    (
        *renamed(RELATED, "in_reply_to.", "of who wrote the post replied to", _RELATED_ON_LAPTOP),
        *renamed(RELATED, "quoted.", "of who wrote the post quoted", ()),
        *renamed(RELATED, "source.", "of who wrote the post reposted", {"real_graph.score"}),
        *(
            number(
                f"engagers.{column.name}.{how}",
                f"{how} over followed users who engaged: {column.meaning}",
                laptop=column.name in _RELATED_ON_LAPTOP and how == "max",
            )
            for how in ("sum", "max")
            for column in RELATED
            if column.name != "tie.followed"
        ),
    ),
)
_OF_ENGAGERS = np.array([k for k, column in enumerate(RELATED) if column.name != "tie.followed"])


class Engagers(NamedTuple):
    """For each of n candidates users who engaged with it: `user_ids[offsets[i] : …]`."""

    offsets: Ids
    user_ids: Ids


def linked_posts(
    state: ShardState, asking: Asking, person: Person, post_ids: Ids
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The light ranker's features of posts (n, ·), and which are known here."""
    reputations = None
    if version := asking.version(TWEEPCRED):
        reputations = state.models.reputations(version)
    found = state.posts.hydrate(post_ids, person.language, asking.now_ms, reputations)
    known = (found.created_ms > 0) & ~found.deleted & ~found.author_gone
    return np.where(known[:, None], found.features, np.float32(0)), known


def block(features: Floats, known: npt.NDArray[np.bool_], link: int) -> Floats:
    """The block of `FAMILIES[link]` of posts whose light features these are."""
    return np.concatenate([features[:, _PARTS[link]], known[:, None].astype(np.float32)], axis=1)


def related_users(
    ties: Floats, user_ids: Ids, linked_author_ids: Ids, engagers: Engagers
) -> Floats:
    """The block of `RELATED_USERS` for n candidates.

    `ties` (u, len(RELATED)) are those of `user_ids` (u,), sorted; `linked_author_ids` is (n, 3).
    """
    n, n_ties = len(linked_author_ids), len(RELATED)
    padded = np.concatenate([ties, np.zeros((1, n_ties), np.float32)])
    values = np.zeros((n, len(RELATED_USERS.columns)), np.float32)
    places = _places(user_ids, linked_author_ids.reshape(-1)).reshape(n, 3)
    unlinked = linked_author_ids == 0
    defaults = np.array([column.default for column in RELATED], np.float32)
    for link in range(3):
        of_link = padded[places[:, link]]
        of_link[unlinked[:, link]] = defaults
        values[:, link * n_ties : (link + 1) * n_ties] = of_link
    rows = np.repeat(np.arange(n), np.diff(engagers.offsets))
    if len(rows):
        theirs = padded[_places(user_ids, engagers.user_ids)][:, _OF_ENGAGERS]
        some = np.flatnonzero(np.diff(engagers.offsets))
        starts = engagers.offsets[some]
        width = len(_OF_ENGAGERS)
        continuous = 3 * n_ties
        values[some, continuous : continuous + width] = np.add.reduceat(theirs, starts)
        values[some, continuous + width :] = np.maximum.reduceat(theirs, starts)
    return values


def _places(sorted_ids: Ids, wanted: Ids) -> Ids:
    """Where each id stands, one past the end for those that do not."""
    at = np.searchsorted(sorted_ids, wanted)
    found = at < len(sorted_ids)
    found[found] = sorted_ids[at[found]] == wanted[found]
    return np.where(found, at, len(sorted_ids))
