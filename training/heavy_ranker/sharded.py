"""The model on one worker: dense parts the same on all, tables divided, by torchrec."""

import logging
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from math import isfinite, log, log1p
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.train_pipeline import TrainPipelineBase, TrainPipelineSparseDist
from torchrec.distributed.types import ShardingPlan
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from actors.features.inputs import Schema
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.batches import Place
from training.heavy_ranker.beginning import Doubles, InputStatistics
from training.heavy_ranker.loss import MultiTaskLoss
from training.heavy_ranker.model import HeavyRanker, has_tables, table_collection
from training.heavy_ranker.optimisers import RampedAdam
from training.heavy_ranker.tensors import Batch

# torch warns, when this is imported, of what torch itself has deprecated.
with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward

# Its planner warns of topologies and of estimates, neither of which matters here.
logging.getLogger("torchrec").setLevel(logging.ERROR)
# torchrec asks whether it is being traced, of which torch warns.
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)

MEMORY_RESERVED = 0.15
"""Share of a worker's memory that the plan leaves for batches (torchrec's own default)."""
PLANNED = ["table_wise", "row_wise"]
"""What the planner chooses from: the optimiser's checkpoints fit any number of workers only
where every row is whole."""
N_COLUMN_SHARDS = 2
"""Column-wise, always so many: fewer or more would not fit the optimiser's checkpoints."""


class Learner(nn.Module):
    """The model and its loss, as one module: what a training pipeline takes."""

    def __init__(self, ranker: HeavyRanker) -> None:
        super().__init__()
        self.ranker = ranker
        self.loss = MultiTaskLoss()

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a worker's batch, and that of each task."""
        logits = self.ranker(batch.continuous, batch.binary, batch.embeddings, batch.lookups)
        found: tuple[Tensor, Tensor] = self.loss(logits, batch.labels, batch.mask, batch.weights)
        return found


class ShardedRanker:
    """The model on this worker's device, with its optimisers.

    Needs an initialised process group. Dense parts are data-parallel, and their gradients means
    over workers; the tables' optimiser is fused into the backward pass.
    """

    def __init__(
        self,
        schema: Schema,
        settings: HeavyRankerSettings,
        seed: int,
        total_steps: int,
        device: torch.device,
        *,
        pipelined: bool | None = None,
    ) -> None:
        """`pipelined`: overlap a step with the copy and lookups of the next; None: on a GPU."""
        self.device, self._seed = device, seed
        self._pipelined = device.type == "cuda" if pipelined is None else pipelined
        self._drops = settings.dropout
        torch.manual_seed(seed)
        self._with_tables = has_tables(schema, settings)
        # With dense parts the same everywhere, each worker draws its own shards' beginnings.
        tables = None
        if self._with_tables:
            tables = table_collection(schema, "meta", start=settings.table_start)
        learner = Learner(HeavyRanker(schema, settings, tables))
        torch.manual_seed(_drawn(seed, 0))
        sharder: Any = _Sharder(settings.sharding)
        plan = ShardingPlan({})
        if tables is not None:
            rate = {"lr": settings.table_learning_rate}
            _apply_optimizer_in_backward(RowWiseAdagrad, tables.parameters(), rate)
            plan = _plan(learner, sharder, tables, settings, device)
        # torchrec calls torch in a way that torch has deprecated.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            self.model = DistributedModelParallel(
                learner, device=device, plan=plan, sharders=[sharder]
            )
        dense = [
            (name.rpartition("ranker.")[2], parameter)
            for name, parameter in self.model.named_parameters()
            if ".tables." not in name
        ]
        self.optimiser = RampedAdam(
            dense,
            settings.learning_rate_scale,
            total_steps,
            alike=settings.tower_rates == "backbone",
            decays=settings.learning_rate_decay == "linear",
        )

    def weigh(self, scales: npt.NDArray[np.float32]) -> None:
        """What each task counts in the loss, (tasks,); 1 until told otherwise."""
        self.model.module.loss.scales = torch.from_numpy(scales).to(self.device)

    @torch.no_grad()
    def begin(self, inputs: InputStatistics, rates: Doubles) -> None:
        """Begin with what is known of the examples: all workers call this with the same.

        Continuous inputs are normed by their statistics, and every task predicts its base rate;
        of a task whose rate is no number nothing is changed.
        """
        ranker: HeavyRanker = self.model.module.ranker
        norm = ranker.preprocessing.input_norm
        norm.running_mean.copy_(torch.from_numpy(inputs.mean))
        norm.running_var.copy_(torch.from_numpy(inputs.variance))
        for task, rate in zip(ranker.tasks, rates.tolist(), strict=True):
            if isfinite(rate):
                last: Any = ranker.towers.layers[task][-1]  # type: ignore[index]
                last.weight.zero_()
                last.bias.fill_(log(rate) - log1p(-rate))

    def steps(
        self, batches: Iterator[tuple[Place, Batch]], done: int
    ) -> Iterator[tuple[Place, Tensor]]:
        """Learn batch by batch, together with all other workers, after `done` steps.

        Gives the place after each batch, and each task's loss of this worker, (tasks,).
        """
        self.model.train()
        if self._pipelined:
            yield from self._pipelined_steps(batches, done)
            return
        for step, (place, batch) in enumerate(batches, done + 1):
            self._begin(step)
            self.optimiser.adam.zero_grad()
            loss, tasks = self.model(batch.to(self.device))
            loss.backward()
            self.optimiser.adam.step()
            yield place, tasks

    def _pipelined_steps(
        self, batches: Iterator[tuple[Place, Batch]], done: int
    ) -> Iterator[tuple[Place, Tensor]]:
        places: deque[Place] = deque()

        def told() -> Iterator[Batch]:
            for place, batch in batches:
                places.append(place)
                yield batch.pin_memory() if self.device.type == "cuda" else batch

        kind = TrainPipelineSparseDist if self._with_tables else TrainPipelineBase
        pipeline = kind(self.model, self.optimiser.adam, self.device)
        source, step = told(), done
        while True:
            step += 1
            self._begin(step)
            try:
                tasks = pipeline.progress(source)
            except StopIteration:
                return
            yield places.popleft(), tasks

    def _begin(self, step: int) -> None:
        self.optimiser.begin(step)
        if self._drops:
            # By step, so that training which was cut off goes on as if it had not been.
            torch.manual_seed(_drawn(self._seed, step))

    def state(self) -> dict[str, Any]:
        """All that has to be kept, as `torch.distributed.checkpoint` takes and fills it."""
        return {
            "model": self.model.state_dict(),
            "fused": self.model.fused_optimizer.state_dict(),
            "adam": self.optimiser.state(),
        }

    def restore(self, state: dict[str, Any], step: int) -> None:
        """Take over a state that was filled, of after a step."""
        self.model.load_state_dict(state["model"])
        self.model.fused_optimizer.load_state_dict(state["fused"])
        self.optimiser.resumed(step)

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with an earlier model's weights, by their names in `HeavyRanker`."""
        state = self.model.state_dict()
        for name, own in state.items():
            given = weights[name.removeprefix("ranker.")]
            if not hasattr(own, "local_shards"):
                own.copy_(given)
                continue
            for shard in own.local_shards():
                part = given
                at = zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes, strict=True)
                for dimension, (offset, size) in enumerate(at):
                    part = part.narrow(dimension, offset, size)
                shard.tensor.copy_(part)
        self.model.load_state_dict(state)


class _Sharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]
    """Allows the ways of sharding that were asked for, also row-wise on a CPU."""

    def __init__(self, sharding: str) -> None:
        super().__init__()
        self.allowed = PLANNED if sharding == "planned" else [sharding]

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return self.allowed


def _plan(
    learner: Learner,
    sharder: _Sharder,
    tables: Any,
    settings: HeavyRankerSettings,
    device: torch.device,
) -> Any:
    columns = settings.sharding == "column_wise"
    n_workers = dist.get_world_size()
    planner = EmbeddingShardingPlanner(
        topology=Topology(
            world_size=n_workers,
            compute_device=device.type,
            # Ray Train says how many share a machine.
            local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", n_workers)),
        ),
        batch_size=settings.batch,
        storage_reservation=FixedPercentageStorageReservation(MEMORY_RESERVED),
        constraints={
            config.name: ParameterConstraints(
                sharding_types=sharder.allowed,
                compute_kernels=["fused"],
                min_partition=config.embedding_dim // N_COLUMN_SHARDS if columns else None,
            )
            for config in tables.embedding_bag_configs()
        },
    )
    return planner.collective_plan(learner, [sharder], dist.group.WORLD)


def _drawn(seed: int, step: int) -> int:
    """A seed for a step of this worker."""
    return (seed * 1_000_003 + step) * 1_009 + dist.get_rank()
