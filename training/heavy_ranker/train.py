"""The training loop of one worker, the same in process, on gloo's CPUs and on NCCL's GPUs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.batches import Place, ReadAhead, n_steps, stream
from training.heavy_ranker.beginning import base_rates, entropy_scales, input_statistics
from training.heavy_ranker.calibration import NegativeSampling
from training.heavy_ranker.checkpoints import Checkpoints, Stood
from training.heavy_ranker.curve import Recorder
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.export import read_weights
from training.heavy_ranker.sharded import ShardedRanker
from training.heavy_ranker.tensors import Batch
from training.job import Progress, silent


@dataclass(frozen=True)
class Run:
    """One training; checkpoints and scalars lie in `folder`, which is private to it."""

    folder: Path
    examples: ExampleSet
    settings: HeavyRankerSettings
    seed: int
    start: Path | None = None
    """An exported model of the same schema and sizes, whose weights training begins with."""

    @property
    def checkpoints(self) -> Checkpoints:
        """Of this run."""
        return Checkpoints(self.folder / "checkpoints", self.settings.checkpoints_kept)

    @property
    def sampling(self) -> NegativeSampling:
        """What is still to be left out, of the negatives that were written."""
        kept = min(1.0, self.settings.negatives_kept / self.examples.negatives_kept)
        return NegativeSampling(kept, self.settings.sampling_corrected)


def train_worker(config: Mapping[str, Any]) -> None:
    """Train as one of the workers of the process group; Ray Train calls this in each."""
    train_loop(config["run"], _device())


def train_here(run: Run, progress: Progress = silent) -> None:
    """Train as the only worker, in this process."""
    with group_of_one():
        train_loop(run, _device(), progress)


def train_loop(run: Run, device: torch.device, progress: Progress = silent) -> None:
    """Learn from the newest checkpoint, or from the start, to the end of the last epoch.

    The last checkpoint holds the result. The same run with the same number of workers gives the
    same, however often it was cut off on the way. Raises `TrainingError` where there are too
    few examples for a step, and `ValueError` for what does not fit.
    """
    settings, worker, n_workers = run.settings, dist.get_rank(), dist.get_world_size()
    # The workers of a machine share its cores among them.
    torch.set_num_threads(1)
    examples, sampling, schema = run.examples, run.sampling, run.examples.schema
    epoch_steps = n_steps(examples, sampling, settings.batch, run.seed, n_workers)
    total_steps = epoch_steps * settings.epochs
    ranker = ShardedRanker(schema, settings, run.seed, total_steps, device)
    rates = base_rates(examples, sampling)
    if settings.task_weights == "entropy":
        ranker.weigh(entropy_scales(rates))
    checkpoints = run.checkpoints
    stood = checkpoints.newest()
    if stood is not None:
        state = ranker.state()
        checkpoints.load(state, stood.step)
        ranker.restore(state, stood.step)
    else:
        stood = Stood(0, Place(), ())
        if run.start is not None:
            ranker.begin_with(read_weights(run.start, schema, settings))
        else:
            ranker.begin(input_statistics(examples), rates)
    saved, place = stood.step, stood.place
    recorder = Recorder(run.folder / "scalars", stood.step, stood.curve, settings.batch)
    found = stream(
        examples,
        sampling,
        settings.batch,
        settings.epochs,
        run.seed,
        worker,
        n_workers,
        stood.place,
    )
    batches = ReadAhead((place, Batch.of(batch, schema)) for place, batch in found)
    with closing(recorder), closing(batches):
        for place, tasks in ranker.steps(batches, stood.step):
            if recorder.took(tasks, ranker):
                progress("training", min(1.0, recorder.step / total_steps))
            if recorder.step % settings.checkpoint_steps == 0:
                recorder.add_point(ranker)
                saved = recorder.step
                checkpoints.save(ranker.state(), Stood(saved, place, tuple(recorder.curve)))
        if recorder.step > saved:
            recorder.add_point(ranker)
            checkpoints.save(ranker.state(), Stood(recorder.step, place, tuple(recorder.curve)))


def _device() -> torch.device:
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


@contextmanager
def group_of_one() -> Iterator[None]:
    """A process group of this process alone; its store is memory, so it needs no port."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    threads = torch.get_num_threads()
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)
