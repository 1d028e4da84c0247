"""A small ranker that reads only events must find much of what the oracle knows."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cluster.events import Kind
from simulation.behaviour import HEAD_KINDS
from simulation.run import DEFAULT_START_MS, HOUR_MS

SPLIT_MS = DEFAULT_START_MS + 48 * HOUR_MS
FAVOURITE = HEAD_KINDS.index(Kind.FAVOURITE)


def test_a_trained_ranker_beats_time_and_nears_the_oracle(society: Any) -> None:
    impressions = society.of(Kind.IMPRESSION)
    users, posts, authors, times_ms = (
        impressions.column(name).to_numpy()
        for name in ("actor_id", "post_id", "author_id", "time_ms")
    )
    likes = society.of(Kind.FAVOURITE)
    liked = set(
        zip(
            likes.column("request_id").to_pylist(), likes.column("post_id").to_pylist(), strict=True
        )
    )
    labels = np.array(
        [
            key in liked
            for key in zip(
                impressions.column("request_id").to_pylist(), posts.tolist(), strict=True
            )
        ]
    )
    topics = {
        row["post_id"]: row["topics"][0] if row["topics"] else 0
        for row in society.of(Kind.POST_CREATE).to_pylist()
    }
    follows = {
        (row["actor_id"], row["target_id"])
        for row in society.of(Kind.FOLLOW).to_pylist()
        if row["time_ms"] < DEFAULT_START_MS
    }
    topic_of = np.array([topics[post] for post in posts.tolist()])
    past, middle = times_ms < SPLIT_MS - 24 * HOUR_MS, times_ms < SPLIT_MS
    features = [
        np.array([pair in follows for pair in zip(users.tolist(), authors.tolist(), strict=True)]),
        np.log1p((times_ms - (posts >> 20)) / HOUR_MS),
    ]

    def with_rates(before: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        rates = [
            _rates(keys, labels, before)
            for keys in (
                users.tolist(),
                authors.tolist(),
                list(zip(users.tolist(), topic_of.tolist(), strict=True)),
                list(zip(users.tolist(), authors.tolist(), strict=True)),
            )
        ]
        return np.stack([*features, *rates], axis=1).astype(np.float64)

    model = LogisticRegression(max_iter=500)
    model.fit(with_rates(past)[middle & ~past], labels[middle & ~past])
    scores = model.decision_function(with_rates(middle)[~middle])
    world = society.simulation.world
    oracle = world.probabilities(users[~middle], posts[~middle], SPLIT_MS)[:, FAVOURITE]
    found = labels[~middle]
    auc_of_model = roc_auc_score(found, scores)
    auc_of_time = roc_auc_score(found, posts[~middle])
    auc_of_oracle = roc_auc_score(found, oracle)
    assert auc_of_time < 0.6
    assert auc_of_model > auc_of_time + 0.1
    assert auc_of_oracle > auc_of_model + 0.03
    assert auc_of_oracle > 0.8


def _rates(
    keys: list[Any], labels: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The log of each key's smoothed favourite rate before the split."""
    seen = Counter(key for key, known in zip(keys, before.tolist(), strict=True) if known)
    taken = Counter(
        key for key, known in zip(keys, (before & labels).tolist(), strict=True) if known
    )
    return np.log([(taken[key] + 0.3) / (seen[key] + 10) for key in keys])
