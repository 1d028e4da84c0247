"""The tables divided among workers: torchrec's `DistributedModelParallel` around the model."""

import logging
import os
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from cluster.training_settings import TwhinSettings
from training.twhin.batches import Batch
from training.twhin.closed_form import closed_loss
from training.twhin.model import initial_scale, initial_translations

# torch warns, when this is imported, of what torch itself has deprecated.
with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward

# Its planner warns of topologies and of estimates, neither of which matters to a given sharding.
logging.getLogger("torchrec").setLevel(logging.ERROR)
# torchrec asks whether it is being traced, of which torch warns.
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)

MEMORY_RESERVED = 0.15
"""Share of a worker's memory that the plan leaves for batches (torchrec's own default)."""
N_COLUMN_SHARDS = 2
"""Column-wise, always so many: fewer or more would not fit the optimiser's checkpoints."""


class Twhin(nn.Module):
    """Tables and translations; a call looks a batch up and gives its loss."""

    def __init__(self, rows: dict[str, int], settings: TwhinSettings, seed: int) -> None:
        super().__init__()
        scale = initial_scale(settings.dimensions)
        self.tables = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=table,
                    embedding_dim=settings.dimensions,
                    num_embeddings=n_rows,
                    feature_names=[table],
                    weight_init_min=-scale,
                    weight_init_max=scale,
                )
                for table, n_rows in rows.items()
            ],
            device=torch.device("meta"),
        )
        self.translations = nn.Parameter(initial_translations(settings.dimensions, seed))

    def forward(self, batch: Batch, device: torch.device) -> Tensor:
        """The loss of a batch of this worker."""
        found = self.tables(lookups(batch).to(device))
        ends = found.offset_per_key()
        columns = {
            table: slice(begin, end)
            for table, begin, end in zip(found.keys(), ends, ends[1:], strict=False)
        }
        return closed_loss(found.values(), columns, self.translations, batch)


def lookups(batch: Batch) -> KeyedJaggedTensor:
    """The batch's rows as bags of one row each, packed at the front of every table's bags.

    Published code gives each edge two bags in every table, of which most are empty and
    travel all the same.
    """
    counts = [len(rows) for rows in batch.rows.values()]
    lengths = torch.zeros((len(counts), batch.stride), dtype=torch.int32)
    for some, n in zip(lengths, counts, strict=True):
        some[:n] = 1
    return KeyedJaggedTensor(
        keys=list(batch.rows),
        values=torch.from_numpy(batch.values),
        lengths=lengths.ravel(),
        stride=batch.stride,
        length_per_key=counts,
    )


class ShardedTwhin:
    """The model on this worker's device, its tables sharded over all workers.

    Needs an initialised process group. The tables' optimiser is fused into the backward pass;
    gradients of all are means over workers.
    """

    def __init__(
        self, rows: dict[str, int], settings: TwhinSettings, seed: int, device: torch.device
    ) -> None:
        self.device = device
        model = Twhin(rows, settings, seed)
        fused = RowWiseAdagrad if settings.optimiser == "adagrad" else torch.optim.SGD
        _apply_optimizer_in_backward(
            fused, model.tables.parameters(), {"lr": settings.learning_rate}
        )
        # Each worker draws its own shards' beginnings.
        torch.manual_seed(seed * 1_009 + dist.get_rank())
        sharder: Any = _Sharder(settings.sharding)
        plan = _plan(model, sharder, settings, device)
        # torchrec calls torch in a way that torch has deprecated.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            self.model = DistributedModelParallel(
                model, device=device, plan=plan, sharders=[sharder]
            )
        self._translations = [
            p for name, p in self.model.named_parameters() if name.endswith("translations")
        ]
        one = torch.optim.Adagrad if settings.optimiser == "adagrad" else torch.optim.SGD
        self.translation_optimiser: torch.optim.Optimizer = one(
            self._translations, lr=settings.learning_rate
        )

    def step(self, batch: Batch) -> Tensor:
        """Learn from a batch, together with all other workers; gives this worker's loss."""
        self.translation_optimiser.zero_grad()
        found: Tensor = self.model(batch, self.device)
        found.backward()
        self.translation_optimiser.step()
        return found.detach()

    def state(self) -> dict[str, Any]:
        """All that has to be kept, as `torch.distributed.checkpoint` takes and fills it."""
        state = {
            "model": self.model.state_dict(),
            "fused": self.model.fused_optimizer.state_dict(),
        }
        for i, p in enumerate(self._translations):
            sums = self.translation_optimiser.state.get(p, {}).get("sum")
            if sums is not None:
                state[f"translation_sums_{i}"] = sums
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state that was filled."""
        self.model.load_state_dict(state["model"])
        self.model.fused_optimizer.load_state_dict(state["fused"])


class _Sharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]
    """Allows the one way of sharding that was asked for, also row-wise on a CPU."""

    def __init__(self, sharding: str) -> None:
        super().__init__()
        self._sharding = sharding

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [self._sharding]


def _plan(model: Twhin, sharder: _Sharder, settings: TwhinSettings, device: torch.device) -> Any:
    columns = settings.sharding == "column_wise"
    constraint = ParameterConstraints(
        sharding_types=[settings.sharding],
        compute_kernels=["fused"],
        min_partition=settings.dimensions // N_COLUMN_SHARDS if columns else None,
    )
    n_workers = dist.get_world_size()
    planner = EmbeddingShardingPlanner(
        topology=Topology(
            world_size=n_workers,
            compute_device=device.type,
            # Ray Train says how many share a machine.
            local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", n_workers)),
        ),
        storage_reservation=FixedPercentageStorageReservation(MEMORY_RESERVED),
        constraints={config.name: constraint for config in model.tables.embedding_bag_configs()},
    )
    return planner.collective_plan(model, [sharder], dist.group.WORLD)
