from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from actors.features.tasks import TASK_NAMES
from cluster.settings import load
from tests.training.heavy_ranker.synthetic import (
    examples_of,
    on_disk,
    schema_of,
    settings_of,
    taught,
)
from training.heavy_ranker.example_set import Examples
from training.heavy_ranker.fit import Fitted, fit, judge

SCHEMA = schema_of()


def fitted(folder: Path, examples: Examples, **given: object) -> Fitted:
    wider = {"mask_width": 32, "block_width": 32, "backbone": (64,), "towers": (32, 16)}
    settings = settings_of(
        **{"epochs": 8, "learning_rate_scale": 20.0, "table_learning_rate": 0.1, **wider, **given}
    )
    found = on_disk(folder / "examples", SCHEMA, examples, group=1_000)
    return fit(found, load(data_dir=folder / "data"), settings, folder / "run")


@pytest.mark.parametrize("form", ["parallel", "serial"])
def test_it_learns_what_a_teacher_knows(tmp_path: Path, form: str) -> None:
    """Nearly to the AUROC of the teacher's own probabilities, which nothing can pass."""
    examples, truth = taught(examples_of(SCHEMA, 12_000))
    found = fitted(tmp_path, examples, form=form)
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
