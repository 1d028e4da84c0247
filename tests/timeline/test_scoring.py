import numpy as np
import pytest

from actors.features.light import FEATURES
from cluster.settings import Settings
from tests.timeline.candidate_rows import query, rows
from tests.worlds import models
from timeline.candidates import NONE
from timeline.scoring import author_diversity, light_ranker


def test_author_diversity_is_the_published_sequence() -> None:
    candidates = rows(
        {"author_ids": 7, "scores": 0.4},
        {"author_ids": 7, "scores": 0.9},
        {"author_ids": 8, "scores": 0.1},
        {"author_ids": 7, "scores": 0.6},
        {"author_ids": 7, "scores": 0.5},
    )
    factors = author_diversity(query(), candidates)
    assert factors.tolist() == [0.34375, 1, 1, 0.625, 0.4375]
    assert author_diversity(query(), NONE).shape == (0,)


def test_author_diversity_has_a_floor() -> None:
    many = rows(*({"author_ids": 7, "scores": -k} for k in range(60)))
    factors = author_diversity(query(), many)
    assert factors[-1] == pytest.approx(0.25)
    assert (np.diff(factors) <= 0).all()
    settings = Settings(for_you={"diversity_decay": 1})  # type: ignore[arg-type]
    assert set(author_diversity(query(settings), many).tolist()) == {1.0}


def test_equal_scores_are_ranked_by_id() -> None:
    candidates = rows({"author_ids": 7, "post_ids": 9}, {"author_ids": 7, "post_ids": 3})
    assert author_diversity(query(), candidates).tolist() == [0.625, 1]


def test_the_light_ranker_is_the_version_the_request_began_with() -> None:
    asked = query()
    asked.versions = {"light_ranker": "untrained"}
    candidates = rows({}, {"author_affinity": 2.0}, {"age_hours": 30.0})
    scores = light_ranker(models(), asked, candidates)
    logits = models().light_ranker("untrained").of(False).logits(candidates.features)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=1e-6)
    assert scores.dtype == np.float32
    assert scores[1] > scores[0] > scores[2]
    assert len(FEATURES) == candidates.features.shape[1]
    asked.versions = {"light_ranker": "20240101T000000-0001"}
    with pytest.raises(LookupError):
        light_ranker(models(), asked, candidates)
