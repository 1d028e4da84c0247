"""Which event log the settings name, opened for reading or for writing."""

from pathlib import Path

from cluster.jetstream_log import JetStreamLog
from cluster.log import EventLog
from cluster.settings import Settings
from cluster.sqlite_log import SqliteLog


def features_lane(settings: Settings) -> int:
    """The lane of features as served: after those of events; only the archive reads it."""
    return settings.log.lanes


def open_writer(settings: Settings) -> EventLog:
    """The log for appending: with SQLite the one writer on this machine."""
    if settings.log.kind == "jetstream":
        return _jetstream(settings)
    path = sqlite_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteLog(
        path,
        n_lanes=settings.log.lanes + 1,
        deadline_s=settings.log.append_timeout_s,
    )


def open_reader(settings: Settings) -> EventLog:
    """The log for reading; any number of processes may."""
    if settings.log.kind == "jetstream":
        return _jetstream(settings)
    return SqliteLog.open_reader(sqlite_path(settings))


def sqlite_path(settings: Settings) -> Path:
    """Where the SQLite log lies."""
    return settings.data_dir / "log" / "events.sqlite"


def _jetstream(settings: Settings) -> EventLog:
    return JetStreamLog(
        settings.log.servers,
        stream=settings.namespace,
        n_lanes=settings.log.lanes + 1,
        replicas=settings.log.replicas,
        deadline_s=settings.log.append_timeout_s,
    )
