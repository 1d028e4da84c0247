"""Training by several workers: Ray Train's `TorchTrainer` around the one worker function.

Needs a Ray that this process is connected to, or starts one of its own on this machine and ends
it afterwards. A worker that dies takes its group with it; Ray Train starts a new group, which
goes on from the newest checkpoint, `max_failures` times.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import ray_environment
from cluster.settings import Settings
from cluster.training_settings import TwhinSettings
from training.job import TrainingError


def train_on_workers(folder: Path, settings: Settings, twhin: TwhinSettings, seed: int) -> None:
    """Train `twhin.workers` workers on the edges in a folder that all of them see.

    Each gets a GPU and NCCL where the cluster has GPUs, and a CPU and gloo elsewhere. Raises
    `TrainingError` where training failed for good.
    """
    # Ray reads its environment when it is imported.
    ray_environment.prepare(settings)
    with _some_ray(twhin.workers):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        # Imports torchrec, which costs seconds: not before it is needed.
        from training.twhin.train import configuration, train_worker

        n_cpus = int(ray.cluster_resources().get("CPU", 0))
        if n_cpus < twhin.workers:
            # Ray Train would wait for them without end.
            raise TrainingError(f"{twhin.workers} workers need a CPU each; this Ray has {n_cpus}")
        use_gpu = ray.cluster_resources().get("GPU", 0) >= twhin.workers
        trainer = TorchTrainer(
            train_worker,
            train_loop_config=configuration(folder, twhin, seed),
            scaling_config=ScalingConfig(num_workers=twhin.workers, use_gpu=use_gpu),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
            run_config=RunConfig(
                name="twhin",
                storage_path=str((folder / "ray").resolve()),
                failure_config=FailureConfig(max_failures=twhin.max_failures),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise TrainingError(f"the workers of TwHIN failed: {error}") from error


@contextmanager
def _some_ray(n_workers: int) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        namespace="twhin",
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
