"""The one way in: `open_import` of a format's name and a path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.importers.bluesky import import_jetstream
from cluster.importers.cascades import CascadeMapping
from cluster.importers.contract import BATCH_EVENTS, Batches, Import, Report, UnreadableImport
from cluster.importers.datasets import read_dataset, read_part
from cluster.importers.lines import shown_name
from cluster.importers.mapping import TableMapping
from cluster.importers.native import import_arrow, import_ndjson, import_parquet
from cluster.importers.options import mapping_of, parse_epoch_ms
from cluster.importers.stages import checked, in_time_order, sized

FORMATS = ("ndjson", "parquet", "arrow", "jetstream", "csv", "tsv", "cascades", "dataset")
STATE_FILE = "jetstream.sqlite"
_NATIVE = {"ndjson": import_ndjson, "parquet": import_parquet, "arrow": import_arrow}


def open_import(
    format: str,
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    now_ms: int,
    state_dir: Path | None = None,
    start: int | None = None,
    batch_events: int = BATCH_EVENTS,
) -> Import:
    """Begin an import; nothing is read before its first batch is asked for.

    `path` is a file, `-` for standard input where the format has lines, or for `dataset`
    (options `name` and `epoch`) a folder. `options` of `csv`, `tsv` and `cascades` are those
    of `options.mapping_of`. `start` resumes behind the `Imported.position` of an earlier run;
    `jetstream` finds its place again by itself, in `state_dir`, which it needs.
    Raises `UnreadableImport` for an unknown format or option, here or from the iterator.
    """
    report = Report()
    path, options = str(path), dict(options or {})
    if format in _NATIVE:
        _no_options(format, options)
        batches = _NATIVE[format](
            path, report, now_ms=now_ms, start=start or 0, batch_events=batch_events
        )
    elif format == "jetstream":
        _no_options(format, options)
        if state_dir is None:
            raise UnreadableImport("jetstream needs a state folder: its deletes name only records")
        batches = import_jetstream(
            path,
            report,
            state=state_dir / STATE_FILE,
            now_ms=now_ms,
            start=start,
            batch_events=batch_events,
        )
    elif format in ("csv", "tsv", "cascades"):
        mapping = _mapping(format, options)
        events = checked(read_part(path, mapping, report), shown_name(path), report, now_ms=now_ms)
        if mapping.sort:
            events = in_time_order(events)
        batches = sized(events, report, batch_events=batch_events, start=start or 0)
    elif format == "dataset":
        batches = _dataset(path, options, report, now_ms, batch_events, start or 0)
    else:
        raise UnreadableImport(f"format {format!r} is unknown; there are {', '.join(FORMATS)}")
    return Import(report, batches)


def _mapping(format: str, options: dict[str, Any]) -> TableMapping | CascadeMapping:
    if format == "cascades":
        return mapping_of(CascadeMapping, options)
    if format == "tsv":
        options.setdefault("delimiter", "\t")
    return mapping_of(TableMapping, options)


def _dataset(
    path: str,
    options: dict[str, Any],
    report: Report,
    now_ms: int,
    batch_events: int,
    start: int,
) -> Batches:
    name = options.pop("name", Path(path).resolve().name)
    epoch = options.pop("epoch", None)
    _no_options("dataset", options)
    try:
        epoch_ms = None if epoch is None else parse_epoch_ms(epoch)
    except ValueError as error:
        raise UnreadableImport(f"option epoch = {epoch!r}: {error}") from error
    events = read_dataset(Path(path), name, report, now_ms=now_ms, epoch_ms=epoch_ms)
    return sized(in_time_order(events), report, batch_events=batch_events, start=start)


def _no_options(format: str, options: Mapping[str, Any]) -> None:
    if options:
        raise UnreadableImport(f"option {next(iter(options))!r} is unknown for {format}")
