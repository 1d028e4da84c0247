"""Inputs of decayed counters: which group is read where, and by which keys."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from actors.features.aggregate_groups import batch_groups, real_time_groups
from actors.features.aggregate_records import hours_of, weekdays_of
from actors.features.aggregation import AggregateGroup
from actors.features.batch_aggregates import AGGREGATES
from actors.features.families import Family, Place, Selection, number
from actors.features.inputs import Level
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.links import Engagers
from actors.state import ShardState
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]
Keys = Mapping[str, Ids]
"""By the name of a key in `Records`: (n,) each."""

_GROUPS = {
    ("viewer_id",): "user aggregates",
    ("viewer_id", "hour"): "request context",
    ("viewer_id", "weekday"): "request context",
    ("viewer_id", "author_id"): "user × author",
    ("viewer_id", "topics"): "user × topic",
    ("viewer_id", "engagers"): "user × engager",
    ("viewer_id", "lists"): "list",
    ("viewer_id", "language"): "user × language",
    ("viewer_id", "original_author_id"): "user × original author",
    ("original_author_id",): "author",
    ("author_id",): "author",
    ("author_id", "topics"): "author × topic",
    ("post_id",): "tweet",
    ("post_id", "country"): "tweet",
    ("topics",): "topic",
    ("topics", "country"): "topic",
    ("lists",): "list",
}


@lru_cache
def groups_of(selection: Selection) -> tuple[AggregateGroup, ...]:
    """All groups of a selection."""
    return (*real_time_groups(selection), *batch_groups(selection))


@lru_cache
def families(selection: Selection) -> tuple[Family, ...]:
    """A family for each group, of all its slots."""
    return tuple(
        Family(
            group.name,
            _GROUPS[group.keys],
            group.level,
            place_of(group),
            tuple(number(slot, group.meaning_of(slot)) for slot in group.slots),
        )
        for group in groups_of(selection)
    )


def place_of(group: AggregateGroup) -> Place:
    """Where the values of a group's inputs are told.

    Every shard reads batch groups; what several shards count a part of is added up.
    """
    if "engagers" in group.keys:
        return Place.REQUEST
    if not group.batch and group.home == "all":
        return Place.TOPICS
    if group.level == Level.VIEWER:
        return Place.VIEWER
    if group.level == Level.POST:
        return Place.POSTS
    return Place.TIES if group.home == "viewer" else Place.AUTHORS


@lru_cache
def groups_at(selection: Selection, place: Place) -> tuple[AggregateGroup, ...]:
    """The groups that are told in one place."""
    return tuple(group for group in groups_of(selection) if place_of(group) == place)


def read(state: ShardState, asking: Asking, group: AggregateGroup, keys: Keys) -> Floats:
    """What a shard knows of n keys, (n, ·): rows of zeros where it is nothing."""
    columns = tuple(keys[name] for name in group.keys)
    nothing = np.zeros((len(columns[0]), len(group.columns)), np.float32)
    if group.batch:
        version = asking.version(AGGREGATES)
        if version is None:
            return nothing
        return state.models.aggregates(version).read(group, columns, asking.now_ms)
    if "aggregates" not in state.settings.shards.kinds:
        return nothing
    kept = state.aggregates.groups.get(group.name)
    if kept is None:
        return nothing
    values = state.aggregates.read(group.name, columns, asking.now_ms)
    if kept.columns == group.columns:
        return values
    mine, theirs = _in_common(group, kept)
    nothing[:, mine] = values[:, theirs]
    return nothing


def viewer_keys(asking: Asking) -> Keys:
    """Keys of groups of the viewer and the request, (1,) each."""
    now = np.array([asking.now_ms], np.int64)
    return {"viewer_id": asking.viewer, "hour": hours_of(now), "weekday": weekdays_of(now)}


class Repeated:
    """Keys (n,) of which many may be the same: a row is looked up once for all of them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._distinct: dict[str, tuple[Ids, Ids]] = {}

    def read(self, state: ShardState, asking: Asking, group: AggregateGroup) -> Floats:
        """What `read` does."""
        varying = [name for name in group.keys if name in _OFTEN_THE_SAME]
        if len(varying) != 1 or not set(group.keys) <= {*varying, "viewer_id", "country"}:
            return read(state, asking, group, self._keys)
        first, at = self._distinct_of(varying[0])
        keys = {name: self._keys[name][first] for name in group.keys}
        return read(state, asking, group, keys)[at]

    def _distinct_of(self, name: str) -> tuple[Ids, Ids]:
        """Where each distinct key stands first, and which of them each is."""
        if name not in self._distinct:
            _, first, at = np.unique(self._keys[name], return_index=True, return_inverse=True)
            self._distinct[name] = first, at
        return self._distinct[name]


def merged_engagers(
    group: AggregateGroup, rows: Floats, user_ids: Ids, engagers: Engagers
) -> Floats:
    """What rows (e, ·) of users, whose ids ascend, make of the engagers of n candidates."""
    at = np.searchsorted(user_ids, engagers.user_ids)
    return group.merged(rows[at], engagers.offsets)


_OFTEN_THE_SAME = ("topics", "language", "original_author_id")


@lru_cache
def _in_common(group: AggregateGroup, kept: AggregateGroup) -> tuple[list[int], list[int]]:
    """Columns that a group and the one that a shard counts in its place both have."""
    place_of = {name: at for at, name in enumerate(kept.column_names)}
    mine = [at for at, name in enumerate(group.column_names) if name in place_of]
    return mine, [place_of[group.column_names[at]] for at in mine]
