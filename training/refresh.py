"""Which job runs when: the models, in an order in which each comes after those it may build on."""

import importlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import DAY_MS, HOUR_MS, Settings
from training.job import NothingNew, Progress, Trained, TrainingError, silent


class Train(Protocol):
    """A job: everything archived before `until_ms` in, one new artifact out."""

    def __call__(
        self,
        settings: Settings,
        archive: Archive,
        artifacts: ArtifactStore,
        *,
        until_ms: int | None = None,
        progress: Progress = silent,
    ) -> Trained:
        """Raises `TrainingError` where there is too little to learn from."""


@dataclass(frozen=True)
class Job:
    """A model and its cadence."""

    name: str
    """Of the artifact, and on the command line."""
    module: str
    """Which has the job as `train`; imported when it runs, since some bring torch along."""
    every_ms: int
    """How old what it learned from may be before it runs again."""

    @property
    def train(self) -> Train:
        """The job itself."""
        return cast(Train, importlib.import_module(self.module).train)


JOBS = (
    Job("trust_and_safety", "training.trust_and_safety.job", 7 * DAY_MS),
    Job("real_graph", "training.real_graph.job", DAY_MS),
    Job("tweepcred", "training.tweepcred", DAY_MS),
    # The published cadence of KnownFor; the blog speaks of three weeks.
    Job("simclusters", "training.simclusters.job", 7 * DAY_MS),
    Job("twhin", "training.twhin.job", DAY_MS),
    Job("aggregates", "training.aggregates", DAY_MS),
    Job("light_ranker", "training.light_ranker", DAY_MS),
    # Trained all the time in the original; each run goes on from the weights of the last.
    Job("heavy_ranker", "training.heavy_ranker.job", HOUR_MS // 2),
)

JOB_NAMES = tuple(job.name for job in JOBS)


@dataclass(frozen=True)
class Passed:
    """A job that did not run, and why: its model is fresh, or there is nothing to learn from."""

    name: str
    reason: str
    fresh: bool


def refresh(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    now_ms: int,
    names: Collection[str] = JOB_NAMES,
    until_ms: int | None = None,
    force: bool = False,
    jobs: Sequence[Job] = JOBS,
    progress: Progress = silent,
) -> Iterator[Trained | Passed]:
    """Run the jobs that are due, one after the other; yields what became of each.

    Due is a job whose newest model ended its data longer ago than its cadence, or was made from
    a model that is not the newest any more; `force` runs all. With `until_ms` that instant is
    the present, for jobs and for what counts as fresh. A job with too little to learn from
    stops no other; one that has learnt from all there is counts as fresh.
    """
    for job in jobs:
        if job.name not in names:
            continue
        reason = "" if force else _fresh(job, artifacts, until_ms or now_ms, until_ms)
        if reason:
            yield Passed(job.name, reason, fresh=True)
            continue
        try:
            yield job.train(
                settings, archive, artifacts, until_ms=until_ms, progress=_of(job, progress)
            )
        except TrainingError as error:
            yield Passed(job.name, str(error), fresh=isinstance(error, NothingNew))


def _of(job: Job, progress: Progress) -> Progress:
    return lambda what, share: progress(f"{job.name}: {what}", share)


def _fresh(job: Job, artifacts: ArtifactStore, now_ms: int, until_ms: int | None) -> str:
    """Why a job need not run; the empty string where it must."""
    version = artifacts.latest(job.name, until_ms)
    if version is None:
        return ""
    manifest = artifacts.manifest(job.name, version)
    ends_ms = manifest.data_range_ms[1] if manifest.data_range_ms else manifest.created_ms
    if now_ms - ends_ms >= job.every_ms:
        return ""
    for other, made_from in manifest.depends_on.items():
        # A model that went on from an earlier one of its own is not made older by that.
        if other != job.name and artifacts.latest(other, until_ms) != made_from:
            return ""
    hours = (now_ms - ends_ms) / 3.6e6
    return f"{version} is fresh: its data ends {max(hours, 0):.1f} h ago"
