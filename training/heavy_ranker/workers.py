"""Training by several workers: Ray Train's `TorchTrainer` around the one worker function.

Needs a Ray that this process is connected to, or starts one of its own on this machine and ends
it afterwards. A worker that dies takes its group with it; Ray Train starts a new group, which
goes on from the newest checkpoint, `max_failures` times.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster import ray_environment
from cluster.settings import Settings
from training.job import TrainingError

if TYPE_CHECKING:
    from training.heavy_ranker.train import Run


def train_on_workers(run: Run, settings: Settings) -> None:
    """Train by `run.settings.workers` workers, all of which see the folders of the run.

    Each gets a GPU and NCCL where the cluster has GPUs, and a CPU and gloo elsewhere. Raises
    `TrainingError` where training failed for good.
    """
    # Ray reads its environment when it is imported.
    ray_environment.prepare(settings)
    n_workers = run.settings.workers
    with _some_ray(n_workers):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        # Imports torchrec, which costs seconds: not before it is needed.
        from training.heavy_ranker.train import train_worker

        n_cpus = int(ray.cluster_resources().get("CPU", 0))
        if n_cpus < n_workers:
            # Ray Train would wait for them without end.
            raise TrainingError(f"{n_workers} workers need a CPU each; this Ray has {n_cpus}")
        use_gpu = ray.cluster_resources().get("GPU", 0) >= n_workers
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"run": run},
            scaling_config=ScalingConfig(num_workers=n_workers, use_gpu=use_gpu),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
            run_config=RunConfig(
                name="heavy_ranker",
                storage_path=str((run.folder / "ray").resolve()),
                failure_config=FailureConfig(max_failures=run.settings.max_failures),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise TrainingError(f"the workers of the heavy ranker failed: {error}") from error


@contextmanager
def _some_ray(n_workers: int) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        namespace="heavy_ranker",
        # One more for what coordinates them.
        num_cpus=n_workers + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
