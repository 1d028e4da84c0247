"""From examples on disk to a calibrated model and what it is worth: the whole of training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cluster.ranker_settings import HeavyRankerSettings
from cluster.settings import Settings
from training.heavy_ranker.calibration import Calibration, calibrated, fit_calibration
from training.heavy_ranker.checkpoints import Point
from training.heavy_ranker.evaluate import Judged, Metrics, evaluate
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.export import export
from training.heavy_ranker.model import HeavyRanker
from training.heavy_ranker.tensors import Batch
from training.heavy_ranker.train import Run, train_here
from training.heavy_ranker.workers import train_on_workers
from training.job import Progress, TrainingError, silent

HELD_OUT = 0.2
"""Share of examples, the latest, that are not learnt from: half to calibrate, half to judge by."""
JUDGED_AT_ONCE = 1_024
EPOCH_STEPS, SMALLEST_BATCH = 64, 64
"""A small data set is learnt from in smaller steps, down to this size, such that there are so
many in an epoch: a handful of large ones would teach nothing."""


@dataclass(frozen=True)
class Fitted:
    """A trained model, its calibration, and how it does on the latest examples."""

    model: HeavyRanker
    run: Run
    calibration: Calibration
    outcome: Judged
    """What it says of the latest examples, beside what happened."""
    evaluation: dict[str, dict[str, Metrics]]
    """As `training.heavy_ranker.evaluate.evaluate` gives it."""
    curve: tuple[Point, ...]
    judged: ExampleSet
    """What it was judged by; neither learnt from nor calibrated with."""

    def export(self, folder: Path) -> None:
        """Write it for serving."""
        export(self.model, self.run.examples.schema, self.run.settings, self.calibration, folder)


def fit(
    examples: ExampleSet,
    settings: Settings,
    ranker: HeavyRankerSettings,
    folder: Path,
    *,
    start: Path | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train in this process, or by several workers; goes on where an earlier call was cut off.

    `folder` is private to this training; `start` is the folder of an exported model whose
    weights to begin with. Raises `TrainingError` where there is too little to learn from, and
    `ValueError` for examples or a model that do not fit.
    """
    n_kept, middle = held_out_at(examples.described("time_ms"))
    fitting = max(n_kept // (ranker.workers * EPOCH_STEPS), SMALLEST_BATCH)
    ranker = ranker.model_copy(update={"batch": min(ranker.batch, fitting)})
    run = Run(folder, examples.between(0, n_kept), ranker, ranker.seed, start)
    progress("training", 0.0)
    if ranker.workers > 1:
        train_on_workers(run, settings)
    else:
        train_here(run, progress)
    model, curve = trained(run)
    progress("calibrating", 0.0)
    calibration = calibrate(model, run, examples.between(n_kept, middle))
    progress("evaluating", 0.0)
    later = examples.between(middle, len(examples))
    judged = judge(model, calibration, later)
    found = evaluate(judged, later.described("source"))
    return Fitted(model, run, calibration, judged, found, curve, later)


def held_out_at(times_ms: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Before which of examples (n,) in order of time those held out begin, and those to judge by.

    As near as can be to the shares that `HELD_OUT` tells, where one instant's examples end and
    another's begin: no request lies on both sides, and a later run begins at an instant. Raises
    `TrainingError` where examples have too few instants for that.
    """
    n = len(times_ms)
    wanted = n - round(n * HELD_OUT)
    bounds = np.flatnonzero(np.diff(times_ms)) + 1
    if len(bounds) < 2:
        raise TrainingError(
            f"{n:,} examples are of {len(bounds) + 1} instants; there must be three, to learn, to "
            "calibrate and to judge"
        )
    # The last bound is left for the second cut.
    first = _nearest(bounds[:-1], wanted)
    second = _nearest(bounds[bounds > first], (wanted + n) // 2)
    return first, second


def _nearest(bounds: npt.NDArray[np.int64], wanted: int) -> int:
    return int(bounds[np.argmin(np.abs(bounds - wanted))])


def trained(run: Run, step: int | None = None) -> tuple[HeavyRanker, tuple[Point, ...]]:
    """The model of the newest checkpoint, whole and in this process, and the curve of losses.

    With `step`, the model of the checkpoint after it.
    """
    stood = run.checkpoints.newest()
    if stood is None:
        raise FileNotFoundError(f"no checkpoint in {run.checkpoints.folder}")
    model = HeavyRanker(run.examples.schema, run.settings).eval()
    weights = model.state_dict()
    run.checkpoints.load_weights(weights, step)
    model.load_state_dict(weights)
    return model, stood.curve


def calibrate(model: HeavyRanker, run: Run, examples: ExampleSet) -> Calibration:
    """Scale and bias of every task, from examples that were not learnt from."""
    found = _logits(model, examples)
    ratio = run.sampling.ratio
    return fit_calibration(
        found.probabilities, found.labels, found.mask, found.weights, model.tasks, ratio
    )


def judge(model: HeavyRanker, calibration: Calibration, examples: ExampleSet) -> Judged:
    """Calibrated probabilities beside what happened, in time order."""
    found = _logits(model, examples)
    return replace(found, probabilities=calibrated(found.probabilities, model.tasks, calibration))


def _logits(model: HeavyRanker, examples: ExampleSet) -> Judged:
    """With logits in the place of probabilities."""
    columns: dict[str, list[npt.NDArray[Any]]] = {
        "logits": [], "labels": [], "mask": [], "weights": []
    }  # fmt: skip
    model.eval()
    for some in examples.in_order(JUDGED_AT_ONCE):
        batch = Batch.of(some, examples.schema)
        with torch.inference_mode():
            logits = model(batch.continuous, batch.binary, batch.embeddings, batch.lookups)
        columns["logits"].append(logits.numpy())
        columns["labels"].append(batch.labels.numpy())
        columns["mask"].append(batch.mask.numpy())
        columns["weights"].append(some.weights)
    logits, labels, mask, weights = (np.concatenate(parts) for parts in columns.values())
    return Judged(logits, labels, mask, weights, model.tasks)
