"""Which column of a table means what: the mapping of a columns-mapped import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cluster.events import ENGAGEMENTS, KIND_OF_LABEL, NEGATIVE_FEEDBACK, RULES, UNDONE_BY, Kind
from cluster.importers.authors import AuthorFile
from cluster.importers.contract import UnreadableImport
from cluster.importers.delimited import COMMA_SEPARATED, Column, Content, Layout

DEFAULT_EPOCH_MS = 1_262_304_000_000
"""2010-01-01: where data without a date of its own is put."""

EDGES = (Kind.FOLLOW, Kind.UNFOLLOW, Kind.BLOCK, Kind.UNBLOCK, Kind.MUTE, Kind.UNMUTE)
_ON_POSTS = {*ENGAGEMENTS, *NEGATIVE_FEEDBACK, *UNDONE_BY, Kind.IMPRESSION}

TIMES: dict[str, tuple[Content, float]] = {
    "s": (Content.NUMBER, 1000.0),
    "ms": (Content.INTEGER, 1.0),
    "us": (Content.INTEGER, 1e-3),
    "iso": (Content.DATE, 1.0),
}
"""Unit of a time column → how it is parsed, and milliseconds per unit."""


@dataclass(frozen=True)
class Flag:
    """A column that makes an event of every row where it equals `equals`.

    An edge kind (`follow`) is an edge from the user to the item's author.
    """

    column: Column
    kind: Kind
    equals: float = 1.0
    value: Column | None = None
    """The column of the event's `value`."""


@dataclass(frozen=True)
class TableMapping:
    """Follow edges (`actor`, `target`) or engagements (`actor`, `item`), one row each.

    What a row of engagements gives: one event of `kind`; or of the kind that `kind_column`
    names through `kinds`; or one for every flag that is set, after those of `always`.
    Without a time column the events are at `epoch_ms` plus `step_ms` per line. Integer ids
    are shifted by the offsets, since such files count from 0, which is no id.
    """

    actor: Column
    target: Column | None = None
    item: Column | None = None
    time: Column | None = None
    author: Column | None = None
    value: Column | None = None
    kind: Kind | None = None
    """`follow` for edges and `favourite` for engagements, unless given otherwise."""
    kind_column: Column | None = None
    kinds: Mapping[str, Kind] = field(default_factory=lambda: KIND_OF_LABEL)
    flags: tuple[Flag, ...] = ()
    always: tuple[Kind, ...] = ()
    time_unit: Literal["s", "ms", "us", "iso"] = "s"
    epoch_ms: int = DEFAULT_EPOCH_MS
    step_ms: int = 1
    layout: Layout = COMMA_SEPARATED
    text_ids: bool = False
    """Ids are text: each gets the hash of itself, and the text is kept in `uri`."""
    user_offset: int = 1
    post_offset: int = 1
    author_offset: int | None = None
    """For authors counted apart from users; otherwise authors are users."""
    authors: AuthorFile | None = None
    sort: bool = False
    """Put all in order of time, in memory; else the file's order is kept."""

    def __post_init__(self) -> None:
        if (self.target is None) == (self.item is None):
            raise UnreadableImport("map either a target column (edges) or an item column")
        if self.time_unit not in TIMES:
            raise UnreadableImport(f"time_unit {self.time_unit!r}; it is one of {', '.join(TIMES)}")
        if self.kind_column is not None and self.flags:
            raise UnreadableImport("map either a kind column or flags")
        if self.target is not None:
            if self.flags or self.always or self.author is not None or self.authors is not None:
                raise UnreadableImport("flags, always and authors go with an item column")
            allowed = set(EDGES)
        else:
            allowed = {*_ON_POSTS, *EDGES}
        kinds = [self.constant_kind, *(flag.kind for flag in self.flags), *self.always]
        for kind in kinds:
            if kind is not None and kind not in allowed:
                raise UnreadableImport(f"a row of this table cannot be a {kind.label}")
        for flag in self.flags:
            if flag.value is not None and "value" not in RULES[flag.kind].may:
                raise UnreadableImport(f"a {flag.kind.label} has no value")

    @property
    def constant_kind(self) -> Kind | None:
        """The kind of every row, if the rows do not say."""
        if self.kind is not None:
            return self.kind
        if self.kind_column is not None or self.flags:
            return None
        return Kind.FOLLOW if self.target is not None else Kind.FAVOURITE

    @property
    def has_pseudo_authors(self) -> bool:
        """Whether some post may have no author but a pseudo-author."""
        return self.item is not None and self.author is None
