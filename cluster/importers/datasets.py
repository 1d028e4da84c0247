"""Presets of research data sets: which files a data set has, and what their columns mean."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from cluster.events import Kind
from cluster.importers.authors import AuthorFile
from cluster.importers.cascades import CascadeMapping, read_cascades
from cluster.importers.contract import Report, UnreadableImport
from cluster.importers.delimited import Layout
from cluster.importers.mapping import Flag, TableMapping
from cluster.importers.stages import Piece, checked
from cluster.importers.table import read_table


@dataclass(frozen=True)
class Part:
    """One file of a data set."""

    file: str
    mapping: TableMapping | CascadeMapping


@dataclass(frozen=True)
class Dataset:
    """The files of a data set and their source. Its events are put in order of time."""

    source: str
    parts: tuple[Part, ...]


_EDGES = TableMapping(actor=0, target=1, layout=Layout(header=False), step_ms=0)
_RECBOLE = Layout(delimiter="\t")
_KUAIRAND_AUTHORS = AuthorFile(Path("video_features_basic_pure.csv"), "video_id", "author_id")
_KUAIRAND_AUTHOR_OFFSET = 1_000_000_000
"""KuaiRand counts authors (below 9 M) apart from users (below 28 k): a user and an author of
one number are two people."""

DATASETS: dict[str, Dataset] = {
    "christianity": Dataset(
        "StackExchange Christianity: who follows whom, and cascades in relative seconds",
        (Part("edges.txt", _EDGES), Part("cascades.txt", CascadeMapping())),
    ),
    "android": Dataset(
        "StackExchange Android, in the form of christianity",
        (Part("edges.txt", _EDGES), Part("cascades.txt", CascadeMapping())),
    ),
    "kuairand": Dataset(
        "KuaiRand-Pure: first clicks of a month, and impressions with several kinds of feedback",
        (
            Part(
                "clicks.txt",
                CascadeMapping(
                    kind=Kind.CLICK,
                    epoch_ms=0,
                    chunk_separator=" ",
                    field_separator=",",
                    author_first=False,
                    items=Path("clicks_video_ids.txt"),
                    authors=_KUAIRAND_AUTHORS,
                    author_offset=_KUAIRAND_AUTHOR_OFFSET,
                ),
            ),
            Part(
                "multi_feedback.tsv",
                TableMapping(
                    actor="user_id",
                    item="video_id",
                    time="time_ms",
                    time_unit="ms",
                    sort=True,  # the file is in order of users
                    layout=Layout(delimiter="\t"),
                    always=(Kind.IMPRESSION,),
                    flags=(
                        Flag("is_click", Kind.CLICK),
                        Flag("long_view", Kind.VIDEO_WATCH, value="play_time_ms"),
                        Flag("is_follow", Kind.FOLLOW),
                        Flag("is_comment", Kind.REPLY),
                        Flag("is_forward", Kind.REPOST),
                        Flag("is_profile_enter", Kind.PROFILE_CLICK),
                        Flag("label", Kind.FAVOURITE, equals=1),
                        Flag("label", Kind.NOT_INTERESTED, equals=0),
                    ),
                    authors=_KUAIRAND_AUTHORS,
                    author_offset=_KUAIRAND_AUTHOR_OFFSET,
                ),
            ),
        ),
    ),
    "flickr": Dataset(
        "Flickr as used for DiffNet: follows, and likes of images; neither has a time",
        (
            Part(
                "flickr.net",
                TableMapping(
                    actor="source_id:token", target="target_id:token", layout=_RECBOLE, step_ms=0
                ),
            ),
            Part(
                "flickr.inter",
                TableMapping(actor="user_id:token", item="item_id:token", layout=_RECBOLE),
            ),
        ),
    ),
}


def read_dataset(
    folder: Path, name: str, report: Report, *, now_ms: int, epoch_ms: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Checked events of a data set's files, one file after the other.

    `epoch_ms` takes the place of the presets' own where times are relative or absent.
    """
    if name not in DATASETS:
        raise UnreadableImport(f"data set {name!r} is unknown; there are {', '.join(DATASETS)}")
    for part in DATASETS[name].parts:
        path = _path_of(folder, part.file, name)
        pieces = read_part(path, _at_epoch(part.mapping, epoch_ms), report)
        yield from checked(pieces, path, report, now_ms=now_ms)


def read_part(path: str, mapping: TableMapping | CascadeMapping, report: Report) -> Iterator[Piece]:
    """Unchecked events of one file, by the reader that its mapping is for."""
    if isinstance(mapping, TableMapping):
        return read_table(path, mapping, report)
    return read_cascades(path, mapping, report)


def _path_of(folder: Path, file: str, name: str) -> str:
    for candidate in (folder / file, folder / f"{file}.gz"):
        if candidate.is_file():
            return str(candidate)
    raise UnreadableImport(f"data set {name} needs {folder / file}, which is not there")


def _at_epoch(
    mapping: TableMapping | CascadeMapping, epoch_ms: int | None
) -> TableMapping | CascadeMapping:
    has_own_times = (
        mapping.time is not None if isinstance(mapping, TableMapping) else mapping.epoch_ms == 0
    )
    return mapping if epoch_ms is None or has_own_times else replace(mapping, epoch_ms=epoch_ms)
