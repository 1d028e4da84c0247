"""The slow, obvious model of aggregates: every record kept, every counter by its definition."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from actors.features.aggregate_records import BIT_OF, FEATURES, Ragged, Records
from actors.features.aggregation import ANY_FEATURE, ANY_LABEL, AggregateGroup
from actors.stores.aggregates import NOTHING

RAGGED = ("topics", "engagers", "lists")


@dataclass(frozen=True)
class Told:
    """One record."""

    time_ms: int
    labels: frozenset[str]
    keys: dict[str, list[int]]
    features: dict[str, float] = field(default_factory=dict)


def values(
    group: AggregateGroup, told: Iterable[Told], now_ms: int
) -> dict[tuple[int, ...], dict[str, float]]:
    """By tuple of keys, the columns that are not 0."""
    entries: dict[tuple[int, ...], list[Told]] = defaultdict(list)
    for record in told:
        wanted = record.labels & set(group.labels) or (group.any_label and record.labels)
        if not wanted or (group.only and not record.features.get(group.only)):
            continue
        for ids in itertools.product(*(record.keys.get(name, []) for name in group.keys)):
            if all(ids):
                entries[ids].append(record)
    return {ids: _row(group, records, now_ms) for ids, records in entries.items()}


def _row(group: AggregateGroup, told: list[Told], now_ms: int) -> dict[str, float]:
    as_of = max(now_ms, *(record.time_ms for record in told))
    row: dict[str, float] = {}
    for name, column in zip(group.column_names, group.columns, strict=True):
        value = 0.0
        for record in told:
            if column.label not in (ANY_LABEL, *record.labels):
                continue
            given = 1.0
            if column.feature != ANY_FEATURE:
                given = record.features.get(column.feature, 0.0)
                if not given or math.isnan(given):
                    continue
            one = {"sum": given, "sum_sq": given**2, "max": given}.get(column.metric, 1.0)
            one *= 2.0 ** (-(as_of - record.time_ms) / column.half_life_ms)
            largest = column.metric in ("last_reset", "max")
            value = max(value, one) if largest else value + one
        if abs(value) >= NOTHING:
            row[name] = value
    return row


def records_of(told: list[Told], key_names: Iterable[str]) -> Records:
    """The same records in columns."""
    bits = [sum(1 << BIT_OF[label] for label in record.labels) for record in told]
    keys: dict[str, np.ndarray | Ragged] = {}
    for name in key_names:
        lists = [record.keys.get(name, []) for record in told]
        if name in RAGGED:
            offsets = np.cumsum([0, *map(len, lists)])
            keys[name] = Ragged(offsets, np.array([i for ids in lists for i in ids], np.int64))
        else:
            keys[name] = np.array([ids[0] if ids else 0 for ids in lists], np.int64)
    return Records(
        np.array([record.time_ms for record in told], np.int64),
        np.array(bits, np.uint64),
        keys,
        {
            name: np.array([record.features.get(name, 0.0) for record in told], np.float32)
            for name in FEATURES
        },
    )


def assert_equal(
    group: AggregateGroup,
    found: dict[tuple[int, ...], np.ndarray],
    expected: dict[tuple[int, ...], dict[str, float]],
) -> None:
    """Rows read, of shape (columns,), are those of the model to one part in a million."""
    for ids, row in found.items():
        wanted = [expected.get(ids, {}).get(name, 0.0) for name in group.column_names]
        # What falls on the threshold of nothing may fall on either side of it.
        np.testing.assert_allclose(row, wanted, rtol=2e-6, atol=1.01 * NOTHING, err_msg=str(ids))
