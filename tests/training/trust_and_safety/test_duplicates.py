import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.features.safety_ngrams import ngrams
from training.trust_and_safety.duplicates import folds_of, near_duplicates

BASE = "the old gardener of our street waters all of his tomatoes long before breakfast"


def test_near_copies_share_a_group_and_others_do_not() -> None:
    texts = [
        BASE,
        BASE.upper() + " !!",
        BASE + " today",
        "nobody knows why the ferry was late, least of all its captain",
        BASE.replace("tomatoes", "t0matoes"),
        "a short one",
        "",
    ]
    groups = near_duplicates(ngrams(texts, 2**18))
    assert groups[0] == groups[1] == groups[2] == groups[4]
    assert len({groups[0], groups[3], groups[5], groups[6]}) == 4


def test_texts_that_share_a_few_words_stay_apart() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(60)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(300)]
    assert len(np.unique(near_duplicates(ngrams(texts, 2**18)))) > 290


@given(st.lists(st.integers(0, 20), min_size=1, max_size=80), st.integers(2, 6), st.integers(0, 9))
def test_no_group_is_cut_and_folds_are_about_equal(
    members: list[int], n_folds: int, seed: int
) -> None:
    groups = np.unique(members, return_inverse=True)[1].astype(np.int64)
    folds = folds_of(groups, n_folds, np.random.default_rng(seed))
    assert folds.min() >= 0
    assert folds.max() < n_folds
    for group in range(groups.max() + 1):
        assert len(np.unique(folds[groups == group])) == 1
    largest = np.bincount(groups).max()
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.max() <= len(groups) / n_folds + largest
