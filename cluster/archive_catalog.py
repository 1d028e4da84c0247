"""Which files make up the archive: its layout, and the one small file that commits a change."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.archive_files import ArchiveCorrupt, Storage
from cluster.events import EDGES, ENGAGEMENTS, MENTIONS, NEGATIVE_FEEDBACK, UNDONE_BY, Kind

CATALOG = "positions.json"
CATALOG_FORMAT = 1
DAY_MS = 86_400_000
FEATURES = "served_features"
PAGES = "served_pages"
"""What the heavy ranker was given, a row a page; also the `form` of such streams in the log."""

KIND_GROUPS: dict[str, frozenset[Kind]] = {
    "users": frozenset(
        k
        for k in Kind
        if k.name.startswith(("USER_", "KEYWORD_", "TOPIC_", "LIST_"))
        or k in (Kind.PREFERENCE, Kind.DISMISS)
    ),
    "posts": frozenset(k for k in Kind if k.name.startswith(("POST_", "SAFETY_"))),
    "edges": frozenset({*EDGES, *MENTIONS}),
    "engagements": frozenset({*ENGAGEMENTS, *NEGATIVE_FEEDBACK, *UNDONE_BY}),
    "exposures": frozenset({Kind.SERVED, Kind.IMPRESSION, Kind.MODULE_SERVED}),
    "activations": frozenset({Kind.ARTIFACT_ACTIVATE}),
}
"""What is read together lies together: a job that learns from engagements opens no file with
post texts, and none with the many exposures."""


class ArchiveConflict(RuntimeError):
    """Another archiver works on the same archive; there must be one."""


@dataclass(frozen=True)
class Entry:
    """A committed file."""

    rows: int
    bytes: int


@dataclass
class Catalog:
    """The committed state. A file that is not in here does not exist for readers."""

    generation: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    """Lane → offset of the last record archived."""
    folders: dict[str, dict[str, Entry]] = field(default_factory=dict)
    """Folder → file name → what it holds. The order of names is the order of writing."""
    retired: dict[str, int] = field(default_factory=dict)
    """File replaced by a compaction → when, ms UTC; kept for readers that began before."""

    @classmethod
    def load(cls, storage: Storage) -> "Catalog":
        """The newest committed state; an empty one where there is no archive yet."""
        content = storage.read(CATALOG)
        return cls() if content is None else _decode(content, storage.full(CATALOG))

    def commit(self, storage: Storage) -> None:
        """Make this the committed state; raises `ArchiveConflict` where somebody else did.

        The check catches a second archiver, it does not order two: there must be one.
        """
        found = Catalog.load(storage).generation
        if found != self.generation:
            raise ArchiveConflict(
                f"{storage.full(CATALOG)} is at generation {found}, expected {self.generation}: "
                "another archiver works on this archive"
            )
        self.generation += 1
        storage.replace(CATALOG, _encode(self))

    def add(self, folder: str, name: str, entry: Entry) -> None:
        """List a file."""
        self.folders.setdefault(folder, {})[name] = entry

    def dates(self, groups: Collection[str]) -> list[str]:
        """Dates with events of these groups, in order."""
        return sorted({date for group, date, _ in self._event_folders() if group in groups})

    def event_files(self, date: str, groups: Collection[str]) -> dict[str, Entry]:
        """Path → entry of the files with the events of a date, in the order of writing."""
        return {
            f"{folder}/{name}": entry
            for folder in sorted(events_folder(group, date) for group in groups)
            for name, entry in sorted(self.folders.get(folder, {}).items())
        }

    def served_files(self, root: str) -> list[tuple[str, str, dict[str, Entry]]]:
        """(date, schema, path → entry) of every folder of `FEATURES` or `PAGES`, by date."""
        return sorted(
            (
                (_value(folder, "date"), _value(folder, "features"), files)
                for folder, names in self.folders.items()
                if folder.startswith(f"{root}/")
                for files in [{f"{folder}/{name}": names[name] for name in sorted(names)}]
            ),
            key=lambda found: found[:2],
        )

    def _event_folders(self) -> Iterator[tuple[str, str, str]]:
        for folder in self.folders:
            if folder.startswith("events/"):
                yield _value(folder, "kind_group"), _value(folder, "date"), folder


def events_folder(group: str, date: str) -> str:
    """Where the events of one group and date lie (Hive partitioning)."""
    return f"events/kind_group={group}/date={date}"


def served_folder(root: str, features: str, date: str) -> str:
    """Where what was served on one date lies (`FEATURES`, `PAGES`); `features` is its schema."""
    return f"{root}/features={features}/date={date}"


def groups_of(kinds: Iterable[Kind] | None) -> list[str]:
    """The groups that hold these kinds; all of them for None."""
    wanted = set(Kind) if kinds is None else set(kinds)
    return [group for group, members in KIND_GROUPS.items() if members & wanted]


def dates_of(times_ms: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The UTC dates on which these instants lie, in order, and which of them each is on."""
    days, codes = np.unique(times_ms // DAY_MS, return_inverse=True)
    return np.datetime_as_string(days.astype("datetime64[D]")).tolist(), codes


def start_of_date_ms(date: str) -> int:
    """The first instant of a UTC date; raises `ValueError` for anything but `2026-01-02`."""
    return int(np.datetime64(date, "D").astype("datetime64[ms]").astype(np.int64))


def _value(folder: str, key: str) -> str:
    return next(p.removeprefix(f"{key}=") for p in folder.split("/") if p.startswith(f"{key}="))


def _encode(catalog: Catalog) -> bytes:
    content = {
        "format": CATALOG_FORMAT,
        "generation": catalog.generation,
        "positions": {str(lane): offset for lane, offset in sorted(catalog.positions.items())},
        "folders": {
            folder: {name: [e.rows, e.bytes] for name, e in files.items()}
            for folder, files in catalog.folders.items()
            if files
        },
        "retired": catalog.retired,
    }
    content["sha256"] = _digest(content)
    return json.dumps(content, separators=(",", ":")).encode()


def _decode(content: bytes, where: str) -> Catalog:
    try:
        found = json.loads(content)
        expected, version = found.pop("sha256"), found["format"]
        digest = _digest(found)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArchiveCorrupt(f"{where} cannot be read: {error!r}") from error
    if digest != expected:
        raise ArchiveCorrupt(f"{where} has SHA-256 {digest}, it says {expected}")
    if version != CATALOG_FORMAT:
        raise ArchiveCorrupt(f"{where} has format {version}; this program reads {CATALOG_FORMAT}")
    return Catalog(
        found["generation"],
        {int(lane): offset for lane, offset in found["positions"].items()},
        {
            folder: {name: Entry(*entry) for name, entry in files.items()}
            for folder, files in found["folders"].items()
        },
        found["retired"],
    )


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
