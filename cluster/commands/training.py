"""The commands that train, and make what was trained serve."""

import time
from collections.abc import Iterator
from typing import Any

from actors.models import HEAVY_RANKER, PROBLEMS
from cluster import launch
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.commands.bars import SILENT, Bars
from cluster.commands.bulk import Target, open_target
from cluster.settings import Settings
from training.job import Trained, TrainingError
from training.refresh import JOB_NAMES, refresh

ALL = "all"


def train(
    settings: Settings,
    name: str,
    until_ms: int | None,
    activate: bool,
    *,
    bars: Bars = SILENT,
    force: bool = True,
) -> Iterator[dict[str, Any]]:
    """Run one job, or `all`, and activate what they made in two phases; yields what became of
    each, and tells `bars` how far it is.

    `force` False passes over models that are fresh, and over what cannot be trained yet. Raises
    `TrainingError` for a name that no job has, and where the one job asked for has too little to
    learn from.
    """
    if name not in (ALL, *JOB_NAMES):
        raise TrainingError(f"no job is called {name!r}; there are: {ALL}, {', '.join(JOB_NAMES)}")
    settings = launch.absolute(settings)
    with open_target(settings) as target:
        bars.say("archiving")
        target.flush_archive()
        outcomes = refresh(
            settings,
            Archive(settings.archive_root),
            ArtifactStore(settings.data_dir / "artifacts"),
            now_ms=time.time_ns() // 1_000_000,
            names=JOB_NAMES if name == ALL else (name,),
            until_ms=until_ms,
            force=force,
            progress=bars.progress,
        )
        for outcome in outcomes:
            if not isinstance(outcome, Trained):
                bars.end(outcome.name, done=False)
                if force and name != ALL and not outcome.fresh:
                    raise TrainingError(outcome.reason)
                yield {"name": outcome.name, "version": None, "passed": outcome.reason}
                continue
            # A model of the past is for replays of the past, which choose it by its data.
            activated = activate and until_ms is None and outcome.metrics.get("gate") != "refused"
            if activated:
                bars.say(f"{outcome.name}: activating")
                _activate(settings, target, outcome.name, outcome.version)
            bars.end(outcome.name, done=True)
            yield {
                "name": outcome.name,
                "version": outcome.version,
                "activated": activated,
                "metrics": outcome.metrics,
                "seconds": round(sum(outcome.seconds.values()), 3),
            }


def with_workers(settings: Settings, workers: int) -> Settings:
    """Settings under which models that several workers can train have that many."""
    twhin = settings.training.twhin.model_copy(update={"workers": workers})
    ranker = settings.heavy_ranker.model_copy(update={"workers": workers})
    jobs = settings.training.model_copy(update={"twhin": twhin})
    return settings.model_copy(update={"training": jobs, "heavy_ranker": ranker})


def activate(settings: Settings, name: str, version: str) -> None:
    """Make a version that is there serve: an older one, to go back.

    Raises `TrainingError` for a name that no job has or a version that is not there, naming
    those that are, and `ArtifactCorrupt` where its files are not what was written.
    """
    if name not in JOB_NAMES:
        raise TrainingError(f"no job is called {name!r}; there are: {', '.join(JOB_NAMES)}")
    settings = launch.absolute(settings)
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    versions = artifacts.versions(name)
    if version not in versions:
        there = ", ".join(versions) or "none"
        raise TrainingError(f"{name} has no version {version!r}; there are: {there}")
    artifacts.open(name, version)
    with open_target(settings) as target:
        _activate(settings, target, name, version)


def _activate(settings: Settings, target: Target, name: str, version: str) -> None:
    """Every shard makes the version ready beside the old; then one event flips them all.

    Raises `TrainingError` for a version that a shard cannot make ready, and for a heavy ranker
    that does not fit, or whose answers are no numbers.
    """
    try:
        if name == HEAVY_RANKER:
            # Brings torch along, which other models do without.
            from training.heavy_ranker.loaded import read_model

            read_model(ArtifactStore(settings.data_dir / "artifacts"), version, settings)
        if target.running:
            launch.preload(settings, name, version)
    except PROBLEMS as error:
        # What a shard raised comes with Ray's account of where.
        problem = getattr(error, "cause", error)
        raise TrainingError(f"{name} {version} is not activated: {problem}") from error
    target.ingest.activate(name, version, now_ms=time.time_ns() // 1_000_000)
    if target.running:
        launch.wait_applied(settings)
