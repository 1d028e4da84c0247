"""A safety model small enough to know by heart."""

import numpy as np

from actors.features.safety import MediaHead, NgramModel, SafetyModel
from actors.features.safety_ngrams import ngrams
from cluster.events import MEDIA_DIMENSIONS

BUCKETS = 2**12


def small_model(**more: object) -> SafetyModel:
    """`oaf` is toxic and `wink` saucy; other words are harmless but known."""
    rarities = np.zeros(BUCKETS, np.float32)
    rows = np.zeros((BUCKETS, 2), np.float32)
    for word, column, weight in (("oaf", 0, 4.0), ("wink", 1, 4.0), ("friend", 0, -1.0)):
        buckets = ngrams([word], BUCKETS).buckets
        rarities[buckets] = 1.0
        rows[buckets, column] = weight
    bias = np.array([-2.0, -2.0], np.float32)
    given: dict[str, object] = {
        "labels": ("toxicity", "nsfw_text"),
        "model": NgramModel(rarities, rows, bias),
        "slopes": np.ones(2, np.float32),
        "offsets": np.zeros(2, np.float32),
        "precisions": (0.85, 0.95),
        "thresholds": {
            "": np.array([[0.5, 0.5], [0.9, np.inf]], np.float32),
            "de": np.array([[0.999, 0.5], [0.9999, 0.6]], np.float32),
        },
        "version": "v",
    }
    return SafetyModel(**(given | more))  # type: ignore[arg-type]


def small_head(width: int = MEDIA_DIMENSIONS) -> MediaHead:
    """The first number alone tells: a greater one is worse."""
    hidden = np.zeros((width, 1), np.float32)
    hidden[0] = 1.0
    return MediaHead(
        np.zeros(width, np.float32),
        np.ones(width, np.float32),
        hidden,
        np.zeros(1, np.float32),
        np.array([2.0], np.float32),
        np.array([-1.0], np.float32),
    )
