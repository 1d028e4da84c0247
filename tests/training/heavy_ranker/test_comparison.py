from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from actors.features.tasks import TASK_NAMES
from cluster.ranker_settings import HeavyRankerSettings
from tests.training.heavy_ranker.synthetic import examples_of, schema_of, write
from training.heavy_ranker.comparison import Compared, compare
from training.heavy_ranker.evaluate import Judged
from training.heavy_ranker.example_set import ExampleSet

Floats = npt.NDArray[np.float32]
N, N_TASKS = 6, len(TASK_NAMES)
CLICK, CLICK_V2 = TASK_NAMES.index("is_good_clicked"), TASK_NAMES.index("is_good_clicked_v2")
FAVOURITE = TASK_NAMES.index("is_favorited")


def compared(
    folder: Path, probabilities: Floats, labels: Floats, light: list[float], share: float = 0.0
) -> Compared:
    """Six examples of two requests, whose light logits are given."""
    schema = schema_of()
    times_ms, viewers = np.repeat([1, 2], 3), np.repeat([7, 8], 3)
    path = write(
        folder / "a.parquet", schema, examples_of(schema, N), time_ms=times_ms, viewer_id=viewers
    )
    known, weights = np.ones((N, N_TASKS), np.float32), np.ones(N, np.float32)
    judged = Judged(probabilities, labels, known, weights, TASK_NAMES)
    examples = ExampleSet.open([path], schema)
    logits = np.array(light, np.float32)
    return compare(judged, examples, logits, {}, HeavyRankerSettings(), share)


def none() -> Floats:
    return np.zeros((N, N_TASKS), np.float32)


def test_rankings_are_by_the_score_that_serves(tmp_path: Path) -> None:
    """Of the two heads of opened conversations only the likelier counts as the first of them.

    By a plain sum, 11 · 0.3 + 0.5 · 0.9 and 10 · 0.35 would be in another order.
    """
    probabilities, labels = none(), none()
    for first in (0, 3):
        probabilities[first, CLICK], probabilities[first, FAVOURITE] = 0.3, 0.9
        probabilities[first + 1, CLICK_V2] = 0.35
        labels[first + 1, CLICK_V2] = 1
    found = compared(tmp_path, probabilities, labels, [0, 0, 1, 0, 0, 1])
    assert found.ranking["heavy_ranker"]["grouped_auc"] == 1
    assert found.ranking["light_ranker"]["grouped_auc"] == 0.25
    assert found.ranking["served"] == found.ranking["heavy_ranker"]


@pytest.mark.parametrize(
    ("share", "served"),
    # The heavy ranker puts what was favoured second of three, the light one first, then second;
    # what either puts above it the other does not, so that both together are right.
    [(0.0, 0.5), (0.3, 1.0), (0.9, 0.75), (1.0, 0.75)],
)
def test_pages_are_judged_by_the_score_of_both_rankers(
    tmp_path: Path, share: float, served: float
) -> None:
    probabilities, labels = none(), none()
    probabilities[:, FAVOURITE] = [0.4, 0.5, 0.1, 0.4, 0.5, 0.1]
    labels[[0, 3], FAVOURITE] = 1
    # Chances of 0.5, 0.27 and 0.12 on the first page, of 0.27, 0.12 and 0.5 on the second.
    light = [0.0, -1.0, -2.0, -1.0, -2.0, 0.0]
    found = compared(tmp_path, probabilities, labels, light, share)
    assert found.in_order == {
        "served": {"is_favorited": pytest.approx(served)},
        "light_ranker": {"is_favorited": pytest.approx(0.75)},
    }


def test_all_are_judged_by_what_every_ranker_can_say(tmp_path: Path) -> None:
    probabilities, labels = none(), none()
    probabilities[:, FAVOURITE] = [0.9, 0.1, 0.2, 0.3, 0.8, 0.99]
    labels[[0, 4], FAVOURITE] = 1
    nan = float("nan")
    found = compared(tmp_path, probabilities, labels, [1, 0, 0, 0, -1, nan])
    assert found.left_out == 1
    metrics = found.found["is_favorited"]
    assert (metrics["examples"], metrics["positives"], metrics["auroc"]) == (5, 2, 1.0)
    assert found.light == {"is_favorited": pytest.approx(0.5)}
    whole = compared(tmp_path, probabilities, labels, [1, 0, 0, 0, -1, 2])
    assert whole.left_out == 0
    assert whole.found["is_favorited"]["auroc"] == pytest.approx(6 / 8)
