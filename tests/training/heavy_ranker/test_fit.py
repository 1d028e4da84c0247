from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from actors.features.tasks import TASK_NAMES
from cluster.settings import load
from tests.training.heavy_ranker.synthetic import (
    examples_of,
    on_disk,
    schema_of,
    settings_of,
    taught,
    write,
)
from training.heavy_ranker.example_set import Examples, ExampleSet
from training.heavy_ranker.fit import Fitted, fit, held_out_at, judge
from training.job import TrainingError

SCHEMA = schema_of()


def fitted(folder: Path, examples: Examples, **changed: object) -> Fitted:
    wider = {"mask_width": 32, "block_width": 32, "backbone": (64,), "towers": (32, 16)}
    settings = settings_of(
        **{"epochs": 8, "learning_rate_scale": 20.0, "table_learning_rate": 0.1, **wider, **changed}
    )
    found = on_disk(folder / "examples", SCHEMA, examples, group=1_000)
    return fit(found, load(data_dir=folder / "data"), settings, folder / "run")


@pytest.mark.parametrize("form", ["parallel", "serial"])
def test_it_learns_what_a_teacher_knows(tmp_path: Path, form: str) -> None:
    """Nearly to the AUROC of the teacher's own probabilities, which nothing can pass."""
    examples, truth = taught(examples_of(SCHEMA, 12_000))
    found = fitted(tmp_path, examples, form=form, batch=256, learning_rate_scale=30.0)
    latest = slice(len(examples) - len(found.judged), None)
    for t, task in enumerate(TASK_NAMES):
        metrics = found.evaluation["all"][task]
        best = roc_auc_score(examples.labels[latest, t], truth[latest, t])
        assert best > 0.9
        assert metrics["auroc"] > best - 0.03
        assert metrics["rce"] > 30
        assert metrics["calibration"] == pytest.approx(1, abs=0.1)


def test_rare_labels_of_sampled_negatives_come_out_calibrated(tmp_path: Path) -> None:
    """Corrected once, whichever way: the latest examples have all their negatives."""
    examples, _ = taught(examples_of(SCHEMA, 12_000), bias=-4.0)
    # One engagement alone: others would keep a negative of it in.
    examples.labels[:, 1:] = 0
    for way in ("weights", "probabilities"):
        found = fitted(
            tmp_path / way, examples, epochs=4, negatives_kept=0.3, sampling_corrected=way
        )
        metrics = found.evaluation["all"]["is_favorited"]
        assert metrics["calibration"] == pytest.approx(1, abs=0.3)
        assert metrics["auroc"] > 0.8
        _, b = found.calibration["is_favorited"]
        # Platt finds little left to correct beyond log 0.3.
        assert b == pytest.approx(np.log(0.3) if way == "probabilities" else 0, abs=1.0)


def test_labels_of_files_in_another_order_teach_the_same(tmp_path: Path) -> None:
    examples, _ = taught(examples_of(SCHEMA, 1_500))
    # Only one task can be learnt.
    examples.labels[:, 1:] = np.random.default_rng(0).integers(0, 2, (1_500, 9))
    aurocs = []
    for i, tasks in enumerate((TASK_NAMES, tuple(reversed(TASK_NAMES)))):
        folder = tmp_path / str(i)
        found = on_disk(folder / "examples", SCHEMA, examples, tasks=tasks)
        run = fit(
            found,
            load(data_dir=folder / "data"),
            settings_of(learning_rate_scale=50.0, epochs=10),
            folder / "run",
        )
        aurocs.append({task: m["auroc"] for task, m in run.evaluation["all"].items()})
    assert aurocs[0] == aurocs[1]
    assert aurocs[0]["is_favorited"] > 0.75
    assert all(0.3 < aurocs[0][task] < 0.7 for task in TASK_NAMES[1:])


def test_the_latest_examples_are_not_learnt_from(tmp_path: Path) -> None:
    examples, _ = taught(examples_of(SCHEMA, 1_000))
    found = fitted(tmp_path, examples, epochs=1)
    assert len(found.run.examples) == 800
    assert found.judged.described("weight").shape == (100,)
    assert found.evaluation["all"]["is_replied"]["examples"] == 100
    judged = judge(found.model, found.calibration, found.judged)
    np.testing.assert_array_equal(judged.labels, examples.labels[900:])
    found.export(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


def test_a_small_set_is_learnt_from_in_small_steps(tmp_path: Path) -> None:
    examples, _ = taught(examples_of(SCHEMA, 1_000))
    found = fitted(tmp_path, examples, epochs=1, batch=1_024)
    assert found.run.settings.batch == 64
    assert found.curve[-1].step == 800 // 64


def test_no_instant_is_on_both_sides_of_a_cut() -> None:
    # Ten requests of ten posts: the cuts are where they should be.
    assert held_out_at(np.repeat(np.arange(10), 10)) == (80, 90)
    # Of seven: as near as can be.
    times_ms = np.repeat(np.arange(10), 7)
    assert held_out_at(times_ms) == (56, 63)
    assert held_out_at(np.repeat([1, 2, 3], [10, 85, 5])) == (10, 95)
    assert held_out_at(np.repeat([1, 2, 3], [1, 1, 98])) == (1, 2)
    for times_ms in (np.zeros(50, np.int64), np.repeat([1, 2], 25)):
        with pytest.raises(TrainingError, match=r"50 examples are of \d instants"):
            held_out_at(times_ms)


@given(st.lists(st.integers(1, 30), min_size=3, max_size=60))
def test_cuts_are_the_nearest_there_are(sizes: list[int]) -> None:
    times_ms = np.repeat(np.arange(len(sizes)), sizes)
    first, second = held_out_at(times_ms)
    assert 0 < first < second < len(times_ms)
    assert times_ms[first - 1] < times_ms[first]
    assert times_ms[second - 1] < times_ms[second]
    bounds = np.cumsum(sizes)[:-2]
    wanted = len(times_ms) - round(0.2 * len(times_ms))
    assert abs(first - wanted) == np.abs(bounds - wanted).min()


def test_what_is_held_out_is_of_other_requests(tmp_path: Path) -> None:
    examples, _ = taught(examples_of(SCHEMA, 1_500))
    folder = tmp_path / "examples"
    folder.mkdir()
    times_ms = np.repeat(np.arange(60), 25) * 1_000
    path = write(folder / "a.parquet", SCHEMA, examples, time_ms=pa.array(times_ms))
    found = ExampleSet.open([path], SCHEMA)
    run = fit(found, load(data_dir=tmp_path / "data"), settings_of(epochs=1), tmp_path / "run")
    learnt, judged = (part.described("time_ms") for part in (run.run.examples, run.judged))
    assert learnt[-1] == 47_000
    assert judged[0] == 54_000
    assert len(judged) == len(run.outcome.weights) == 150
