"""TwHIN's training by several workers of Ray Train."""

from pathlib import Path

from cluster.settings import Settings
from cluster.training_settings import TwhinSettings
from training.ray_workers import Workers, run_workers


def train_on_workers(folder: Path, settings: Settings, twhin: TwhinSettings, seed: int) -> None:
    """Train `twhin.workers` workers on the edges in a folder that all of them see.

    Raises as `run_workers`.
    """
    workers = Workers("twhin", "training.twhin.train", twhin.workers, twhin.max_failures)
    # What a worker is told, as `train_worker` reads it.
    config = {"folder": str(folder), "settings": twhin.model_dump(), "seed": seed}
    run_workers(workers, config, folder, settings)
