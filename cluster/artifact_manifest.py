"""An artifact's manifest: what it is, what it holds, and whether its files are those."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.artifact_files import ArtifactInvalid
from cluster.durable import sha256_of

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1


class ArtifactCorrupt(RuntimeError):
    """An artifact whose files are not those its manifest lists."""


class ArtifactSchemaMismatch(RuntimeError):
    """An artifact in a schema that this program does not read."""


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and what it holds."""

    name: str
    version: str
    schema_version: int
    """Of the files of artifacts of this name."""
    depends_on: dict[str, str]
    """Name → version of the artifacts it was computed from and must be served with."""
    metrics: dict[str, Any]
    data_range_ms: tuple[int, int] | None
    """Half-open range of event times it was computed from; None: from no events."""
    created_ms: int
    files: dict[str, dict[str, Any]]
    """File name → `bytes` and `sha256`."""


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of its file, checksum of itself included; `ArtifactInvalid` if not JSON."""
    try:
        # As a reader will find it: JSON has no tuples and no keys but strings.
        content = json.loads(json.dumps({"format": MANIFEST_FORMAT, **vars(manifest)}))
        content["sha256"] = _digest(content)
        return json.dumps(content, indent=1).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ArtifactInvalid(f"{MANIFEST} of {manifest.name!r}: {error}") from error


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a folder; raises `ArtifactCorrupt` or `ArtifactSchemaMismatch`."""
    where = f"{folder.parent.name} {folder.name}"
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        expected = content.pop("sha256")
        found_format, found = content["format"], _digest(content)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt(f"{where}: {MANIFEST} cannot be read: {error!r}") from error
    if found != expected:
        raise ArtifactCorrupt(f"{where}: {MANIFEST} has SHA-256 {found}, it says {expected}")
    if found_format != MANIFEST_FORMAT:
        raise ArtifactSchemaMismatch(
            f"{where}: manifest format {found_format}; this program reads {MANIFEST_FORMAT}"
        )
    del content["format"]
    if content["data_range_ms"] is not None:
        content["data_range_ms"] = tuple(content["data_range_ms"])
    manifest = Manifest(**content)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ArtifactCorrupt(f"{where}: its manifest is {manifest.name} {manifest.version}'s")
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Raise `ArtifactCorrupt` unless the folder holds exactly the files listed."""
    where = f"{manifest.name} {manifest.version}"
    found = {path.name: path for path in folder.iterdir() if path.name != MANIFEST}
    if unlisted := sorted(set(found) - set(manifest.files)):
        raise ArtifactCorrupt(f"{where} holds {unlisted}, which its manifest does not list")
    for name, listed in manifest.files.items():
        path = found.get(name)
        if path is None or path.is_symlink() or not path.is_file():
            raise ArtifactCorrupt(f"{where}: {name} is missing or is not a plain file")
        n_bytes, checksum = path.stat().st_size, sha256_of(path)
        if (n_bytes, checksum) != (listed["bytes"], listed["sha256"]):
            raise ArtifactCorrupt(
                f"{where}: {name} has {n_bytes} bytes with SHA-256 {checksum}, "
                f"expected {listed['bytes']} bytes with {listed['sha256']}"
            )


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
