"""The forms an artifact's files take: tensors, tables and JSON, whose numbers are finite."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Tensors = dict[str, npt.NDArray[Any]]

SUFFIXES = (".safetensors", ".arrow", ".json", ".hnsw")
"""What an artifact may hold: none of these forms runs code when it is read."""


class ArtifactInvalid(ValueError):
    """The content of an artifact must not be served: a number that is not finite, a form that
    cannot be read, a file of a form that is not allowed."""


def write_tensors(
    path: Path, tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as safetensors; raises `ArtifactInvalid` for NaN and infinity."""
    for name, tensor in tensors.items():
        _check_finite(path, name, tensor)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, path, dict(metadata or {}))


def read_tensors(path: Path) -> Tensors:
    """The arrays of a safetensors file; raises `ArtifactInvalid` for NaN and infinity."""
    try:
        with safe_open(path, framework="np") as file:
            tensors: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError) as error:
        raise ArtifactInvalid(f"{path.name} is not readable as safetensors: {error}") from error
    for name, tensor in tensors.items():
        _check_finite(path, name, tensor)
    return tensors


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow IPC file; raises `ArtifactInvalid` for NaN and infinity (nulls may be)."""
    _check_table(path, table)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_table(path: Path) -> pa.Table:
    """An Arrow IPC file, mapped into memory; raises `ArtifactInvalid` like `write_table`."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid as error:
        raise ArtifactInvalid(f"{path.name} is not readable as an Arrow file: {error}") from error
    _check_table(path, table)
    return table


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; raises `ArtifactInvalid` for NaN and infinity."""
    try:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise ArtifactInvalid(f"{path.name}: {error}") from error
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value in a JSON file; raises `ArtifactInvalid` like `write_json`."""

    def refuse(constant: str) -> None:
        raise ArtifactInvalid(f"{path.name} holds {constant}; every number must be finite")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactInvalid(f"{path.name} is not readable as JSON: {error}") from error


def check_file(path: Path) -> None:
    """Raise `ArtifactInvalid` where a file may not be part of an artifact.

    An HNSW index is not looked into: hnswlib stores its vectors among its links, and its
    builder refuses what is not finite before it adds it.
    """
    if path.suffix not in SUFFIXES:
        raise ArtifactInvalid(f"{path.name}: an artifact holds only {', '.join(SUFFIXES)} files")
    match path.suffix:
        case ".safetensors":
            read_tensors(path)
        case ".arrow":
            read_table(path)
        case ".json":
            read_json(path)


def _check_finite(path: Path, name: str, values: npt.NDArray[Any]) -> None:
    if values.dtype.kind not in "fc":
        return
    n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if n_bad:
        raise ArtifactInvalid(
            f"{path.name}: {name} holds {n_bad} of {values.size} numbers that are not finite"
        )


def _check_table(path: Path, table: pa.Table) -> None:
    for name in table.column_names:
        for chunk in table.column(name).chunks:
            values = _innermost(chunk)
            if pa.types.is_floating(values.type):
                _check_finite(path, name, values.drop_null().to_numpy(zero_copy_only=False))


def _innermost(values: pa.Array) -> pa.Array:
    while isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        values = values.flatten()
    return values
