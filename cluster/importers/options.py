"""Import options as a command line gives them: text to the fields of a mapping."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from cluster.events import KIND_OF_LABEL, Kind
from cluster.importers.authors import AuthorFile
from cluster.importers.cascades import CascadeMapping
from cluster.importers.contract import UnreadableImport
from cluster.importers.delimited import Column, Layout
from cluster.importers.mapping import Flag, TableMapping

M = TypeVar("M", TableMapping, CascadeMapping)


def mapping_of(kind: type[M], options: Mapping[str, Any]) -> M:
    """A `TableMapping` or `CascadeMapping` from options.

    A value is either what the field holds or its text: a column's name or index, a kind's
    name; `flags` as `column[:equals]=kind[@value column]` and `kinds` as `text=kind`, both
    separated by commas; `authors` as `path,item column,author column`. Besides the fields
    there are `epoch` (seconds or an ISO date), and for tables `delimiter` and `header`.
    Raises `UnreadableImport` naming the option.
    """
    known = {field.name for field in fields(kind)}
    own = {"epoch", "delimiter", "header"} if "layout" in known else {"epoch"}
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known | own:
            near = get_close_matches(name, known | own, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {sorted(known | own)}"
            raise UnreadableImport(f"option {name!r} is unknown; {hint}")
        if value is None:
            continue
        try:
            given[name] = _PARSERS.get(name, _as_given)(value)
        except (TypeError, ValueError) as error:
            raise UnreadableImport(f"option {name} = {value!r}: {error}") from error
    if "epoch" in given:
        given["epoch_ms"] = given.pop("epoch")
    if own & {"delimiter", "header"} & given.keys():
        layout = given.get("layout", Layout())
        given["layout"] = Layout(
            given.pop("delimiter", layout.delimiter), given.pop("header", layout.header)
        )
    if "actor" in known - given.keys():
        raise UnreadableImport("option actor (the user's column) is required")
    return kind(**given)


def parse_epoch_ms(value: Any) -> int:
    """Milliseconds since 1970 of seconds since then, or of an ISO 8601 date (UTC)."""
    if isinstance(value, int | float) or str(value).replace(".", "", 1).isdecimal():
        return round(float(value) * 1000)
    date = datetime.fromisoformat(str(value))
    return round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)


def _column(value: Any) -> Column:
    return int(value) if str(value).isdecimal() else str(value)


def _kind(value: Any) -> Kind:
    if isinstance(value, Kind):
        return value
    if value not in KIND_OF_LABEL:
        raise ValueError(f"{value!r} is not an event kind")
    return KIND_OF_LABEL[value]


def _kinds(value: Any) -> Any:
    if not isinstance(value, str):
        return {text: _kind(kind) for text, kind in value.items()}
    return {text: _kind(kind) for text, kind in _pairs(value)}


def _flags(value: Any) -> Any:
    if not isinstance(value, str):
        return tuple(value)
    flags = []
    for left, right in _pairs(value):
        column, _, equals = left.partition(":")
        kind, _, value_column = right.partition("@")
        flags.append(
            Flag(
                _column(column),
                _kind(kind),
                float(equals or 1),
                _column(value_column) if value_column else None,
            )
        )
    return tuple(flags)


def _pairs(value: str) -> list[tuple[str, str]]:
    pairs = []
    for item in value.split(","):
        left, equals, right = item.strip().rpartition("=")
        if not equals:
            raise ValueError(f"{item!r} is not of the form left=right")
        pairs.append((left, right))
    return pairs


def _authors(value: Any) -> AuthorFile:
    if isinstance(value, AuthorFile):
        return value
    path, item, author = str(value).rsplit(",", 2)
    delimiter = "\t" if Path(path.removesuffix(".gz")).suffix == ".tsv" else ","
    return AuthorFile(Path(path), _column(item), _column(author), Layout(delimiter))


def _always(value: Any) -> tuple[Kind, ...]:
    values = value.split(",") if isinstance(value, str) else value
    return tuple(_kind(kind) for kind in values)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("must be true or false")


def _as_given(value: Any) -> Any:
    return value


_PARSERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("actor", "target", "item", "time", "author", "value", "kind_column"), _column),
    **dict.fromkeys(("epoch_ms", "step_ms", "user_offset", "post_offset", "author_offset"), int),
    **dict.fromkeys(("header", "text_ids", "author_first", "user_first", "sort"), _flag),
    "kind": _kind,
    "kinds": _kinds,
    "flags": _flags,
    "always": _always,
    "authors": _authors,
    "items": Path,
    "epoch": parse_epoch_ms,
}
