"""Groups of decayed counters, declared as data (the original's timelines aggregation framework).

A group counts, for each tuple of its keys, every combination of a label, a feature, a half-life
and a metric: slot `{group}.pair.{label}.{feature}.{half-life}.{metric}`. A record contributes
to a label that it has, and to a feature that it has; `any_label` and `any_feature` take every
record. Shards and the batch job count by the same code.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.aggregate_records import BIT_OF, FEATURES, Floats, Ragged, Records
from actors.features.inputs import Level
from actors.features.merging import POLICIES, Policy
from actors.stores.aggregates import Additions, AggregateTable
from actors.stores.kernels import kernel, writable
from cluster.ids import Ids

Metric = Literal["count", "sum", "sum_sq", "last_reset", "max"]
Home = Literal["viewer", "author", "all"]

FOREVER = math.inf
"""A half-life of what does not decay."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000.0, 3_600_000.0, 86_400_000.0
ANY_LABEL, ANY_FEATURE = "any_label", "any_feature"

_CODES: dict[Metric, int] = {"count": 0, "sum": 1, "sum_sq": 2, "last_reset": 3, "max": 4}
_CHUNK_RECORDS = 8_192


class Column(NamedTuple):
    """One counter of a group's rows."""

    label: str
    feature: str
    half_life_ms: float
    metric: Metric


class _Slot(NamedTuple):
    """An input: of which column it is made, and how."""

    name: str
    column: int
    how: str


@dataclass(frozen=True)
class AggregateGroup:
    """A family of counters by the same keys."""

    name: str
    keys: tuple[str, ...]
    """Names of keys of `Records`; a row for each combination of them."""
    labels: tuple[str, ...]
    half_lives_ms: tuple[float, ...]
    level: Level
    """On what the keys depend within one request."""
    home: Home
    """Whose shard has a row: the viewer's, the author's, or each a part, of which the sum is
    meant. Means nothing for a batch group."""
    features: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ("count",)
    """Of continuous features; binary ones are only counted."""
    any_label: bool = False
    any_feature: bool = True
    batch: bool = False
    """Counted from the archive, where everything is joined, instead of by shards."""
    only: str = ""
    """A binary feature without which a record is not counted."""
    merges: tuple[Policy, ...] = ()
    """For sparse keys: how the rows of several keys of one candidate become one."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.labels if name not in BIT_OF]
        unknown += [name for name in (*self.features, self.only) if name and name not in FEATURES]
        if unknown:
            raise ValueError(f"{self.name}: no label or feature is called {unknown[0]!r}")
        if "max" in self.metrics and self.half_lives_ms != (FOREVER,):
            raise ValueError(f"{self.name}: a maximum does not decay, its half-life is infinite")
        if not (self.batch or self._knowable):
            raise ValueError(f"{self.name}: the {self.home}'s shard does not know its features")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The counters of a row in order: half-lives outermost, then labels, features, metrics."""
        labels = (*((ANY_LABEL,) if self.any_label else ()), *self.labels)
        return tuple(
            Column(label, feature, half_life_ms, metric)
            for half_life_ms in self.half_lives_ms
            for label in labels
            for feature, metric in self._cells
        )

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of `columns`, each in no other group."""
        return tuple(
            f"{self.name}.pair.{c.label}.{c.feature}.{_duration(c.half_life_ms)}.{c.metric}"
            for c in self.columns
        )

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Names of the inputs that the group gives: its columns, or what they merge to."""
        return tuple(slot.name for slot in self._slots)

    def meaning_of(self, slot: str) -> str:
        """What one of `slots` says, in words."""
        given = self._slots[self._place_of[slot]]
        label, feature, half_life_ms, metric = self.columns[given.column]
        doing = "anything happened" if label == ANY_LABEL else label.replace("_", " ")
        of = "" if feature == ANY_FEATURE else FEATURES[feature].meaning
        what = {
            "count": f"How often {doing}" + (f" with {of}" if of else ""),
            "sum": f"Sum of {of} where {doing}",
            "sum_sq": f"Sum of squares of {of} where {doing}",
            "last_reset": f"How lately {doing}" + (f" with {of}" if of else ""),
            "max": f"Largest of {of} where {doing}",
        }[metric]
        if self.only:
            what += f", of {FEATURES[self.only].meaning} only"
        what += f"; by {', '.join(key.removesuffix('_id') for key in self.keys)}"
        if not math.isinf(half_life_ms):
            what += f", half-life {_duration(half_life_ms).replace('.', ' ')}"
        return f"{what}; {given.how}" if given.how else what

    def table(self, max_bytes: int, max_age_ms: float = FOREVER) -> AggregateTable:
        """An empty table for the group's rows."""
        per_half_life = len(self.columns) // len(self.half_lives_ms)
        largest = [c.metric in ("last_reset", "max") for c in self.columns[:per_half_life]]
        return AggregateTable(
            np.array(self.half_lives_ms),
            np.array(largest),
            n_ids=len(self.keys),
            max_bytes=max_bytes,
            max_age_ms=max_age_ms,
        )

    def count(self, table: AggregateTable, records: Records, owners: Ids) -> None:
        """Add records to a table of the group's; `owners` (n,) says whose rows they make."""
        chosen = np.flatnonzero(self._contributes(records))
        features = self._features(records)
        for begin in range(0, len(chosen), _CHUNK_RECORDS):
            rows = chosen[begin : begin + _CHUNK_RECORDS]
            at, keys = self._keys_of(records, rows)
            kept = keys[0] > 0
            for key in keys[1:]:
                kept &= key > 0
            if not kept.all():
                at, keys = at[kept], [key[kept] for key in keys]
            if not len(at):
                continue
            offsets, cells, amounts = _additions(
                writable(at, np.int64),
                writable(records.labels, np.uint64),
                features,
                *self._compiled,
            )
            additions = Additions(offsets, cells, amounts)
            table.add(tuple(keys), owners[at], records.times_ms[at], additions)

    def merged(self, values: Floats, offsets: Ids) -> Floats:
        """Rows (m, len(columns)) of several keys for each of n candidates → (n, len(slots)).

        Those of candidate i are `values[offsets[i] : offsets[i + 1]]`. Raises ValueError for a
        group whose candidates have one key each.
        """
        if not self.merges:
            raise ValueError(f"{self.name}: its candidates have one key each, nothing is merged")
        parts = [POLICIES[policy].merge(values, offsets, self._shown) for policy in self.merges]
        return np.concatenate(parts, axis=1)

    @cached_property
    def _slots(self) -> tuple["_Slot", ...]:
        names = enumerate(self.column_names)
        if not self.merges:
            return tuple(_Slot(name, at, "") for at, name in names)
        columns = tuple(names)
        return tuple(
            _Slot(f"{name}.{ending}", at, how)
            for policy in self.merges
            for at, name in columns
            if self._shown[at] >= 0 or not POLICIES[policy].only_engagements
            for ending, how in POLICIES[policy].endings.items()
        )

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {slot.name: at for at, slot in enumerate(self._slots)}

    @cached_property
    def _shown(self) -> npt.NDArray[np.int64]:
        """For each column that of its impressions, of the same half-life; −1 for those."""
        impressed = {
            c.half_life_ms: at
            for at, c in enumerate(self.columns)
            if c.label == "is_impressed" and c.feature == ANY_FEATURE
        }
        return np.array(
            [
                -1 if c.label == "is_impressed" else impressed.get(c.half_life_ms, -1)
                for c in self.columns
            ]
        )

    @cached_property
    def _cells(self) -> tuple[tuple[str, Metric], ...]:
        cells: list[tuple[str, Metric]] = []
        if self.any_feature:
            cells += [(ANY_FEATURE, m) for m in self.metrics if m in ("count", "last_reset")]
            if not cells:
                cells.append((ANY_FEATURE, "count"))
        for name in self.features:
            metrics: tuple[Metric, ...] = ("count",) if FEATURES[name].binary else self.metrics
            cells += [(name, metric) for metric in metrics]
        return tuple(cells)

    @cached_property
    def _compiled(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For the kernel: the bit of each label (−1 any), feature and metric of each cell."""
        bits = [*([-1] if self.any_label else []), *(BIT_OF[label] for label in self.labels)]
        places = {name: at for at, name in enumerate(self.features)} | {ANY_FEATURE: -1}
        features = [places[feature] for feature, _ in self._cells]
        metrics = [_CODES[metric] for _, metric in self._cells]
        return np.array(bits), np.array(features), np.array(metrics)

    @property
    def _knowable(self) -> bool:
        side = {"viewer": "viewer", "author": "post", "all": "post"}[self.home]
        named = (*self.features, *((self.only,) if self.only else ()))
        return all(FEATURES[name].known in ("event", side) for name in named)

    def _contributes(self, records: Records) -> npt.NDArray[np.bool_]:
        wanted = np.uint64(sum(1 << BIT_OF[label] for label in self.labels))
        labels = records.labels if self.any_label else records.labels & wanted
        counted: npt.NDArray[np.bool_] = labels != 0
        if self.only:
            counted &= records.features[self.only] > 0
        for name in self.keys:
            key = records.keys[name]
            counted &= np.diff(key.offsets) > 0 if isinstance(key, Ragged) else key > 0
        return counted

    def _features(self, records: Records) -> Floats:
        """Shape (n, len(features))."""
        found = np.empty((len(records), len(self.features)), np.float32)
        for at, name in enumerate(self.features):
            found[:, at] = records.features[name]
        return found

    def _keys_of(self, records: Records, rows: Ids) -> tuple[Ids, list[Ids]]:
        """Records repeated for every combination of their ragged keys, and those keys."""
        at = rows
        keys: list[Ids] = []
        for name in self.keys:
            key = records.keys[name]
            if not isinstance(key, Ragged):
                keys.append(key[at])
                continue
            lengths = np.diff(key.offsets)[at]
            repeated = np.repeat(np.arange(len(at)), lengths)
            within = np.arange(len(repeated)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            at = at[repeated]
            keys = [known[repeated] for known in keys]
            keys.append(key.ids[key.offsets[at] + within])
        return at, keys


def _duration(half_life_ms: float) -> str:
    """As the original writes it: `50.days`, `30.minutes`."""
    if math.isinf(half_life_ms):
        return "all.time"
    for unit_ms, unit in ((DAY_MS, "days"), (HOUR_MS, "hours"), (MINUTE_MS, "minutes")):
        if half_life_ms >= unit_ms and half_life_ms % unit_ms == 0:
            return f"{int(half_life_ms // unit_ms)}.{unit}"
    return f"{int(half_life_ms)}.millis"


@kernel
def _is_given(value: Any) -> bool:
    """Neither 0 nor NaN nor infinite."""
    given: bool = 0 < abs(value) < math.inf
    return given


@kernel
def _additions(
    rows: Ids,
    labels: npt.NDArray[np.uint64],
    features: Floats,
    label_bits: npt.NDArray[np.int64],
    cell_features: npt.NDArray[np.int64],
    cell_metrics: npt.NDArray[np.int64],
) -> tuple[Ids, npt.NDArray[np.int32], Floats]:
    """What the records of `rows` (m,) add, and to which cells: those of row i are
    `offsets[i]` … `offsets[i + 1]`."""
    n_cells = len(cell_features)
    offsets = np.zeros(len(rows) + 1, np.int64)
    for i in range(len(rows)):
        row = rows[i]
        n_labels = 0
        for bit in label_bits:
            if bit < 0 or (labels[row] >> np.uint64(bit)) & np.uint64(1):
                n_labels += 1
        present = 0
        for c in range(n_cells):
            f = cell_features[c]
            if f < 0 or _is_given(features[row, f]):
                present += 1
        offsets[i + 1] = offsets[i] + n_labels * present
    cells = np.empty(offsets[-1], np.int32)
    amounts = np.empty(offsets[-1], np.float32)
    at = 0
    for i in range(len(rows)):
        row = rows[i]
        for k in range(len(label_bits)):
            bit = label_bits[k]
            if bit >= 0 and not (labels[row] >> np.uint64(bit)) & np.uint64(1):
                continue
            for c in range(n_cells):
                f = cell_features[c]
                value = np.float32(1) if f < 0 else features[row, f]
                if not _is_given(value):
                    continue
                metric = cell_metrics[c]
                if metric == 0 or metric == 3:
                    value = np.float32(1)
                elif metric == 2:
                    value = value * value
                cells[at] = k * n_cells + c
                amounts[at] = value
                at += 1
    return offsets, cells, amounts
