"""The heavy ranker as it is served: reads an exported model, and scores candidates on the CPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from actors.features.inputs import Level, RankerInputs, Schema
from actors.features.tasks import TASK_NAMES
from actors.stores.kernels import writable
from training.heavy_ranker.device_network import DeviceNetwork
from training.heavy_ranker.exported import Exported, read_exported
from training.heavy_ranker.first_layer import FirstLayer, SharedProducts
from training.heavy_ranker.float_network import FloatNetwork
from training.heavy_ranker.input_shapes import InputShapes, probe
from training.heavy_ranker.int8_network import Int8Network
from training.heavy_ranker.packed_linear import Precision, supported
from training.heavy_ranker.row_chunks import RowChunks
from training.heavy_ranker.shared_columns import SharedColumns

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

HEAVY_RANKER = "heavy_ranker"
"""The artifact's name."""
CHUNK_ROWS = 256
"""Enough for full speed of the products, few enough for what is between them to stay in cache."""

_log = logging.getLogger(__name__)


class HeavyRankerModel:
    """Probabilities of engagements with candidates; may be used by several threads at once."""

    def __init__(
        self,
        model: Exported,
        precision: Precision = "fp32",
        threads: int = 1,
        device: torch.device | None = None,
    ) -> None:
        """`threads` compute at once, all callers together; on a `device`, if one is given, what
        is above the inputs, in fp32.

        A precision that this machine computes wrongly or slower falls back to fp32, with a
        warning; `precision` says which it is.
        """
        if device is None and not supported(precision):
            _log.warning("this CPU has no instructions for %s: scoring in fp32", precision)
            precision = "fp32"
        self.precision: Precision = precision
        self.schema: Schema = model.schema
        self.tasks = model.tasks
        """Those it predicts; the others' probabilities are 0."""
        self._columns = SharedColumns(model)
        self._network: _Network | DeviceNetwork
        if device is None:
            self._network = _network(model, self._columns, precision)
        else:
            self._network = DeviceNetwork(model, self._columns, device)
        self._shapes = InputShapes(model.schema)
        self._calibration = model.calibration
        self._heads = np.array([TASK_NAMES.index(task) for task in model.tasks])
        self._chunks = RowChunks(threads, CHUNK_ROWS)

    @classmethod
    def read(
        cls,
        folder: Path,
        expected_schema: Schema,
        *,
        precision: Precision = "fp32",
        threads: int = 1,
        device: torch.device | None = None,
    ) -> HeavyRankerModel:
        """The model in a folder, checked to read `expected_schema` and to give probabilities.

        Raises `ValueError` for a model that must not be served, and what reading files raises.
        """
        model = cls(read_exported(folder, expected_schema), precision, threads, device)
        model.check()
        return model

    @property
    def threads(self) -> int:
        """How many compute at once."""
        return self._chunks.threads

    def score(self, inputs: RankerInputs) -> Floats:
        """Calibrated probabilities, float32 (n, tasks) in the order of `TASK_NAMES`.

        A candidate's do not depend on the others: exactly in int8, to 1e-5 in fp32. Raises
        `ValueError` for inputs of another schema or shape.
        """
        self._shapes.check(inputs)
        n = len(inputs)
        probabilities = np.zeros((n, len(TASK_NAMES)), np.float32)
        if not n:
            return probabilities
        author_rows = writable(inputs.author_rows, np.int64)
        viewer = self._columns.rows(inputs, Level.VIEWER)
        authors = self._columns.rows(inputs, Level.AUTHOR)
        network = self._network
        if isinstance(network, DeviceNetwork):
            posts = self._columns.rows(inputs, Level.POST)
            h, _, _ = self._columns.hidden(viewer, authors, posts, author_rows)
            probabilities[:, self._heads] = self._calibrated(network.logits(h))
            return probabilities
        first = network.first
        ours = self._chunks.map(lambda _: first.viewer(viewer), 1)[0]
        shared = SharedProducts.empty(len(authors), first.outputs)
        self._chunks.map(
            lambda cut: first.authors(authors.cut(cut), ours, shared[cut]), len(authors)
        )

        def score(cut: slice) -> None:
            posts = self._columns.rows(inputs, Level.POST, cut)
            rows = author_rows[cut]
            h, means, scales = self._columns.hidden(viewer, authors, posts, rows)
            logits = network.logits(h, shared, rows, means, scales)
            probabilities[cut, self._heads] = self._calibrated(logits)

        self._chunks.map(score, n)
        return probabilities

    def check(self) -> None:
        """Score inputs of all sizes; raises `ValueError` where that gives no probabilities."""
        found = self.score(probe(self.schema))
        if not (np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()):
            bad = found[~(np.isfinite(found) & (found >= 0) & (found <= 1))]
            raise ValueError(f"the model gives {bad[0]} where a probability is due")

    def _calibrated(self, logits: Floats) -> Floats:
        # In float64, in which no finite logit overflows; one that is not stays visible as NaN.
        x = logits.astype(np.float64) * self._calibration[:, 0] + self._calibration[:, 1]
        x = np.where(np.isfinite(x), np.clip(x, -80, 80), np.nan)
        probabilities: Floats = (1 / (1 + np.exp(-x))).astype(np.float32)
        return probabilities


class _Network(Protocol):
    """What is above the inputs, in one precision."""

    first: FirstLayer

    def logits(
        self,
        h: Floats,
        shared: SharedProducts,
        author_rows: Int64s,
        means: Floats,
        scales: Floats,
    ) -> Floats: ...


def _network(model: Exported, columns: SharedColumns, precision: Precision) -> _Network:
    if precision == "int8":
        return Int8Network(model, columns)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return FloatNetwork(model, columns, dtype)
