"""The training loop of one worker, the same in process, on gloo's CPUs and on NCCL's GPUs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from cluster.training_settings import TwhinSettings
from training.job import Progress, silent
from training.twhin.batches import Place, stream
from training.twhin.checkpoints import Checkpoints, Curve
from training.twhin.edges import Edges, open_edges
from training.twhin.sharded import ShardedTwhin

CURVE_STEPS = 50
"""Steps of which the curve has the mean loss."""


def train_worker(config: Mapping[str, Any]) -> None:
    """Train as one of the workers of the process group; Ray Train calls this in each."""
    settings = TwhinSettings(**config["settings"])
    train_loop(Path(config["folder"]), settings, config["seed"], _device())


def train_here(
    folder: Path, settings: TwhinSettings, seed: int, progress: Progress = silent
) -> None:
    """Train as the only worker, in this process."""
    with group_of_one():
        train_loop(folder, settings, seed, _device(), progress)


def train_loop(
    folder: Path,
    settings: TwhinSettings,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> None:
    """Learn from the newest checkpoint, or from the start, to the end of the last epoch.

    The last checkpoint holds the result. The same edges, settings, seed and number of workers
    give the same, however often training was cut off on the way.
    """
    # The workers of a machine share its cores among them.
    torch.set_num_threads(1)
    edges = open_edges(folder / "edges")
    rows = {table: n for table, n in edges.rows.items() if n}
    sharded = ShardedTwhin(rows, settings, seed, device)
    checkpoints = Checkpoints(folder / "checkpoints", settings.checkpoints_kept)
    step, place, curve = _resume(sharded, checkpoints)
    saved = step
    losses: list[torch.Tensor] = []
    batches = stream(edges, settings, seed, dist.get_rank(), dist.get_world_size(), place)
    for place, batch in batches:
        losses.append(sharded.step(batch))
        step += 1
        if step % CURVE_STEPS == 0:
            curve.append((place.epoch, place.edge, _mean_over_workers(losses)))
            losses = []
            progress("training", _share_done(place, edges, settings))
        if step % settings.checkpoint_steps == 0:
            checkpoints.save(sharded.state(), step, place, curve)
            saved = step
    if step > saved:
        if losses:
            curve.append((place.epoch, place.edge, _mean_over_workers(losses)))
        checkpoints.save(sharded.state(), step, place, curve)


def _resume(sharded: ShardedTwhin, checkpoints: Checkpoints) -> tuple[int, Place, Curve]:
    found = checkpoints.newest()
    if found is None:
        return 0, Place(), []
    step, place, curve = found
    state = sharded.state()
    checkpoints.load(state, step)
    sharded.restore(state)
    return step, place, curve


def _mean_over_workers(losses: list[torch.Tensor]) -> float:
    mean = torch.stack(losses).mean()
    dist.all_reduce(mean)
    return float(mean) / dist.get_world_size()


def _share_done(place: Place, edges: Edges, settings: TwhinSettings) -> float:
    return min(1.0, (place.epoch + place.edge / edges.n_edges) / settings.epochs)


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
