"""The heavy ranker's training by several workers of Ray Train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.settings import Settings
from training.ray_workers import Workers, run_workers

if TYPE_CHECKING:
    from training.heavy_ranker.train import Run

_MODULE = "training.heavy_ranker.train"


def train_on_workers(run: Run, settings: Settings) -> None:
    """Train by `run.settings.workers` workers, all of which see the folders of the run.

    Raises as `run_workers`.
    """
    ranker = run.settings
    workers = Workers("heavy_ranker", _MODULE, ranker.workers, ranker.max_failures)
    run_workers(workers, {"run": run}, run.folder, settings)
