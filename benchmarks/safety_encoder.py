"""A pretrained encoder, MiniLM, under regressions: what the safety models are judged beside.

It is not fine-tuned: that would change what it says of a text, and not how long it takes.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from benchmarks.peers_environment import run_encoder
from training.trust_and_safety.evaluation import judged, mean_pr_auc
from training.trust_and_safety.labelled import UNKNOWN, Labelled

Floats = npt.NDArray[np.float32]
DTYPES = ("float32", "bfloat16")
"""What it may compute in."""
INVERSE_L2 = 1.0
"""C of the regressions: 10 and 100 did worse on these very texts, so the choice is kind to it."""
MAX_ITERATIONS = 1_000


def measured(data: Labelled, folds: npt.NDArray[np.int64], dtype: str, seed: int) -> dict[str, Any]:
    """The figures that `benchmarks.safety` prints of a model; makes the peer's environment."""
    embeddings, said = run_encoder(data.texts, dtype, seed)
    began_s = time.perf_counter()
    found = judged(data, cross_validated(embeddings, data.values, folds))
    return {
        "mean_pr_auc": mean_pr_auc(found),
        "labels": found,
        "cross_validation_s": round(time.perf_counter() - began_s, 1),
        "model_mib": round(said["model_bytes"] / 2**20, 1),
        "versions": said["versions"],
        **speed(said["runs"]),
    }


def speed(runs: list[Mapping[str, Any]]) -> dict[str, int]:
    """Posts a second from text to embedding, by the clock and by what the threads computed.

    Both counts are told because a thread that waits for a core of a busy machine computes
    nothing; on an idle machine they are the same.
    """
    found = {}
    for run in runs:
        name = "posts_per_s_in_batches_of_2048"
        name += f"_on_{run['threads']}_threads" if run["threads"] > 1 else ""
        found[name] = round(run["texts"] / (run["cpu_seconds"] / run["threads"]))
        found[f"{name}_by_the_clock"] = round(run["texts"] / run["seconds"])
    return found


def cross_validated(
    embeddings: Floats, values: npt.NDArray[np.int8], folds: npt.NDArray[np.int64]
) -> Floats:
    """The logits (n, labels) of each text by regressions that learned the other folds alone.

    `embeddings` (n, d) stay as they are; `values` (n, labels) with `UNKNOWN`, and every label
    needs both values outside each fold.
    """
    logits = np.empty(values.shape, np.float32)
    for fold in np.unique(folds).tolist():
        kept_out = folds == fold
        for label in range(values.shape[1]):
            learned = ~kept_out & (values[:, label] != UNKNOWN)
            regression = LogisticRegression(C=INVERSE_L2, max_iter=MAX_ITERATIONS)
            regression.fit(embeddings[learned], values[learned, label])
            logits[kept_out, label] = regression.decision_function(embeddings[kept_out])
    return logits
