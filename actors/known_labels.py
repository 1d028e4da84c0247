"""Safety labels that visibility knows, one bit each, and which written labels count as which."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.safety import MODEL_PREFIX

Masks = npt.NDArray[np.uint64]

KNOWN_LABELS: tuple[str, ...] = (
    *("pdna", "bounce", "spam", "spam_high_recall", "duplicate_content"),
    *("abusive", "abusive_high_recall", "bystander_abusive", "low_quality"),
    *("nsfw_high_precision", "nsfw_high_recall", "nsfw_text", "nsfw_video", "nsfw_card_image"),
    *("nsfw_near_perfect", "nsfw_avatar_image", "nsfw_banner_image", "nsfw_admin"),
    *("gore", "gore_high_precision", "reported_sensitive", "hateful_conduct", "slur"),
    *("do_not_amplify", "safety_crisis_2", "safety_crisis_3", "safety_crisis_4"),
    *("abuse_episodic", "emergency_drop", "high_proactive_tos", "automated_spam"),
    *("compromised", "engagement_spammer", "read_only", "recommendations_blacklist"),
    *("not_graduated", "likely_ivs", "misleading", "hidden_reply", "limited_reply"),
)
"""The name's place is its bit: `KNOWN_LABELS[i]` is bit i of a mask. New names go to the end."""

_BIT = {name: np.uint64(1 << place) for place, name in enumerate(KNOWN_LABELS)}


def label_bits(*names: str) -> np.uint64:
    """The mask of some known labels; raises `KeyError` for a name that is none."""
    return np.uint64(sum(int(_BIT[name]) for name in set(names)))


NSFW_ACCOUNT = label_bits(
    *("nsfw_high_precision", "nsfw_near_perfect", "nsfw_admin", "nsfw_text"),
    *("nsfw_avatar_image", "nsfw_banner_image"),
)
"""What makes an account one of adult content, where it is given to the account itself."""


class Written(NamedTuple):
    """A name in a `safety_label` event, and the known label that it counts as."""

    name: str
    label: str
    least: float = 0.0
    """The value must be greater (people), or at least this (models)."""


CARE, ACT = 0.5, 0.9
"""Calibrated probabilities from which a model's word is worth caution, and worth acting on."""

_SYNONYMS = {
    "nsfw": "nsfw_high_precision",
    "nsfw_media": "nsfw_high_precision",
    "abuse": "abusive",
    "toxicity": "abusive_high_recall",
    "hate": "hateful_conduct",
    "dup_content": "duplicate_content",
}
_BY_MODELS = (
    *(Written(name, "nsfw_high_recall", CARE) for name in ("nsfw", "nsfw_text", "nsfw_media")),
    *(Written(name, "nsfw_high_precision", ACT) for name in ("nsfw", "nsfw_media")),
    Written("nsfw_text", "nsfw_text", ACT),
    *(Written(name, "abusive_high_recall", CARE) for name in ("abuse", "abusive", "toxicity")),
    Written("hate", "abusive_high_recall", CARE),
    *(Written(name, "abusive", ACT) for name in ("abuse", "abusive", "hate")),
    *(Written(name, "spam_high_recall", ACT) for name in ("spam", "spam_high_recall")),
    Written("dup_content", "duplicate_content", ACT),
)
"""What models may cause. Labels that remove a post from its own followers, or restrict what may
be done with it (spam, hateful conduct, slurs, crises …), are for people alone."""

WRITTEN: tuple[Written, ...] = (
    *(Written(name, name) for name in KNOWN_LABELS),
    *(Written(name, label) for name, label in _SYNONYMS.items()),
    *(told._replace(name=MODEL_PREFIX + told.name) for told in _BY_MODELS),
)
"""Every name that counts, people's first."""


def counts_as(name: str, value: float) -> tuple[str, ...]:
    """The known labels that a label of this name and value counts as; often none."""
    return tuple(
        told.label for told in WRITTEN if told.name == name and value > 0 and value >= told.least
    )


def masks_of(values: Callable[[str], npt.NDArray[np.float32]], n: int) -> Masks:
    """Masks (n,) of subjects, from how strongly they have each label by its name.

    `values` is `Labels.values` of the subjects: float32 (n,), 0 for a label they do not have.
    """
    masks = np.zeros(n, np.uint64)
    for told in WRITTEN:
        found = values(told.name)
        has = (found > 0) & (found >= np.float32(told.least))
        masks |= np.where(has, _BIT[told.label], np.uint64(0))
    return masks
