"""The encoder's regressions keep to their folds, and its speed is counted by hand."""

import numpy as np

from benchmarks.safety_encoder import cross_validated, speed
from training.trust_and_safety.labelled import UNKNOWN

FOLDS = np.repeat(np.arange(2), 40)
SIDES = np.tile([1.0, -1.0], 40)
EMBEDDINGS = np.stack([SIDES, np.zeros(80), np.ones(80)], axis=1).astype(np.float32)
TRUTHS = (SIDES > 0).astype(np.int8)


def test_each_label_is_learned_from_the_texts_of_which_it_is_known() -> None:
    values = np.stack([TRUTHS, 1 - TRUTHS], axis=1)
    values[::3, 1] = UNKNOWN
    logits = cross_validated(EMBEDDINGS, values, FOLDS)
    assert (logits > 0).astype(int).tolist() == np.stack([TRUTHS, 1 - TRUTHS], axis=1).tolist()


def test_a_text_is_judged_by_what_the_other_folds_say() -> None:
    values = np.where(FOLDS == 0, TRUTHS, 1 - TRUTHS)[:, None].astype(np.int8)
    logits = cross_validated(EMBEDDINGS, values, FOLDS)
    assert (logits[:, 0] > 0).tolist() == (values[:, 0] == 0).tolist()


def test_posts_a_second_are_of_a_thread_s_own_time_and_of_the_clock_s() -> None:
    runs = [
        {"texts": 100, "threads": 1, "seconds": 4.0, "cpu_seconds": 2.0},
        {"texts": 600, "threads": 2, "seconds": 5.0, "cpu_seconds": 6.0},
    ]
    assert speed(runs) == {
        "posts_per_s_in_batches_of_2048": 50,
        "posts_per_s_in_batches_of_2048_by_the_clock": 25,
        "posts_per_s_in_batches_of_2048_on_2_threads": 200,
        "posts_per_s_in_batches_of_2048_on_2_threads_by_the_clock": 120,
    }
