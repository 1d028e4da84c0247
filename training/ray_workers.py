"""Training by several workers: Ray Train's `TorchTrainer` around a worker function.

Needs a Ray that this process is connected to, or starts one of its own on this machine and ends
it afterwards. A worker that dies takes its group with it; Ray Train starts a new group, which
goes on from the newest checkpoint.
"""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import ray_environment
from cluster.settings import Settings
from training.job import TrainingError


@dataclass(frozen=True)
class Workers:
    """How many train what, and how often they are replaced."""

    name: str
    """Of the model."""
    module: str
    """Which has the worker function as `train_worker`; imported late, since it brings torchrec
    along, which costs seconds."""
    count: int
    max_failures: int
    """Times that lost workers are replaced and training resumes from its last checkpoint."""


def run_workers(workers: Workers, config: dict[str, Any], folder: Path, settings: Settings) -> None:
    """Train with a `config` for each worker, all of which see `folder`.

    Each gets a GPU and NCCL where the cluster has GPUs, and a CPU and gloo elsewhere. Raises
    `TrainingError` where training failed for good.
    """
    # Ray reads its environment when it is imported.
    ray_environment.prepare(settings)
    with _some_ray(workers):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        n_cpus = int(ray.cluster_resources().get("CPU", 0))
        if n_cpus < workers.count:
            # Ray Train would wait for them without end.
            raise TrainingError(f"{workers.count} workers need a CPU each; this Ray has {n_cpus}")
        use_gpu = ray.cluster_resources().get("GPU", 0) >= workers.count
        trainer = TorchTrainer(
            importlib.import_module(workers.module).train_worker,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=workers.count, use_gpu=use_gpu),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
            run_config=RunConfig(
                name=workers.name,
                storage_path=str((folder / "ray").resolve()),
                failure_config=FailureConfig(max_failures=workers.max_failures),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise TrainingError(f"the workers of {workers.name} failed: {error}") from error


@contextmanager
def _some_ray(workers: Workers) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        namespace=workers.name,
        # One more for what coordinates them.
        num_cpus=workers.count + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
