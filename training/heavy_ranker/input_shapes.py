"""What a request's inputs have to look like, and inputs of every size to try a model with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.inputs import Level, RankerInputs, Schema, Sort

Floats = npt.NDArray[np.float32]


class InputShapes:
    """Checks inputs against a schema, whose sizes are counted once."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._widths = {level: schema.width(level) for level in Level}
        self._discrete = {level: len(schema.of(Sort.DISCRETE, level)) for level in Level}

    def check(self, inputs: RankerInputs) -> None:
        """Raises `ValueError` for inputs of another schema, shape or author than there are."""
        schema = self._schema
        if inputs.schema is not schema and inputs.schema.fingerprint != schema.fingerprint:
            raise ValueError(
                f"inputs of schema {inputs.schema.fingerprint}, and the model reads "
                f"{schema.fingerprint}"
            )
        n, authors = len(inputs), len(inputs.values[Level.AUTHOR])
        rows = {Level.VIEWER: 1, Level.AUTHOR: authors, Level.POST: n}
        for level in Level:
            told, wide, coded = level.name.lower(), self._widths[level], self._discrete[level]
            _check_shape(f"values of the {told}", inputs.values[level], rows[level], wide)
            _check_shape(f"codes of the {told}", inputs.discrete[level], rows[level], coded)
        for vector in schema.embeddings:
            found = inputs.embeddings.get(vector.name)
            if found is None:
                raise ValueError(f"the inputs have no embedding {vector.name!r}")
            _check_shape(vector.name, found, rows[vector.level], vector.dimensions)
        if n and not (inputs.author_rows.min() >= 0 and inputs.author_rows.max() < authors):
            raise ValueError(
                f"author rows from {inputs.author_rows.min()} to {inputs.author_rows.max()}, "
                f"and there are {authors} authors"
            )


def _check_shape(what: str, values: npt.NDArray[Any], rows: int, columns: int) -> None:
    if values.shape != (rows, columns):
        raise ValueError(f"{what}: shape {values.shape}, expected {(rows, columns)}")


def probe(schema: Schema) -> RankerInputs:
    """Candidates whose inputs are 0, ordinary, huge, and no numbers at all."""
    sizes = np.array([0.0, 1.0, -1.0, 100.0, 1e6, -1e30, 3e38, np.inf, np.nan], np.float32)
    n = 2 * len(sizes)
    rng = np.random.default_rng(0)

    def values(rows: int, level: Level) -> Floats:
        of_rows = np.resize(sizes, rows)[:, None]
        given = np.where(rng.random((rows, schema.width(level))) < 0.5, of_rows, 1.0)
        n_continuous = len(schema.of(Sort.CONTINUOUS, level))
        given[:, n_continuous:] = rng.random((rows, given.shape[1] - n_continuous)) < 0.5
        return given.astype(np.float32)

    counts = {Level.VIEWER: 1, Level.AUTHOR: len(sizes), Level.POST: n}
    return RankerInputs(
        schema,
        (values(1, Level.VIEWER), values(len(sizes), Level.AUTHOR), values(n, Level.POST)),
        tuple(  # type: ignore[arg-type]
            rng.integers(0, 2**62, (counts[level], len(schema.of(Sort.DISCRETE, level))))
            for level in Level
        ),
        {
            vector.name: rng.standard_normal((counts[vector.level], vector.dimensions)).astype(
                np.float32
            )
            for vector in schema.embeddings
        },
        rng.integers(0, len(sizes), n),
    )
