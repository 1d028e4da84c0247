"""What counts as an interaction, and which pairs had one in a window of time."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from training.real_graph.interactions import Feature, Interactions, keys_of

Label = Literal["any", "explicit"]

EXPLICIT = (
    Feature.NUM_FOLLOWS,
    Feature.NUM_FAVORITES,
    Feature.NUM_RETWEETS,
    Feature.NUM_TWEET_QUOTES,
    Feature.NUM_RT_FAVORITES,
    Feature.NUM_RT_REPLIES,
    Feature.NUM_RT_TWEET_QUOTES,
    Feature.NUM_RT_RETWEETS,
    Feature.NUM_SHARES,
    Feature.NUM_REPLIES,
)
IMPLICIT = (
    Feature.NUM_TWEET_CLICKS,
    Feature.NUM_PROFILE_VIEWS,
    Feature.NUM_LINK_CLICKS,
    Feature.NUM_NTAB_CLICKS,
    Feature.NUM_RT_TWEET_CLICKS,
    Feature.NUM_RT_LINK_CLICKS,
    # Not in the original: nobody else sees these, as nobody sees a click.
    Feature.NUM_BOOKMARKS,
    Feature.NUM_VIDEO_WATCHES,
    Feature.NUM_PHOTO_EXPANDS,
)
IS_LABEL = np.isin(np.arange(256), (*EXPLICIT, *IMPLICIT))
"""By feature number: whether it is an interaction. Being shown a post and dwelling on it are
not."""
_COUNTING: dict[Label, npt.NDArray[np.bool_]] = {
    "any": IS_LABEL,
    "explicit": np.isin(np.arange(256), EXPLICIT),
}


def labelled(
    interactions: Interactions, pairs: Ids, since_ms: int, until_ms: int, label: Label
) -> npt.NDArray[np.bool_]:
    """Which pairs (keys, (n,)) interacted in [since_ms, until_ms), and had not undone it then.

    `any` counts explicit and implicit interactions (the published model `prod`), `explicit`
    the former alone (`prod_explicit`).
    """
    rows = np.flatnonzero(
        (interactions.times_ms >= since_ms)
        & (interactions.times_ms < until_ms)
        & (interactions.undone_ms >= until_ms)
        & _COUNTING[label][interactions.features]
    )
    sources, destinations = interactions.sources[rows], interactions.destinations[rows]
    return np.isin(pairs, keys_of(sources, destinations, len(interactions.user_ids)))
