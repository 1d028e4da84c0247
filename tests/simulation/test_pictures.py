"""Embeddings of pictures: null without one, the same space everywhere, adult ones apart."""

import numpy as np
import pyarrow as pa

from cluster.events import COLUMNS, MEDIA_DIMENSIONS
from simulation.pictures import embeddings_of
from training.trust_and_safety.media import fit_media

N = 3_000


def drawn(seed: int) -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    topics, adult, shown = rng.integers(0, 8, N), rng.random(N) < 0.05, rng.random(N) < 0.5
    return embeddings_of(topics, adult, shown, rng), topics, adult, shown


def numbers(found: pa.Array) -> np.ndarray:
    return found.drop_null().flatten().to_numpy().reshape(-1, MEDIA_DIMENSIONS)


def test_posts_without_a_picture_have_none() -> None:
    found, _, _, shown = drawn(1)
    assert found.type == COLUMNS["media_embedding"]
    assert found.is_valid().to_numpy(zero_copy_only=False).tolist() == shown.tolist()
    assert np.isfinite(numbers(found)).all()
    assert numbers(found).shape == (shown.sum(), MEDIA_DIMENSIONS)
    nothing = embeddings_of(np.zeros(2, np.int64), *np.zeros((2, 2), bool), np.random.default_rng())
    assert nothing.to_pylist() == [None, None]


def test_pictures_of_one_topic_are_alike_in_every_world() -> None:
    (one, topics, _, shown), (other, others, _, others_shown) = drawn(1), drawn(2)
    means, theirs = (
        np.array([numbers(found)[of == topic].mean(axis=0) for topic in range(8)])
        for found, of in ((one, topics[shown]), (other, others[others_shown]))
    )
    cosines = (means @ theirs.T) / np.outer(
        np.linalg.norm(means, axis=1), np.linalg.norm(theirs, axis=1)
    )
    assert np.diag(cosines).min() > 0.9
    assert (cosines - np.diag(np.diag(cosines))).max() < 0.5


def test_what_one_world_teaches_of_adult_pictures_holds_in_another() -> None:
    (one, _, adult, shown), (other, _, others_adult, others_shown) = drawn(1), drawn(2)
    head = fit_media(numbers(one), adult[shown], 0).head
    scores, truths = head.scores(numbers(other)), others_adult[others_shown]
    assert ((scores > 0.5) == truths).mean() > 0.97
    assert (scores[truths] > 0.5).mean() > 0.8
