"""What `up` writes down for the commands that come later: where the system runs, and as what."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.durable import replace_file
from cluster.settings import Settings

_SHARED: dict[str, Any] = {
    "preset": True,
    "namespace": True,
    "archive_uri": True,
    "log": {"kind", "lanes", "servers", "replicas"},
    "shards": {"count", "kinds"},
}


@dataclass(frozen=True)
class RunRecord:
    """A running system, as the commands that come later have to know it."""

    address: str
    started_ray: bool
    """Whether this system started Ray, and so ends it too."""
    environment: dict[str, str]
    http_host: str
    http_port: int
    until_ms: int | None = None
    """The past instant at which its shards stop; None: they follow the log."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What every process of it has to agree on, as in a file of settings."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        until_ms: int | None,
        *,
        address: str,
        started_ray: bool,
        environment: dict[str, str],
    ) -> "RunRecord":
        """The record of a system with these settings."""
        shared = settings.model_dump(mode="json", include=_SHARED)
        http = settings.http
        return cls(address, started_ray, environment, http.host, http.port, until_ms, shared)

    def differences(self, settings: Settings, until_ms: int | None) -> list[str]:
        """In what a system as asked for would be another one than that which runs."""
        wanted = _flat(settings.model_dump(mode="json", include=_SHARED))
        found = [
            f"{name} is {value!r} and not {wanted[name]!r}"
            for name, value in _flat(self.settings).items()
            if name in wanted and wanted[name] != value
        ]
        if self.until_ms != until_ms:
            found.append(f"it is {_instant(self.until_ms)} and not {_instant(until_ms)}")
        return found


def read_record(settings: Settings) -> RunRecord | None:
    """What the last `up` wrote down, or None."""
    try:
        return RunRecord(**json.loads(_record_path(settings).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def replace_record(settings: Settings, record: RunRecord) -> None:
    """Write down how the system runs."""
    path = _record_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(record)).encode())


def forget_record(settings: Settings) -> None:
    """The system no longer runs."""
    _record_path(settings).unlink(missing_ok=True)


def _record_path(settings: Settings) -> Path:
    return settings.data_dir / "run.json"


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _instant(until_ms: int | None) -> str:
    return "live" if until_ms is None else f"as of {until_ms}"
