"""What the heavy ranker reads: the named inputs of a schema, and their values for one request.

Values travel by level: those of the viewer (and the request) once, those of an author (and of
the tie between viewer and author) once an author, and only those of a post for each candidate.
The model's order is fixed by the schema: continuous inputs by level, then binary ones by level.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Level(IntEnum):
    """On what an input depends within one request."""

    VIEWER = 0
    AUTHOR = 1
    POST = 2


class Sort(IntEnum):
    """How an input enters the model."""

    CONTINUOUS = 0
    """Any number: signed logarithm, batch norm, clipped."""
    BINARY = 1
    """0 or 1, as it is."""
    DISCRETE = 2
    """An id or code: a row of an embedding table."""


@dataclass(frozen=True)
class Input:
    """One named input of the model."""

    name: str
    sort: Sort
    level: Level
    group: str
    """Inputs that come from one place, as in the published table of features."""
    meaning: str
    default: float = 0.0
    """Where nothing is known."""
    buckets: int = 0
    """Of a discrete input: rows of its table, into which values are hashed; row 0 is unknown."""
    dimensions: int = 0
    """Of a discrete input: columns of its table."""


@dataclass(frozen=True)
class Embedding:
    """A pretrained vector that the model reads; zeros where there is none."""

    name: str
    level: Level
    dimensions: int
    meaning: str


@dataclass(frozen=True)
class Schema:
    """All inputs of a model, in an order of their own; columns are numbered in model order."""

    inputs: tuple[Input, ...]
    embeddings: tuple[Embedding, ...] = ()

    def __post_init__(self) -> None:
        names = [given.name for given in self.inputs]
        names += [vector.name for vector in self.embeddings]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"inputs named twice: {', '.join(twice)}")

    def of(self, sort: Sort, level: Level | None = None) -> tuple[Input, ...]:
        """Inputs of one sort in model order: by level, then as listed."""
        levels = list(Level) if level is None else [level]
        return tuple(
            given
            for at in levels
            for given in self.inputs
            if given.sort == sort and given.level == at
        )

    @cached_property
    def continuous(self) -> tuple[Input, ...]:
        """Continuous inputs in model order."""
        return self.of(Sort.CONTINUOUS)

    @cached_property
    def binary(self) -> tuple[Input, ...]:
        """Binary inputs in model order."""
        return self.of(Sort.BINARY)

    @cached_property
    def discrete(self) -> tuple[Input, ...]:
        """Discrete inputs in model order."""
        return self.of(Sort.DISCRETE)

    def width(self, level: Level) -> int:
        """Columns of a level's values: its continuous inputs, then its binary ones."""
        return len(self.of(Sort.CONTINUOUS, level)) + len(self.of(Sort.BINARY, level))

    @cached_property
    def fingerprint(self) -> str:
        """A short name for names, sorts, levels and sizes: the same for models that fit."""
        told = [
            (i.name, int(i.sort), int(i.level), i.default, i.buckets, i.dimensions)
            for i in (*self.continuous, *self.binary, *self.discrete)
        ]
        told_too = [(e.name, int(e.level), e.dimensions) for e in self.embeddings]
        return hashlib.blake2b(repr((told, told_too)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class RankerInputs:
    """The values of n candidates by a authors for one viewer.

    `values[level]` has the level's continuous inputs, then its binary ones, of shape (1, ·),
    (a, ·) and (n, ·); `discrete[level]` its discrete ones, int64; `embeddings` maps a name to
    float32 of shape (1 | a | n, dimensions).
    """

    schema: Schema
    values: tuple[Floats, Floats, Floats]
    discrete: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
    embeddings: dict[str, Floats]
    author_rows: npt.NDArray[np.int64]
    """Shape (n,): which row of the author level each candidate has."""

    def __len__(self) -> int:
        return len(self.author_rows)

    def dense(self) -> tuple[Floats, Floats, npt.NDArray[np.int64], dict[str, Floats]]:
        """Every candidate's row: continuous (n, ·), binary (n, ·), discrete (n, ·), embeddings.

        In model order. Repeats what levels share, so for training and tests, not for serving.
        """
        continuous, binary = [], []
        for level in Level:
            n_continuous = len(self.schema.of(Sort.CONTINUOUS, level))
            rows = self._spread(self.values[level], level)
            continuous.append(rows[:, :n_continuous])
            binary.append(rows[:, n_continuous:])
        discrete = [self._spread(self.discrete[level], level) for level in Level]
        vectors = {
            given.name: self._spread(self.embeddings[given.name], given.level)
            for given in self.schema.embeddings
        }
        return (
            np.concatenate(continuous, axis=1),
            np.concatenate(binary, axis=1),
            np.concatenate(discrete, axis=1),
            vectors,
        )

    def _spread(self, rows: npt.NDArray[Any], level: Level) -> npt.NDArray[Any]:
        if level == Level.VIEWER:
            return np.repeat(rows, len(self), axis=0)
        return rows[self.author_rows] if level == Level.AUTHOR else rows
