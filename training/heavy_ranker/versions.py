"""What earlier runs made: the version to go on from, those to judge beside, what was tried."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.features.inputs import Schema
from actors.features.tasks import TASK_NAMES
from actors.models import HEAVY_RANKER
from cluster.artifact_manifest import Manifest
from cluster.artifacts import ArtifactNotFound, ArtifactStore
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.evaluate import Judged
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.gate import ACCEPTED

SIZES = (
    *("row_norm", "form", "blocks", "mask_width", "block_width", "backbone", "towers"),
    "tables",
)
"""Settings by which weights have other shapes."""


@dataclass(frozen=True)
class Version:
    """A version made before: what it knows already, and whether it can be gone on from."""

    name: str
    folder: Path
    fits: bool
    """It reads the same inputs, so that it can be judged on the same examples."""
    goes_on: bool
    """It has the same sizes too."""
    trained_until_ms: int
    """Requests from this instant on it has not learnt from."""
    learnt_from: int
    """About how many examples its weights have learnt from, those of earlier versions that it went
    on from included."""
    schema: Schema
    settings: HeavyRankerSettings
    """With the sizes of that version."""
    calibration: dict[str, tuple[float, float]]

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        artifacts: ArtifactStore,
        schema: Schema,
        settings: HeavyRankerSettings,
    ) -> "Version":
        """Reads what the version says of itself."""
        artifact = artifacts.open(HEAVY_RANKER, manifest.version)
        told = artifact.json("model.json")
        fits = told["schema"]["fingerprint"] == schema.fingerprint
        fits &= tuple(told["tasks"]) == TASK_NAMES
        own = HeavyRankerSettings.model_validate({**settings.model_dump(), **told["settings"]})
        same = all(getattr(own, size) == getattr(settings, size) for size in SIZES)
        return cls(
            manifest.version,
            artifact.folder,
            fits,
            fits and same,
            int(manifest.metrics["held_out_from_ms"]),
            int(manifest.metrics.get("learnt_from", manifest.metrics["examples"]["examples"])),
            schema,
            own,
            {task: (a, b) for task, (a, b) in told["calibration"].items()},
        )

    def judged(self, examples: ExampleSet) -> Judged:
        """What it says of examples that it has not learnt from; it must fit."""
        # Importing torch takes seconds, which only those who judge should pay.
        from training.heavy_ranker.export import read_weights
        from training.heavy_ranker.fit import judge
        from training.heavy_ranker.model import HeavyRanker

        model = HeavyRanker(self.schema, self.settings).eval()
        model.load_state_dict(read_weights(self.folder, self.schema, self.settings))
        return judge(model, self.calibration, examples)


@dataclass(frozen=True)
class Tried:
    """The newest version of a recipe, whatever became of it."""

    version: str
    accepted: bool
    until_ms: int
    """Its examples are all of requests before; those from then on are new."""
    examples: int


def newest_accepted(artifacts: ArtifactStore, until_ms: int) -> Manifest | None:
    """The newest accepted version whose data ends by an instant."""
    for manifest in _newest_first(artifacts, until_ms):
        if manifest.metrics.get("gate") == ACCEPTED:
            return manifest
    return None


def reference_of(
    earlier: Manifest, artifacts: ArtifactStore, schema: Schema, settings: HeavyRankerSettings
) -> Version | None:
    """The best version there was when the earlier one was accepted.

    None where that was the earlier one itself, where it reads other inputs, or is gone.
    """
    told: dict[str, Any] = earlier.metrics.get("reference") or {}
    if told.get("version", earlier.version) == earlier.version:
        return None
    try:
        manifest = artifacts.manifest(HEAVY_RANKER, told["version"])
        found = Version.of(manifest, artifacts, schema, settings)
    except ArtifactNotFound:
        return None
    return found if found.fits else None


def last_tried(artifacts: ArtifactStore, recipe: str, until_ms: int) -> Tried | None:
    """What the newest version of a recipe was made from, of data that ends by an instant."""
    for manifest in _newest_first(artifacts, until_ms):
        metrics = manifest.metrics
        if metrics.get("recipe") == recipe:
            examples = metrics["examples"]
            accepted = metrics["gate"] == ACCEPTED
            return Tried(
                manifest.version, accepted, int(examples["range_ms"][1]), int(examples["examples"])
            )
    return None


def _newest_first(artifacts: ArtifactStore, until_ms: int) -> list[Manifest]:
    found = [
        artifacts.manifest(HEAVY_RANKER, version) for version in artifacts.versions(HEAVY_RANKER)
    ]
    ended = [m for m in found if m.data_range_ms and m.data_range_ms[1] <= until_ms]
    return ended[::-1]
