"""A batch as the model takes it: tensors, and rows of tables as torchrec's bags of one row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchrec import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from actors.features.inputs import Schema
from training.heavy_ranker.example_set import Examples
from training.heavy_ranker.hashing import table_rows


@dataclass
class Batch(Pipelineable):  # type: ignore[misc]
    """Of n examples; torchrec's training pipeline moves it to a device."""

    continuous: Tensor
    binary: Tensor
    embeddings: dict[str, Tensor]
    lookups: KeyedJaggedTensor
    """One row by example of the table of each discrete input."""
    labels: Tensor
    mask: Tensor
    weights: Tensor

    @classmethod
    def of(cls, examples: Examples, schema: Schema) -> "Batch":
        """On the CPU."""
        return cls(
            _tensor(examples.continuous),
            _tensor(examples.binary).float(),
            {name: _tensor(values) for name, values in examples.embeddings.items()},
            lookups(examples, schema),
            _tensor(examples.labels).float(),
            _tensor(examples.mask).float(),
            _tensor(examples.weights),
        )

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """On a device."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return Batch(
            moved(self.continuous),
            moved(self.binary),
            {name: moved(values) for name, values in self.embeddings.items()},
            self.lookups.to(device, non_blocking=non_blocking),
            moved(self.labels),
            moved(self.mask),
            moved(self.weights),
        )

    def pin_memory(self) -> "Batch":
        """In memory from which a GPU copies while the CPU goes on."""
        return Batch(
            self.continuous.pin_memory(),
            self.binary.pin_memory(),
            {name: values.pin_memory() for name, values in self.embeddings.items()},
            self.lookups.pin_memory(),
            self.labels.pin_memory(),
            self.mask.pin_memory(),
            self.weights.pin_memory(),
        )

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory until a stream is done with it."""
        for tensor in (self.continuous, self.binary, self.labels, self.mask, self.weights):
            tensor.record_stream(stream)
        for tensor in self.embeddings.values():
            tensor.record_stream(stream)
        self.lookups.record_stream(stream)


def lookups(examples: Examples, schema: Schema) -> KeyedJaggedTensor:
    """The rows of all discrete inputs; without any, bags of nothing."""
    buckets = np.array([given.buckets for given in schema.discrete], np.int64)
    rows = table_rows(examples.discrete, buckets)
    return KeyedJaggedTensor(
        keys=[given.name for given in schema.discrete],
        values=torch.from_numpy(np.ascontiguousarray(rows.T).ravel()),
        lengths=torch.ones(rows.size, dtype=torch.int32),
        stride=len(examples),
    )


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    """The same memory where it may be written to, else a copy: a tensor cannot be read-only."""
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
