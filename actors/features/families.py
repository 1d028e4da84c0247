"""Families of the heavy ranker's inputs: columns that one place tells together, in one block."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from actors.features.inputs import Input, Level, Sort

Selection = Literal["laptop", "twitter"]
"""Which inputs a model reads: a few hundred, or as many as the published one."""


class Place(Enum):
    """Who tells a family's values; the order in which their columns stand within a level."""

    VIEWER = "the viewer's shard, with the viewer's context"
    TIES = "the viewer's shard, of the authors of the candidates"
    AUTHORS = "the authors' shards, of the authors of the candidates"
    POSTS = "the authors' shards, of the candidates"
    TOPICS = "the viewer's shard and all shards, of the topics of the candidates"
    LINKS = "the shards of the posts that candidates reply to, quote or repost"
    REQUEST = "the request itself"


@dataclass(frozen=True)
class Column:
    """One column of a block."""

    name: str
    meaning: str
    sort: Sort = Sort.CONTINUOUS
    laptop: bool = False
    """Whether the selection `laptop` has it, too."""
    default: float = 0.0
    """Where nothing is known."""

    def as_input(self, level: Level, group: str) -> Input:
        """The input of the model that this column fills."""
        return Input(self.name, self.sort, level, group, self.meaning, self.default)


@dataclass(frozen=True)
class Family:
    """Columns of one level that come from one place; a block has them in this order."""

    name: str
    group: str
    """As in the published table of features."""
    level: Level
    place: Place
    columns: tuple[Column, ...]

    def inputs(self) -> tuple[Input, ...]:
        """The inputs of all columns."""
        return tuple(column.as_input(self.level, self.group) for column in self.columns)


def number(name: str, meaning: str, *, laptop: bool = False, default: float = 0.0) -> Column:
    """A continuous column."""
    return Column(name, meaning, Sort.CONTINUOUS, laptop, default)


def flag(name: str, meaning: str, *, laptop: bool = False) -> Column:
    """A binary column."""
    return Column(name, meaning, Sort.BINARY, laptop)


def renamed(
    columns: Sequence[Column], prefix: str, whose: str, laptop: Iterable[str]
) -> tuple[Column, ...]:
    """The same columns of something else: `prefix` before names, `whose` before meanings.

    `laptop` names the columns, as they were called, that the selection `laptop` has.
    """
    chosen = set(laptop)
    return tuple(
        Column(
            f"{prefix}{column.name}",
            f"{whose}: {column.meaning}",
            column.sort,
            column.name in chosen,
            column.default,
        )
        for column in columns
    )
