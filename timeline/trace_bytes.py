"""Named arrays and what is said beside them, as bytes: the form in which a trace is kept.

Made on every request, so it costs little rather than being small: one header, the arrays one
after the other, all of it compressed quickly.
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

Arrays = Mapping[str, npt.NDArray[Any]]

_SCHEMA_VERSION = 2
_HEAD = struct.Struct("<BQ")
_N_SAID = struct.Struct("<Q")
_CODEC = "lz4"
"""Takes half the time of zstd's fast levels, and a tenth more bytes than they."""


class UnreadableTrace(ValueError):
    """Bytes that are not a trace this version can read."""


def pack(arrays: Arrays, said: Mapping[str, Any]) -> bytes:
    """Arrays of any shape and anything that is JSON, as bytes."""
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    head = orjson.dumps({"said": said, "arrays": shapes})
    at = _N_SAID.size + len(head)
    raw = bytearray(at + sum(array.nbytes for array in arrays.values()))
    raw[:at] = _N_SAID.pack(len(head)) + head
    for array in arrays.values():
        # One copy, whatever the array's order in memory.
        np.frombuffer(raw, array.dtype, array.size, at).reshape(array.shape)[...] = array
        at += array.nbytes
    content: bytes = pa.Codec(_CODEC).compress(raw, asbytes=True)
    return _HEAD.pack(_SCHEMA_VERSION, len(raw)) + content


def unpack(packed: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """What `pack` was given, the arrays read-only. Raises `UnreadableTrace`."""
    try:
        version, n_bytes = _HEAD.unpack_from(packed)
        if version != _SCHEMA_VERSION:
            raise UnreadableTrace(f"trace of schema version {version}, not {_SCHEMA_VERSION}")
        raw = pa.Codec(_CODEC).decompress(packed[_HEAD.size :], n_bytes, asbytes=True)
        (n_said,) = _N_SAID.unpack_from(raw)
        at = _N_SAID.size + n_said
        head = orjson.loads(raw[_N_SAID.size : at])
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, kind, shape in head["arrays"]:
            dtype = np.dtype(kind)
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(raw, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        return arrays, head["said"]
    except (struct.error, pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableTrace(f"not a trace: {error}") from error
