"""The heavy ranker: MaskNet over everything known of a viewer and a post, ten heads.

After the published configuration (the-algorithm-ml, projects/home/recap), with its sizes as
settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actors.features.inputs import Schema
from actors.features.tasks import TASKS
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.mask_net import EPS, MaskNet
from training.heavy_ranker.preprocessing import DoubleNormLog
from training.heavy_ranker.towers import Towers

if TYPE_CHECKING:
    from torchrec import EmbeddingBagCollection, KeyedJaggedTensor


class HeavyRanker(nn.Module):
    """Logits of all tasks, (n, tasks), by the name in `tasks`.

    Reads the schema's continuous and binary inputs, its embeddings, each layer-normed, and a
    row of a table for each of its discrete inputs. `n` is at least 2 in training.
    """

    def __init__(
        self,
        schema: Schema,
        settings: HeavyRankerSettings,
        collection: EmbeddingBagCollection | None = None,
    ) -> None:
        """`collection`: the tables (by `table_collection`), elsewhere than in this process."""
        super().__init__()
        self.tasks = tuple(task.name for task in TASKS)
        self.preprocessing = DoubleNormLog(
            len(schema.continuous), len(schema.binary), row_norm=settings.row_norm
        )
        self.embedding_norms = EmbeddingNorms({e.name: e.dimensions for e in schema.embeddings})
        self.tables: nn.Module | None = None
        self.table_columns = TableColumns(tuple(given.name for given in schema.discrete))
        inputs = len(schema.continuous) + len(schema.binary)
        inputs += sum(e.dimensions for e in schema.embeddings)
        if has_tables(schema, settings):
            if collection is None:
                collection = table_collection(schema, start=settings.table_start)
            self.tables = collection
            inputs += sum(given.dimensions for given in schema.discrete)
        self.mask_net = MaskNet(
            settings.form,
            inputs,
            settings.blocks,
            settings.mask_width,
            settings.block_width,
            settings.backbone,
        )
        dropouts = {task.name: task.dropout if settings.dropout else 0.0 for task in TASKS}
        self.towers = Towers(dropouts, self.mask_net.width, settings.towers)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        continuous: Tensor,
        binary: Tensor,
        embeddings: Mapping[str, Tensor],
        lookups: KeyedJaggedTensor | None,
    ) -> Tensor:
        """Logits from float32 (n, continuous), (n, binary), (n, dimensions) and table rows."""
        # No branch here depends on values: torchrec's pipeline traces this.
        h = [self.preprocessing(continuous, binary)]
        if len(self.embedding_norms):
            h.append(self.embedding_norms(embeddings))
        if self.tables is not None:
            h.append(self.table_columns(self.tables(lookups)))
        logits: Tensor = self.towers(self.mask_net(torch.cat(h, 1)))
        return logits


def has_tables(schema: Schema, settings: HeavyRankerSettings) -> bool:
    """Whether the model learns embeddings of discrete inputs."""
    return settings.tables and bool(schema.discrete)


def table_collection(
    schema: Schema, device: str = "cpu", *, start: float = 0.1
) -> EmbeddingBagCollection:
    """A table by discrete input, named as it is; `device` meta: its rows are made elsewhere.

    Rows begin within ± `start`.
    """
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig

    return EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(
                name=given.name,
                embedding_dim=given.dimensions,
                num_embeddings=given.buckets,
                feature_names=[given.name],
                weight_init_min=-start,
                weight_init_max=start,
            )
            for given in schema.discrete
        ],
        device=torch.device(device),
    )


class EmbeddingNorms(nn.ModuleDict):
    """A layer norm for each pretrained vector."""

    def __init__(self, dimensions: Mapping[str, int]) -> None:
        super().__init__({name: nn.LayerNorm(n, eps=EPS) for name, n in dimensions.items()})

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """All vectors side by side, (n, dimensions of all)."""
        return torch.cat([norm(embeddings[name]) for name, norm in self.items()], 1)


class TableColumns(nn.Module):
    """Vectors from tables side by side, in the order of the schema however they are sharded."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    def forward(self, found: Any) -> Tensor:
        """From torchrec's keyed tensor to (n, dimensions of all)."""
        vectors = found.to_dict()
        return torch.cat([vectors[name] for name in self._names], 1)
