"""What viewers may choose of their own timeline: the names and values of such events."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import Kind

RESET = -1.0
"""The value of a preference that takes the choice back."""
LANGUAGE_PREFIX = "language:"
"""`language:de` with the value 1 asks for posts in German; 0 and `RESET` do no longer."""
MAX_KEYWORD_BYTES = 256


@dataclass(frozen=True)
class Choice:
    """What a preference may be set to, besides `RESET`."""

    low: float
    high: float
    whole: bool
    """Only whole numbers."""
    meaning: str


PREFERENCES: dict[str, Choice] = {
    "in_network_share": Choice(
        0, 1, False, "how much of the timeline is by accounts that the viewer follows"
    ),
    "languages_only": Choice(0, 1, True, "only posts in the languages that the viewer chose"),
    "no_topics": Choice(0, 1, True, "no post is recommended by the topics that it is about"),
    "ad_free": Choice(0, 1, True, "no ads, for viewers who pay"),
}
"""Name → what it is. Beside these stand languages, see `LANGUAGE_PREFIX`."""

_LANGUAGE = Choice(0, 1, True, "posts in this language")
_LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?")
_MODULE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MODULE_KINDS = (Kind.DISMISS, Kind.MODULE_SERVED)


def choice_of(name: str) -> Choice | None:
    """What the preference of a name may be set to; None where there is no such preference."""
    if name.startswith(LANGUAGE_PREFIX):
        code = name.removeprefix(LANGUAGE_PREFIX)
        return _LANGUAGE if _LANGUAGE_CODE.fullmatch(code) else None
    return PREFERENCES.get(name)


@dataclass(frozen=True)
class BadChoices:
    """One thing wrong with some rows."""

    rows: npt.NDArray[np.bool_]
    """Shape (n,)."""
    field: str
    message: str


def bad_choices(
    kinds: npt.NDArray[np.uint8],
    values: npt.NDArray[np.float32],
    names: pa.Array | None,
    keywords: pa.Array | None,
) -> list[BadChoices]:
    """What is wrong with the names, values and keywords of choices; columns of n rows.

    Rows that lack what their kind needs are left to whoever checks that.
    """
    found = []
    if names is not None:
        found += _bad_preferences(np.flatnonzero(kinds == Kind.PREFERENCE), values, names)
        rows = np.flatnonzero(np.isin(kinds, _MODULE_KINDS))
        wrong = [n is not None and not _MODULE.fullmatch(n) for n in _taken(names, rows)]
        bad = _rows(len(kinds), rows, wrong)
        message = "must be a module's name: at most 40 of a-z, 0-9 and _, a letter first"
        found.append(BadChoices(bad, "name", message))
    if keywords is not None:
        rows = np.flatnonzero(np.isin(kinds, (Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE)))
        bad = _rows(len(kinds), rows, [not _is_keyword(k) for k in _taken(keywords, rows)])
        message = f"must be 1 to {MAX_KEYWORD_BYTES} bytes of UTF-8 that are not all spaces"
        found.append(BadChoices(bad, "keyword", message))
    return found


def _bad_preferences(
    rows: npt.NDArray[np.int64], values: npt.NDArray[np.float32], names: pa.Array
) -> list[BadChoices]:
    given = _taken(names, rows)
    choices = [choice_of(name) if name is not None else None for name in given]
    unknown = [n is not None and c is None for n, c in zip(given, choices, strict=True)]
    wrong = [
        c is not None and not _fits(value, c)
        for value, c in zip(values[rows].tolist(), choices, strict=True)
    ]
    named = [*PREFERENCES.items(), (f"{LANGUAGE_PREFIX}<code>", _LANGUAGE)]
    known = ", ".join(name for name, _ in named)
    ranges = ", ".join(f"{name} {_told(choice)}" for name, choice in named)
    return [
        BadChoices(_rows(len(values), rows, unknown), "name", f"must be one of {known}"),
        BadChoices(_rows(len(values), rows, wrong), "value", f"must be {RESET:g}, or of {ranges}"),
    ]


def _fits(value: float, choice: Choice) -> bool:
    if value == RESET:
        return True
    return choice.low <= value <= choice.high and (not choice.whole or value == int(value))


def _told(choice: Choice) -> str:
    return f"{choice.low:g} {'or' if choice.whole else 'to'} {choice.high:g}"


def _is_keyword(keyword: str | None) -> bool:
    if keyword is None:
        return True
    return bool(keyword.strip()) and len(keyword.encode()) <= MAX_KEYWORD_BYTES


def _taken(column: pa.Array, rows: npt.NDArray[np.int64]) -> list[str | None]:
    taken: list[str | None] = column.take(pa.array(rows)).to_pylist() if len(rows) else []
    return taken


def _rows(n: int, rows: npt.NDArray[np.int64], bad: list[bool]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(n, bool)
    mask[rows[np.array(bad, bool)]] = True
    return mask
