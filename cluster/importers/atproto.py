"""The names of the AT Protocol: DIDs, AT-URIs and TIDs."""

import re
from functools import lru_cache
from typing import NamedTuple

POST = "app.bsky.feed.post"
"""The collection that posts are in."""

_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_MAX_DID_CHARACTERS = 2048
_TID = re.compile(r"[2-7a-j][2-7a-z]{12}")
_SORTABLE = "234567abcdefghijklmnopqrstuvwxyz"
_TID_DIGITS = str.maketrans(_SORTABLE, "0123456789abcdefghijklmnopqrstuv")
_CLOCK_ID_BITS = 10


class Malformed(ValueError):
    """A record that is not what its specification says; names the field."""


class RecordUri(NamedTuple):
    """`at://DID/collection/rkey` and its parts."""

    text: str
    did: str
    collection: str
    rkey: str


def parse_did(value: object, field: str) -> str:
    """A DID; raises `Malformed` for anything else."""
    if type(value) is str and _is_did(value):
        return value
    raise Malformed(f"{field} must be a DID; got {_shown(value)}")


def parse_uri(value: object, field: str) -> RecordUri:
    """The parts of a record's AT-URI, whose authority has to be a DID."""
    if type(value) is str and value.startswith("at://"):
        parts = value[5:].split("/")
        if len(parts) == 3 and parts[1] and parts[2] and _is_did(parts[0]):
            return RecordUri(value, parts[0], parts[1], parts[2])
    raise Malformed(f"{field} must be an AT-URI at://DID/collection/rkey; got {_shown(value)}")


def parse_tid(value: object, field: str) -> int:
    """The 63-bit integer that 13 base32-sortable characters stand for."""
    if type(value) is str and _TID.fullmatch(value):
        return int(value.translate(_TID_DIGITS), 32)
    raise Malformed(f"{field} must be a TID; got {_shown(value)}")


def format_tid(tid: int) -> str:
    """The 13 characters of a TID."""
    return "".join(_SORTABLE[tid >> 5 * place & 31] for place in range(12, -1, -1))


def tid_time_us(tid: int) -> int:
    """Microseconds since 1970 at which a TID says it was made."""
    return tid >> _CLOCK_ID_BITS


@lru_cache(maxsize=100_000)
def _is_did(text: str) -> bool:
    return len(text) <= _MAX_DID_CHARACTERS and _DID.fullmatch(text) is not None


def _shown(value: object) -> str:
    return repr(value)[:80]
