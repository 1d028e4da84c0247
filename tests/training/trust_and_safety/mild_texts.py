"""Invented mild texts with labels that can be learned: no text of a real data set."""

import numpy as np

SUBJECTS = ("my neighbour", "this cook", "that referee", "our baker", "the gardener", "her uncle")
RUDE = ("a silly goose", "a lazy potato", "a foolish turnip", "a grumpy nitwit", "a clumsy oaf")
KIND = ("a lovely person", "a great friend", "a patient teacher", "a funny singer", "a calm soul")
SAUCY = ("in a tiny bikini", "under the kissing booth", "with saucy winks")
PLAIN = ("at the market", "in the kitchen", "near the station", "under the old tree")
ENDS = ("today", "again", "as always", "on monday", "they say", "for sure", "once more", "indeed")


def rows(n: int, seed: int = 0) -> list[dict[str, object]]:
    """`text`, `toxicity` and `nsfw_text`; a quarter of each label is not known."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, object]] = []
    for i in range(n):
        toxic, saucy = rng.random(2) < (0.4, 0.3)
        words = [
            rng.choice(SUBJECTS),
            "is",
            rng.choice(RUDE if toxic else KIND),
            rng.choice(SAUCY if saucy else PLAIN),
            rng.choice(ENDS),
            f"w{rng.integers(10**6)}x",
        ]
        row: dict[str, object] = {"text": " ".join(map(str, words))}
        if i % 4:
            row["toxicity"] = int(toxic)
        if i % 4 != 1:
            row["nsfw_text"] = int(saucy)
        found.append(row)
    return found
