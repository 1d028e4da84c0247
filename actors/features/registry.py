"""All inputs of the heavy ranker by name: which a selection has, and where in a block each stands.

`python -m actors.features.registry` writes `docs/features.md`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from actors.features.families import Family, Place, Selection
from actors.features.inputs import Embedding, Input, Level, Schema, Sort
from actors.ranker_inputs import aggregates, authors, found, links, posts, ties, viewer
from cluster.settings import Settings

Floats = npt.NDArray[np.float32]

N_CONTINUOUS, N_BINARY = 2_117, 59
"""Of the selection `twitter` (published)."""
VECTOR_DIMENSIONS: dict[Selection, int] = {"laptop": 64, "twitter": 200}
"""Of TwHIN's vectors where nothing else is said (published: 200)."""

FAMILIES: tuple[Family, ...] = (
    *(viewer.REQUEST, viewer.VIEWER, viewer.ACTIVITY),
    *(ties.TIES, ties.INTERACTIONS, authors.AUTHOR, authors.LIKENESS, authors.TWO_HOP),
    *(posts.CONTENT, posts.LIKENESS, *links.FAMILIES, links.RELATED_USERS),
    *(found.EARLYBIRD, found.FOUND_BY, found.TOPIC),
)
"""Families beside the aggregates."""


@dataclass(frozen=True)
class _Discrete:
    name: str
    level: Level
    meaning: str
    buckets: dict[Selection, int]
    dimensions: dict[Selection, int]


def _discrete(
    name: str, level: Level, meaning: str, buckets: tuple[int, int], dimensions: tuple[int, int]
) -> _Discrete:
    selections = get_args(Selection)
    return _Discrete(
        *(name, level, meaning, dict(zip(selections, buckets, strict=True))),
        dict(zip(selections, dimensions, strict=True)),
    )


_DISCRETE = (
    _discrete("viewer_id", Level.VIEWER, "the viewer", (2**15, 2**22), (16, 32)),
    _discrete("viewer_language", Level.VIEWER, "the language the viewer reads", (128, 512), (4, 8)),
    _discrete("viewer_country", Level.VIEWER, "the country the viewer is in", (512, 512), (4, 8)),
    _discrete("request_hour_of_week", Level.VIEWER, "hour of the week, UTC", (256, 256), (4, 8)),
    _discrete("author_id", Level.AUTHOR, "the author", (2**15, 2**22), (16, 32)),
    _discrete("author_language", Level.AUTHOR, "the language the author reads", (128, 512), (4, 8)),
    _discrete("author_country", Level.AUTHOR, "the country the author is in", (512, 512), (4, 8)),
    _discrete("post_topic", Level.POST, "the post's first topic", (2_048, 2**16), (8, 16)),
    _discrete("post_language", Level.POST, "the post's language", (128, 512), (4, 8)),
    _discrete("post_source", Level.POST, "the candidate source it counts under", (32, 32), (4, 8)),
)
"""Hashed into tables of so many rows and columns, of `laptop` and `twitter`. Tables are modules
by these names, which therefore have no dots."""
_EMBEDDINGS = (
    ("user_follow", Level.VIEWER, "TwHIN's follow vector of the viewer"),
    ("user_engagement", Level.VIEWER, "TwHIN's engagement vector of the viewer"),
    ("author_follow", Level.AUTHOR, "TwHIN's follow vector of the author"),
)


def schema_of(selection: Selection, vector_dimensions: int | None = None) -> Schema:
    """The inputs of a selection; TwHIN's vectors have the dimensions that are given.

    Raises `ValueError` where `twitter` has not the published numbers of inputs.
    """
    return _schema(selection, vector_dimensions or VECTOR_DIMENSIONS[selection])


def schema_for(settings: Settings) -> Schema:
    """The inputs of the model that settings ask for."""
    return schema_of(settings.heavy_ranker.features, settings.training.twhin.dimensions)


@lru_cache
def _schema(selection: Selection, vector_dimensions: int) -> Schema:
    inputs = [
        column.as_input(family.level, family.group)
        for family in families_of(selection)
        for column in family.columns
    ]
    sorts = [given.sort for given in inputs]
    counts = (sorts.count(Sort.CONTINUOUS), sorts.count(Sort.BINARY))
    if selection == "twitter" and counts != (N_CONTINUOUS, N_BINARY):
        raise ValueError(
            f"twitter has {counts[0]:,} continuous and {counts[1]} binary inputs, not"
            f" {N_CONTINUOUS:,} and {N_BINARY}"
        )
    inputs += [
        Input(
            *(d.name, Sort.DISCRETE, d.level, "discrete", d.meaning),
            buckets=d.buckets[selection],
            dimensions=d.dimensions[selection],
        )
        for d in _DISCRETE
    ]
    vectors = tuple(
        Embedding(name, level, vector_dimensions, meaning) for name, level, meaning in _EMBEDDINGS
    )
    return Schema(tuple(inputs), vectors)


@lru_cache
def families_of(selection: Selection) -> tuple[Family, ...]:
    """The families of a selection with the columns that it has, in the order of the schema.

    `twitter` has every column but as many of the viewer's aggregates as make 2,117.
    """
    mine = [_chosen(family, selection) for family in FAMILIES]
    n_others = sum(c.sort == Sort.CONTINUOUS for family in mine for c in family.columns)
    counted: Sequence[Family] = aggregates.families(selection)
    if selection == "twitter":
        counted = _as_many(counted, N_CONTINUOUS - n_others)
    found = [family for family in (*mine, *counted) if family.columns]
    return tuple(sorted(found, key=lambda f: (f.level, _PLACES.index(f.place))))


_PLACES = tuple(Place)


def _chosen(family: Family, selection: Selection) -> Family:
    columns = tuple(c for c in family.columns if selection == "twitter" or c.laptop)
    return Family(family.name, family.group, family.level, family.place, columns)


def _as_many(counted: Sequence[Family], wanted: int) -> list[Family]:
    """The first columns of families, all but the viewer's whole, so that they are `wanted`."""
    left = wanted - sum(len(f.columns) for f in counted if f.level != Level.VIEWER)
    found = []
    for family in counted:
        columns = family.columns
        if family.level == Level.VIEWER:
            columns = columns[: max(left, 0)]
            left -= len(columns)
        found.append(Family(family.name, family.group, family.level, family.place, columns))
    return found


Run = tuple[slice, slice | npt.NDArray[np.int64]]
"""Columns that stand together where they are put, and the columns that they are taken from."""


@dataclass(frozen=True)
class BlockPlan:
    """The block that one place tells of one level: continuous columns, then binary ones."""

    parts: dict[str, tuple[Run, ...]]
    """By family: from the family's own block to this one."""
    defaults: Floats
    """(·,): a row of which nothing is known."""
    runs: tuple[Run, ...]
    """From this block to the level's values."""

    def __len__(self) -> int:
        return len(self.defaults)

    def empty(self, n: int) -> Floats:
        """A block of n rows of which nothing is known."""
        block = np.empty((n, len(self.defaults)), np.float32)
        block[:] = self.defaults
        return block

    def write(self, block: Floats, family: str, values: Floats) -> None:
        """Fill in the columns of a family from its own block; nothing where none is chosen."""
        for put, taken in self.parts.get(family, ()):
            block[:, put] = values[:, taken]

    def wants(self, family: str) -> bool:
        """Whether any column of a family is chosen."""
        return family in self.parts

    def place(
        self, values: Floats, block: Floats, rows: npt.NDArray[np.int64] | slice = slice(None)
    ) -> None:
        """Write this block into rows of the level's values."""
        for put, taken in self.runs:
            values[rows, put] = block[:, taken]


@lru_cache
def plan_of(selection: Selection, level: Level, place: Place) -> BlockPlan:
    """How the block of a level that one place tells is laid out."""
    of_level = columns_of(selection, level)
    column_of = {given.name: k for k, given in enumerate(of_level)}
    told = [f for f in families_of(selection) if (f.level, f.place) == (level, place)]
    at = np.sort(np.array([column_of[c.name] for f in told for c in f.columns], np.int64))
    whole = {family.name: family for family in (*FAMILIES, *aggregates.families(selection))}
    parts = {}
    for family in told:
        names = {column.name: k for k, column in enumerate(whole[family.name].columns)}
        put = np.searchsorted(at, [column_of[column.name] for column in family.columns])
        parts[family.name] = _runs(put, np.array([names[c.name] for c in family.columns]))
    defaults = np.array([of_level[k].default for k in at], np.float32)
    return BlockPlan(parts, defaults, _runs(at, np.arange(len(at))))


@lru_cache
def columns_of(selection: Selection, level: Level) -> tuple[Input, ...]:
    """The columns of a level's values: continuous inputs, then binary ones."""
    schema = schema_of(selection)
    return (*schema.of(Sort.CONTINUOUS, level), *schema.of(Sort.BINARY, level))


@lru_cache
def defaults_of(selection: Selection, level: Level) -> Floats:
    """A row of a level of which nothing is known."""
    return np.array([given.default for given in columns_of(selection, level)], np.float32)


def _runs(put: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> tuple[Run, ...]:
    order = np.argsort(put)
    put, taken = put[order], taken[order]
    ends = [*(np.flatnonzero(np.diff(put) > 1) + 1).tolist(), len(put)]
    runs: list[Run] = []
    start = 0
    for end in ends if len(put) else []:
        where = taken[start:end]
        of: slice | npt.NDArray[np.int64] = where
        if (np.diff(where) == 1).all():
            of = slice(int(where[0]), int(where[-1]) + 1)
        runs.append((slice(int(put[start]), int(put[end - 1]) + 1), of))
        start = end
    return tuple(runs)


def main(arguments: Sequence[str]) -> None:
    """Write the document to a path, `docs/features.md` unless one is given."""
    path = Path(arguments[0]) if arguments else Path(__file__).parents[2] / "docs" / "features.md"
    path.write_text(document())


def document() -> str:
    """The registry as Markdown."""
    from actors.features import registry_document

    selections: tuple[Selection, ...] = get_args(Selection)
    return registry_document.document(
        {name: schema_of(name) for name in selections},
        FAMILIES,
        {name: families_of(name) for name in selections},
    )


if __name__ == "__main__":
    main(sys.argv[1:])
