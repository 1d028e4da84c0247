"""Immutable, versioned artifact folders: written whole or not at all, verified when opened."""

import fcntl
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from cluster import artifact_files
from cluster.artifact_files import SUFFIXES, ArtifactInvalid, Tensors
from cluster.artifact_manifest import (
    MANIFEST,
    ArtifactCorrupt,
    ArtifactSchemaMismatch,
    Manifest,
    manifest_bytes,
    read_manifest,
    verify_files,
)
from cluster.durable import sha256_of, sync_file, sync_folder, write_file

_LOG = logging.getLogger(__name__)
ABANDONED_AFTER_S = 3_600
"""A draft folder that nobody holds and nobody touched for this long is removed."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = re.compile(r"(\d{8}T\d{6})-(\d{4,})")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_DRAFT_PREFIX = ".writing-"


class ArtifactRefused(ValueError):
    """A name, version or file name that cannot be part of the registry (a path, a URI)."""


class ArtifactNotFound(LookupError):
    """No such artifact or version."""


@dataclass(frozen=True)
class Artifact:
    """A verified artifact; its files never change."""

    folder: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """The path of one of its files; raises `ArtifactNotFound` for any other name."""
        if name not in self.manifest.files:
            raise ArtifactNotFound(
                f"{self.manifest.name} {self.manifest.version} has no file {name!r}; "
                f"it has {sorted(self.manifest.files)}"
            )
        return self.folder / name

    def tensors(self, name: str) -> Tensors:
        """The arrays of a safetensors file, checked to be finite."""
        return artifact_files.read_tensors(self.file(name))

    def table(self, name: str) -> pa.Table:
        """An Arrow IPC file, mapped into memory and checked to be finite."""
        return artifact_files.read_table(self.file(name))

    def json(self, name: str) -> Any:
        """The value of a JSON file."""
        return artifact_files.read_json(self.file(name))


@dataclass
class Draft:
    """An artifact being written; `metrics` and `depends_on` may still be filled in."""

    folder: Path
    depends_on: dict[str, str]
    metrics: dict[str, Any]
    data_range_ms: tuple[int, int] | None
    version: str | None = field(default=None, init=False)
    """The version it became, once the `with` block has ended."""

    @property
    def written(self) -> str:
        """`version`, once there is one; raises `RuntimeError` before."""
        if self.version is None:
            raise RuntimeError("an artifact has a version once its `with` block has ended")
        return self.version

    def file(self, name: str) -> Path:
        """Where a file of this name is to be written (`index.hnsw`, by hnswlib itself)."""
        if name == MANIFEST or not _FILE.fullmatch(name) or Path(name).suffix not in SUFFIXES:
            raise ArtifactRefused(
                f"file name {name!r}: expected letters, digits, '_', '.', '-', ending in one of "
                f"{', '.join(SUFFIXES)}, and not {MANIFEST}"
            )
        return self.folder / name

    def write_tensors(
        self,
        name: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write arrays as safetensors; raises `ArtifactInvalid` for NaN and infinity."""
        artifact_files.write_tensors(self.file(name), tensors, metadata)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write an Arrow IPC file; raises `ArtifactInvalid` for NaN and infinity."""
        artifact_files.write_table(self.file(name), table)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file; raises `ArtifactInvalid` for NaN and infinity."""
        artifact_files.write_json(self.file(name), value)


class ArtifactStore:
    """The registry: `ROOT/NAME/VERSION/`, on a file system all its users share.

    Which version is active is not its business: activation is an event in the log.
    """

    def __init__(
        self, root: str | Path, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        if "://" in str(root):
            raise ArtifactRefused(f"artifact root {str(root)!r}: expected a folder, not a URI")
        self.root = Path(root).resolve()
        self._clock = clock

    @contextmanager
    def writing(
        self,
        name: str,
        *,
        schema_version: int,
        depends_on: Mapping[str, str] | None = None,
        metrics: Mapping[str, Any] | None = None,
        data_range_ms: tuple[int, int] | None = None,
    ) -> Iterator[Draft]:
        """A draft that becomes a new version when the block ends, and nothing if it fails.

        Raises `ArtifactRefused` for a bad name and `ArtifactInvalid` where a file must not be
        served; the versions before it stay untouched in either case.
        """
        _check_name(name)
        for other, version in (depends_on or {}).items():
            _check_version(other, version)
        home = self.root / name
        home.mkdir(parents=True, exist_ok=True)
        sync_folder(self.root)
        _remove_abandoned(home, self._clock())
        folder = home / f"{_DRAFT_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        draft = Draft(folder, dict(depends_on or {}), dict(metrics or {}), data_range_ms)
        # The lock says that the writer lives: training inside the block may take hours.
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield draft
            self._commit(name, schema_version, draft)
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)

    def open(self, name: str, version: str, *, schema_version: int | None = None) -> Artifact:
        """The artifact, after checking every file against the manifest.

        `schema_version` is the one the caller writes: it reads that and the one before.
        Raises `ArtifactRefused`, `ArtifactNotFound`, `ArtifactCorrupt` or
        `ArtifactSchemaMismatch`.
        """
        folder = self._folder(name, version)
        manifest = read_manifest(folder)
        found = manifest.schema_version
        if schema_version is not None and found not in (schema_version, schema_version - 1):
            raise ArtifactSchemaMismatch(
                f"{name} {version} has schema version {found}; this program reads "
                f"{schema_version - 1} and {schema_version}"
            )
        verify_files(folder, manifest)
        return Artifact(folder, manifest)

    def manifest(self, name: str, version: str) -> Manifest:
        """The manifest alone; the files are not looked at."""
        return read_manifest(self._folder(name, version))

    def versions(self, name: str) -> list[str]:
        """All versions, oldest first; none where nothing of this name was ever written."""
        _check_name(name)
        home = self.root / name
        if not home.is_dir():
            return []
        return sorted(
            (entry.name for entry in home.iterdir() if _VERSION.fullmatch(entry.name)), key=_order
        )

    def latest(
        self, name: str, data_until_ms: int | None = None, *, accepted: bool = False
    ) -> str | None:
        """The newest version; of those whose data ends at or before an instant, if one is given.

        With an instant, a version made from no events does not count: nothing says that it
        existed then. `accepted` passes over versions that their own job refused (metric `gate`).
        A version whose manifest cannot be read is passed over, and logged.
        """
        for manifest in self._newest_first(name, data_until_ms):
            if not (accepted and manifest.metrics.get("gate") == "refused"):
                return manifest.version
        return None

    def open_latest(
        self, name: str, data_until_ms: int | None = None, *, schema_version: int
    ) -> Artifact | None:
        """As `latest`, opened: damaged files and other schemas are passed over as well."""
        for manifest in self._newest_first(name, data_until_ms):
            try:
                return self.open(name, manifest.version, schema_version=schema_version)
            except (ArtifactCorrupt, ArtifactSchemaMismatch) as problem:
                _LOG.warning("%s %s is passed over: %s", name, manifest.version, problem)
        return None

    def _newest_first(self, name: str, data_until_ms: int | None) -> Iterator[Manifest]:
        for version in reversed(self.versions(name)):
            try:
                manifest = self.manifest(name, version)
            except (ArtifactCorrupt, ArtifactSchemaMismatch) as problem:
                _LOG.warning("%s %s is passed over: %s", name, version, problem)
                continue
            data = manifest.data_range_ms
            if data_until_ms is None or (data is not None and data[1] <= data_until_ms):
                yield manifest

    def _folder(self, name: str, version: str) -> Path:
        _check_version(name, version)
        folder = self.root / name / version
        if folder.is_symlink() or folder.parent.is_symlink():
            raise ArtifactRefused(f"{name} {version} is a link that may leave the registry")
        if not folder.is_dir():
            known = self.versions(name)
            raise ArtifactNotFound(
                f"no version {version} of artifact {name!r}; "
                + (f"the newest of {len(known)} is {known[-1]}" if known else "there is none")
            )
        return folder

    def _commit(self, name: str, schema_version: int, draft: Draft) -> None:
        files = {}
        for path in sorted(draft.folder.iterdir()):
            if path.is_symlink() or not path.is_file():
                raise ArtifactInvalid(f"{path.name}: an artifact is a flat folder of plain files")
            artifact_files.check_file(path)
            sync_file(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        if not files:
            raise ArtifactInvalid(f"the new version of {name!r} holds no file")
        for other, version in draft.depends_on.items():
            _check_version(other, version)
        while draft.version is None:
            created_ms = self._clock()
            version = self._next_version(name, created_ms)
            manifest = Manifest(
                name,
                version,
                schema_version,
                draft.depends_on,
                draft.metrics,
                draft.data_range_ms,
                created_ms,
                files,
            )
            write_file(draft.folder / MANIFEST, manifest_bytes(manifest))
            sync_folder(draft.folder)
            try:
                os.rename(draft.folder, self.root / name / version)
            except OSError:
                # Another writer took this version: a folder that holds files cannot be replaced.
                if not (self.root / name / version).is_dir():
                    raise
                continue
            draft.version = version
        sync_folder(self.root / name)

    def _next_version(self, name: str, now_ms: int) -> str:
        """Above every version there is, also where the clock went back."""
        stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")
        number = 1
        if versions := self.versions(name):
            last_stamp, last_number = _order(versions[-1])
            if last_stamp >= stamp:
                stamp, number = last_stamp, last_number + 1
        return f"{stamp}-{number:04d}"


def _order(version: str) -> tuple[str, int]:
    stamp, _, number = version.partition("-")
    return stamp, int(number)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArtifactRefused(
            f"artifact name {name!r}: expected a lower-case word such as 'light_ranker'"
        )


def _check_version(name: str, version: str) -> None:
    _check_name(name)
    if not _VERSION.fullmatch(version):
        raise ArtifactRefused(
            f"version {version!r} of artifact {name!r}: expected one such as '20260102T030405-0001'"
        )


def _remove_abandoned(home: Path, now_ms: int) -> None:
    for folder in home.glob(f"{_DRAFT_PREFIX}*"):
        try:
            touched_s = max(p.stat().st_mtime for p in [folder, *folder.iterdir()])
            if touched_s > now_ms / 1000 - ABANDONED_AFTER_S:
                continue
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its writer has just finished
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its writer lives
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
