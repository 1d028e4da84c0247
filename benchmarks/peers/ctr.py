"""Click models of FuxiCTR on rows in a file: ParallelMaskNet and DeepFM, one model a task.

Runs in the peers' own environment and imports nothing of the project; README.md says what the
files hold. Embeddings, factorization machine, layers, regularisers, optimiser and the training
loop with its early stopping are FuxiCTR's. The package has no ranking models but its base class,
so the two are put together here of its parts, as their papers say (Wang et al. 2021 with the
norms of the paper's parallel form; Guo et al. 2017).
"""

import argparse
import json
import logging
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from torch import nn

PARTS = ("learn", "choose", "judge")
JUDGED_AT_ONCE = 8_192


def main() -> None:
    """Train a model for every configuration and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=MODELS)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--configurations", required=True, help="JSON: a list of objects")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    with np.load(arguments.rows, allow_pickle=False) as file:
        rows = dict(file)
    found, told = [], []
    for given in json.loads(arguments.configurations):
        predictions, said = trained(MODELS[arguments.command], rows, given)
        found.append(predictions)
        told.append({**given, **said})
    np.save(arguments.out, np.stack(found))
    print(json.dumps({"command": arguments.command, "runs": told}))


def trained(
    kind: type["Timed"], rows: dict[str, np.ndarray], given: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Probabilities of the rows not learnt from, (n,), by the best epoch of one model."""
    task = rows["tasks"].tolist().index(given["task"])
    seed_everything(given["seed"])
    with tempfile.TemporaryDirectory() as folder:
        rows = bucketed(rows) if given["numbers"] == "buckets" else rows
        features = _feature_map(rows, given["task"], folder)
        (Path(folder) / features.dataset_id).mkdir()
        model = kind(
            features,
            embedding_dim=given["dimensions"],
            learning_rate=given["learning_rate"],
            net_dropout=given["dropout"],
            embedding_regularizer=given["table_l2"],
            optimizer="adam",
            loss="binary_crossentropy",
            task="binary_classification",
            metrics=["AUC", "logloss"],
            monitor="AUC",
            monitor_mode="max",
            early_stop_patience=given["patience"],
            verbose=0,
            model_root=folder,
        )
        batches = {part: Batches(rows, features, task, part, given["batch"]) for part in PARTS}
        model.fit(batches["learn"], epochs=given["epochs"], validation_data=batches["choose"])
    seconds = model.ended_s - model.began_s - model.validation_s
    n_learnt = model.steps * given["batch"]
    predictions = np.concatenate([model.predict(batches[part]) for part in PARTS[1:]])
    return predictions, {
        "epochs_taken": model.epochs_taken,
        "best_auc": model.best_metric,
        "seconds": round(seconds, 3),
        "examples_per_s": round(n_learnt / seconds, 1),
        "step_examples_per_s": round(n_learnt / model.steps_s, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def bucketed(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With codes in the place of numbers: their quantiles, as click models often have them."""
    return {
        **rows,
        "numbers": rows["numbers"][:, :0],
        "number_names": rows["number_names"][:0],
        "codes": np.concatenate([rows["codes"], rows["buckets"]], 1),
        "n_codes": np.concatenate([rows["n_codes"], rows["buckets"].max(0) + 1]),
        "code_names": np.concatenate([rows["code_names"], rows["number_names"]]),
    }


class Timed(BaseModel):
    """FuxiCTR's training, with a clock: validation is not training."""

    def fit(self, *given: Any, **named: Any) -> None:
        """As it is."""
        self.began_s, self.validation_s, self.epochs_taken = time.perf_counter(), 0.0, 0
        self.steps, self.steps_s = 0, 0.0
        super().fit(*given, **named)
        self.ended_s, self.best_metric = time.perf_counter(), float(self._best_metric)

    def train_step(self, batch_data: dict[str, torch.Tensor]) -> torch.Tensor:
        """As it is."""
        began_s = time.perf_counter()
        loss = super().train_step(batch_data)
        self.steps_s += time.perf_counter() - began_s
        self.steps += 1
        return loss

    def eval_step(self) -> None:
        """As it is."""
        began_s = time.perf_counter()
        super().eval_step()
        self.validation_s += time.perf_counter() - began_s
        self.epochs_taken += 1


class ParallelMaskNet(Timed):
    """Mask blocks side by side under an MLP."""

    BLOCKS, WIDTH, HIDDEN = 4, 128, (256, 64)
    """As many and as wide as the model that it is compared with."""

    def __init__(
        self, features: FeatureMap, *, embedding_dim: int, learning_rate: float,
        net_dropout: float, **named: Any,
    ) -> None:  # fmt: skip
        super().__init__(features, model_id="ParallelMaskNet", **named)
        self.embedding_layer = FeatureEmbedding(features, embedding_dim)
        self.norms = nn.ModuleList(nn.LayerNorm(embedding_dim) for _ in range(features.num_fields))
        width = features.num_fields * embedding_dim
        self.masks = nn.ModuleList(
            MLP_Block(width, hidden_units=[self.WIDTH], output_dim=width)
            for _ in range(self.BLOCKS)
        )
        self.hidden = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, self.WIDTH, bias=False),
                nn.LayerNorm(self.WIDTH),
                nn.ReLU(),
                nn.Dropout(net_dropout),
            )
            for _ in range(self.BLOCKS)
        )
        self.above = MLP_Block(
            self.BLOCKS * self.WIDTH,
            hidden_units=list(self.HIDDEN),
            output_dim=1,
            output_activation=self.output_activation,
            dropout_rates=net_dropout,
        )
        self.compile(named["optimizer"], named["loss"], learning_rate)
        self.reset_parameters()

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Probabilities by FuxiCTR's name for them."""
        fields = self.embedding_layer(self.get_inputs(inputs))
        normed = [norm(fields[:, i]) for i, norm in enumerate(self.norms)]
        h, x = fields.flatten(1), torch.cat(normed, 1)
        blocks = [hidden(x * mask(h)) for mask, hidden in zip(self.masks, self.hidden, strict=True)]
        return {"y_pred": self.above(torch.cat(blocks, 1))}


class DeepFM(Timed):
    """A factorization machine and an MLP, added."""

    HIDDEN = (256, 128, 64)

    def __init__(
        self, features: FeatureMap, *, embedding_dim: int, learning_rate: float,
        net_dropout: float, **named: Any,
    ) -> None:  # fmt: skip
        super().__init__(features, model_id="DeepFM", **named)
        self.embedding_layer = FeatureEmbedding(features, embedding_dim)
        self.fm = FactorizationMachine(features)
        self.mlp = MLP_Block(
            features.num_fields * embedding_dim,
            hidden_units=list(self.HIDDEN),
            output_dim=1,
            dropout_rates=net_dropout,
        )
        self.compile(named["optimizer"], named["loss"], learning_rate)
        self.reset_parameters()

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Probabilities by FuxiCTR's name for them."""
        given = self.get_inputs(inputs)
        fields = self.embedding_layer(given)
        logits = self.fm(given, fields) + self.mlp(fields.flatten(1))
        return {"y_pred": self.output_activation(logits)}


class Batches:
    """Batches of one part of the rows, from memory: columns and the label by name.

    FuxiCTR's own loaders put batches together row by row, which takes longer than learning.
    """

    def __init__(
        self, rows: dict[str, np.ndarray], features: FeatureMap, task: int, part: str, batch: int
    ) -> None:
        bounds = [0, *rows["cuts"].tolist(), len(rows["labels"])]
        at = PARTS.index(part)
        own = slice(bounds[at], bounds[at + 1])
        self._learns = part == "learn"
        self._batch = batch if self._learns else JUDGED_AT_ONCE
        self._numbers = torch.from_numpy(rows["numbers"][own])
        self._codes = torch.from_numpy(rows["codes"][own])
        self._labels = torch.from_numpy(rows["labels"][own, task].astype(np.float32))
        self._names = list(features.features)
        self._label = features.labels[0]

    def __len__(self) -> int:
        n = len(self._labels)
        # A last batch of a few rows would weigh as much as a whole one.
        return n // self._batch if self._learns else -(-n // self._batch)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        n = len(self._labels)
        order = torch.randperm(n) if self._learns else torch.arange(n)
        for rows in order.split(self._batch)[: len(self)]:
            columns = [*self._numbers[rows].unbind(1), *self._codes[rows].unbind(1)]
            yield {**dict(zip(self._names, columns, strict=True)), self._label: self._labels[rows]}


def _feature_map(rows: dict[str, np.ndarray], task: str, folder: str) -> FeatureMap:
    features = FeatureMap("rows", folder)
    numbers: dict[str, Any] = {
        name: {"type": "numeric", "source": ""} for name in rows["number_names"].tolist()
    }
    codes: dict[str, Any] = {
        name: {"type": "categorical", "source": "", "vocab_size": n}
        for name, n in zip(rows["code_names"].tolist(), rows["n_codes"].tolist(), strict=True)
    }
    features.features = OrderedDict({**numbers, **codes})
    features.labels = [task]
    features.num_fields = features.get_num_fields()
    return features


MODELS: dict[str, type[Timed]] = {"parallel-masknet": ParallelMaskNet, "deepfm": DeepFM}

if __name__ == "__main__":
    main()
