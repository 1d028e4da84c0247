import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.heavy_ranker.evaluate import Judged, by_task, evaluate, task_metrics


def metrics(p: list[float], labels: list[int], weights: list[float] | None = None) -> dict:  # type: ignore[type-arg]
    return task_metrics(
        np.array(p, np.float32),
        np.array(labels, bool),
        np.array(weights or [1.0] * len(p), np.float32),
    )


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_rce_is_what_is_gained_over_the_mean_label() -> None:
    found = metrics([0.8, 0.2, 0.4], [1, 0, 0])
    ce = -(math.log(0.8) + math.log(0.8) + math.log(0.6)) / 3
    assert found["rce"] == pytest.approx(100 * (1 - ce / entropy(1 / 3)), abs=1e-4)
    assert found["calibration"] == pytest.approx((1.4 / 3) / (1 / 3))
    assert (found["examples"], found["positives"]) == (3, 1)
    # Scaled by the mean label over the mean prediction.
    s = 1 / 1.4
    ce = -(math.log(0.8 * s) + math.log(1 - 0.2 * s) + math.log(1 - 0.4 * s)) / 3
    assert found["nrce"] == pytest.approx(100 * (1 - ce / entropy(1 / 3)), abs=1e-4)


def test_a_constant_gains_nothing_and_a_wrong_one_loses_what_nrce_gives_back() -> None:
    right = metrics([0.25] * 4, [1, 0, 0, 0])
    assert [right[name] for name in ("rce", "nrce", "calibration")] == pytest.approx([0, 0, 1])
    wrong = metrics([0.5] * 4, [1, 0, 0, 0])
    assert wrong["rce"] < -20
    assert wrong["nrce"] == pytest.approx(0, abs=1e-4)
    assert wrong["calibration"] == pytest.approx(2)
    assert wrong["auroc"] == 0.5


def test_certain_and_wrong_costs_much_but_not_without_end() -> None:
    found = metrics([0.0, 1.0], [1, 0])
    assert found["auroc"] == 0
    assert -100 * 30 < found["rce"] < -100 * 20


def test_a_weight_counts_an_example_so_many_times() -> None:
    weighted = metrics([0.9, 0.4, 0.3], [1, 0, 1], [1, 3, 2])
    repeated = metrics([0.9, 0.4, 0.4, 0.4, 0.3, 0.3], [1, 0, 0, 0, 1, 1])
    for name in ("auroc", "rce", "nrce", "calibration"):
        assert weighted[name] == pytest.approx(repeated[name])


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans(), st.integers(1, 3)),
        min_size=2,
        max_size=12,
    )
)
def test_auroc_counts_pairs_and_ties_by_half(rows: list[tuple[float, bool, int]]) -> None:
    found = metrics(*map(list, zip(*rows, strict=True)))  # type: ignore[arg-type]
    won = total = 0.0
    for p, positive, w in rows:
        for q, other, v in rows:
            if positive and not other:
                total += w * v
                won += w * v * (1.0 if p > q else 0.5 if p == q else 0.0)
    if total:
        assert found["auroc"] == pytest.approx(won / total)
    else:
        assert found["auroc"] is None


def test_by_task_and_by_source_of_known_labels_only() -> None:
    rng = np.random.default_rng(0)
    n = 60
    judged = Judged(
        probabilities=rng.random((n, 2)).astype(np.float32),
        labels=rng.integers(0, 2, (n, 2)).astype(np.float32),
        mask=rng.integers(0, 2, (n, 2)).astype(np.float32),
        weights=np.ones(n, np.float32),
        tasks=("a", "b"),
    )
    sources = np.array(["graph", "clusters", None] * 20, object)
    found = evaluate(judged, sources)
    assert found.keys() == {"all", "source clusters", "source graph"}
    assert found["all"]["b"]["examples"] == judged.mask[:, 1].sum()
    of_graph = by_task(judged.take(np.arange(0, n, 3)))
    assert found["source graph"] == of_graph
    known = judged.mask[:, 0] > 0
    expected = task_metrics(
        judged.probabilities[known, 0], judged.labels[known, 0] > 0, judged.weights[known]
    )
    assert found["all"]["a"] == expected


def test_what_never_happened_has_no_metrics() -> None:
    found = metrics([0.5, 0.1], [0, 0])
    assert found == {
        "examples": 2, "positives": 0,
        "auroc": None, "rce": None, "nrce": None, "calibration": None,
    }  # fmt: skip
