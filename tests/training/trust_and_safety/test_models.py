from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from actors.features.safety_ngrams import ngrams
from tests.training.trust_and_safety.mild_texts import rows
from training.trust_and_safety.duplicates import folds_of, near_duplicates
from training.trust_and_safety.evaluation import cross_validated, figures, judged, mean_pr_auc
from training.trust_and_safety.labelled import labelled, without_repeats
from training.trust_and_safety.models import FITS, rarities_of
from training.trust_and_safety.public_sets import read_davidson

BUCKETS = 2**13
LABELS = ("toxicity", "nsfw_text")


def values_of(found: list[dict[str, object]]) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    return np.array([[row.get(label, -1) for label in LABELS] for row in found], np.int8)


@pytest.mark.parametrize("name", FITS)
def test_a_candidate_learns_what_is_known_and_says_it_twice(name: str) -> None:
    learned, other = rows(1_200), rows(200, seed=1)
    texts = ngrams([str(row["text"]) for row in learned], BUCKETS)
    model = FITS[name](texts, values_of(learned), BUCKETS, 0)
    again = FITS[name](texts, values_of(learned), BUCKETS, 0)
    for tensor, same in zip(model.tensors().values(), again.tensors().values(), strict=True):
        np.testing.assert_array_equal(tensor, same)
        assert tensor.dtype == np.float32
    truths = values_of(other)
    logits = model.logits(ngrams([str(row["text"]) for row in other], BUCKETS))
    for column in range(2):
        known = truths[:, column] >= 0
        assert roc_auc_score(truths[known, column], logits[known, column]) > 0.98


@pytest.mark.parametrize("name", FITS)
def test_what_is_unknown_teaches_nothing(name: str) -> None:
    """Three of four rude texts are not known to be rude: that does not make them harmless."""
    found = rows(1_200)
    values = values_of(found)
    rude = np.flatnonzero(values[:, 0] == 1)
    hidden = rude[np.arange(len(rude)) % 4 > 0]
    values[hidden, 0] = -1
    texts = ngrams([str(row["text"]) for row in found], BUCKETS)
    logits = FITS[name](texts, values, BUCKETS, 0).logits(texts)
    assert (logits[hidden, 0] > 0).mean() > 0.9
    assert (logits[values[:, 0] == 0, 0] < 0).mean() > 0.95


def test_rarities_leave_out_what_one_text_alone_holds() -> None:
    texts = ngrams(["apple pear", "apple plum", "apple fig"], BUCKETS)
    rarities = rarities_of(texts, BUCKETS)
    apple = ngrams(["apple"], BUCKETS).buckets
    np.testing.assert_allclose(rarities[apple], 1.0)
    fig = set(ngrams(["fig"], BUCKETS).buckets.tolist()) - set(texts.take(np.array([0, 1])).buckets)
    assert fig
    assert not rarities[sorted(fig)].any()


def test_every_text_is_judged_by_a_model_that_did_not_learn_it() -> None:
    found = rows(100)
    texts = [str(row["text"]) for row in found]
    values = values_of(found)
    data = labelled("s", texts, {LABELS[0]: values[:, 0], LABELS[1]: values[:, 1]}, [""] * 100)
    hashed = ngrams(texts, BUCKETS)
    folds = np.arange(100) % 3
    seen: list[int] = []

    def fit(learned: object, *_: object) -> object:
        seen.append(len(learned))  # type: ignore[arg-type]
        fold = len(seen) - 1

        class Model:
            def logits(self, judged: object) -> object:
                return np.full((len(judged), 2), fold, np.float32)  # type: ignore[arg-type]

        return Model()

    logits = cross_validated(fit, hashed, data, folds, BUCKETS, 0)  # type: ignore[arg-type]
    assert seen == [66, 67, 67]
    np.testing.assert_array_equal(logits[:, 0], folds)


def test_figures_are_of_known_texts_and_of_each_source() -> None:
    truths = np.array([True] * 20 + [False] * 20)
    perfect = figures(truths, truths.astype(np.float32))
    assert perfect == {
        "examples": 40,
        "positives": 20,
        "auc": 1.0,
        "pr_auc": 1.0,
        "precision_at_recall_0.85": 1.0,
    }
    # Of 20 positives 17 are needed; above the 17th stand 17 negatives too.
    scores = np.concatenate([np.arange(20), np.arange(20)]).astype(np.float32)
    assert figures(truths, scores)["precision_at_recall_0.85"] == 0.5
    data = labelled("s", ["a", "b", "c"], {"x": np.array([1, 0, -1], np.int8)}, [""] * 3)
    found = judged(data, np.array([[1.0], [0.0], [9.0]], np.float32))
    assert found["x"]["examples"] == found["x"]["sources"]["s"]["examples"] == 2
    assert mean_pr_auc(found) == 1.0


def test_real_tweets_are_told_apart(data_dir: Path) -> None:
    data = without_repeats(read_davidson(data_dir / "davidson")).take(np.arange(5_000))
    texts = ngrams(data.texts, 2**16)
    folds = folds_of(near_duplicates(texts), 2, np.random.default_rng(0))
    found = judged(data, cross_validated(FITS["linear"], texts, data, folds, 2**16, 0))
    assert found["toxicity"]["auc"] > 0.95
    assert found["abuse"]["auc"] > 0.93
    assert found["hate"]["auc"] > 0.75
