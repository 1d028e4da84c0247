"""The system as an arm of the closed loop: the real pipeline in this process, and what it learns.

Events go through validation, routing and the log to one shard's state; pages come from
`Timelines`; what was served is logged and archived with its features; jobs learn from the
archive, and what they made is activated by an event, as in a running system.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.inputs import RankerInputs
from actors.models import HEAVY_RANKER, PROBLEMS, Models
from actors.ranker import NO_RANKER, Ranker
from actors.router import LocalRouter
from actors.state import ShardState
from cluster.archive import Archive
from cluster.archiver import Archiver
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from cluster.logs import features_lane, open_writer
from cluster.routing import encode, route
from cluster.settings import DAY_MS, Settings
from cluster.validation import Checked, check_batch, check_objects
from simulation.feeds import NOTHING, Moment
from timeline.pages import Page
from timeline.served import SAMPLE, features_record, served_events
from timeline.timelines import Timelines
from training.job import Trained
from training.refresh import JOB_NAMES, refresh

_LOG = logging.getLogger(__name__)
_MONTH_MS = 30 * DAY_MS
_REFUSED = "refused"
"""The metric `gate` of a version that must not serve."""
_SECRET = bytes(32)
"""Nobody pages on, so no cursor leaves this process."""
JOBS = tuple(name for name in JOB_NAMES if name not in ("trust_and_safety", HEAVY_RANKER))
"""What runs each day, unless the heavy ranker does too. The world labels its posts itself."""
MAX_EXAMPLES = 30_000
"""For the light ranker: most are impressions of chronological feeds, which have to be replayed."""


@dataclass
class Learned:
    """What became of one job at the end of a day."""

    day: int
    name: str
    version: str | None
    """None where nothing was learned; `passed` says why."""
    passed: str
    """Also why a version does not serve; empty where it does."""
    seconds: float
    """Wall clock."""
    metrics: dict[str, Any] = field(repr=False)


class System:
    """A feed policy and a listener; open it as a context.

    `settings` shape it as they would a running system, but for one shard, a SQLite log,
    `MAX_EXAMPLES`, and the `folder` in which it keeps everything. `jobs` run at the end of each
    day; `ranker(artifacts, settings)` is what scores where one of them is the heavy ranker.
    Raises `ValueError` for a job that there is none of.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        jobs: Sequence[str] = JOBS,
        ranker: Callable[[ArtifactStore, Settings], Ranker] = lambda artifacts, settings: NO_RANKER,
    ) -> None:
        if unknown := set(jobs) - set(JOB_NAMES):
            raise ValueError(f"no job is called {sorted(unknown)}; there are {JOB_NAMES}")
        training = settings.training
        most = min(training.max_examples, MAX_EXAMPLES)
        settings = settings.model_copy(
            update={
                "data_dir": folder,
                "archive_uri": "",
                "log": settings.log.model_copy(update={"kind": "sqlite"}),
                "shards": settings.shards.model_copy(update={"count": 1}),
                "training": training.model_copy(update={"max_examples": most}),
            }
        )
        self._settings = settings
        self._jobs = jobs
        self._now_ms = 0
        self._artifacts = ArtifactStore(folder / "artifacts", lambda: self._now_ms)
        models = Models(self._artifacts)
        self._state = ShardState(settings, models)
        self._timelines = Timelines(
            settings,
            LocalRouter([self._state]),
            models,
            _SECRET,
            ranker(self._artifacts, settings),
        )
        self._rng = np.random.default_rng(0)
        self._days = 0
        self.learned: list[Learned] = []
        self.notes: Counter[str] = Counter()
        """What was missing from pages, and how often."""
        self.sources: list[Counter[str]] = [Counter()]
        """For each day, how many of the posts served came from each source."""
        self.page_s = 0.0
        """Wall clock of all pages."""
        self.pages = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._log = self._stack.enter_context(open_writer(self._settings))
        self._archiver = Archiver(
            self._log,
            self._settings.archive_root,
            range(self._settings.log.lanes),
            features_lane=features_lane(self._settings),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def hear(self, events: pa.RecordBatch) -> None:
        """Take events in. What comes first is history, which is told as the last month's."""
        first, self._now_ms = self._now_ms == 0, int(events.column("time_ms")[-1].as_py())
        events = _of_a_month(events, self._now_ms) if first else events
        self._take_in(check_batch(events, now_ms=self._now_ms), imported=first)

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """A page for each viewer, one after the other, and a record of what was served."""
        posts, user_ids = moment.world.posts, moment.world.population.user_ids
        feeds = np.full((len(moment.viewers), n_posts), NOTHING)
        pages = []
        began_s = time.perf_counter()
        for place, request_id in enumerate(moment.request_ids):
            viewer_id = int(user_ids[moment.viewers[place]])
            now_ms = int(moment.starts_ms[place])
            page = self._timelines.for_you(viewer_id, n_posts, now_ms=now_ms)
            feeds[place, : len(page.shown)] = posts.rows_of(page.shown.post_ids)
            self.notes.update(page.degraded)
            self.sources[-1].update(item.source for item in page.items)
            # A request's name is drawn anew each time; this one is the same in every run.
            pages.append(replace(page, request_id=request_id))
        self.page_s += time.perf_counter() - began_s
        self.pages += len(pages)
        self._record([page for page in pages if len(page.shown)])
        return feeds

    def learn(self, now_ms: int) -> None:
        """Archive everything, run the jobs on it, and activate what they made."""
        self._days += 1
        self.sources.append(Counter())
        self._now_ms = now_ms
        while self._archiver.step():
            pass
        archive = Archive(self._settings.archive_root)
        for name in self._jobs:
            began_s = time.perf_counter()
            (outcome,) = refresh(
                self._settings,
                archive,
                self._artifacts,
                now_ms=now_ms,
                names=(name,),
                until_ms=now_ms,
                force=True,
            )
            seconds = time.perf_counter() - began_s
            if not isinstance(outcome, Trained):
                self.learned.append(Learned(self._days, name, None, outcome.reason, seconds, {}))
                continue
            found, refused = outcome.metrics, ""
            if found.get("gate") == _REFUSED:
                refused = str(found.get("gate_reason", _REFUSED))
            else:
                self.activate(name, outcome.version, now_ms)
            learned = Learned(self._days, name, outcome.version, refused, seconds, found)
            self.learned.append(learned)
        self._state.expire(now_ms)

    def activate(self, name: str, version: str, now_ms: int) -> None:
        """Make a version serve from an instant on."""
        kind = Kind.ARTIFACT_ACTIVATE.label
        event = {"kind": kind, "name": name, "model_version": version, "time_ms": now_ms}
        self._take_in(check_objects([event], now_ms=now_ms))

    def _record(self, pages: Sequence[Page]) -> None:
        """Log what was served, with its features, as the service does."""
        if pages:
            now_ms = max(page.now_ms for page in pages)
            checked = check_batch(served_events(pages), now_ms=now_ms)
            features = features_record(pages, SAMPLE, self._rng)
            self._take_in(checked, {features_lane(self._settings): features})

    def _take_in(
        self, checked: Checked, beside: dict[int, bytes] | None = None, *, imported: bool = False
    ) -> None:
        """Append valid events, and have the state apply them before anything else happens."""
        if checked.problems:
            raise ValueError(f"the world made an invalid event: {checked.problems[0]}")
        lanes = route(checked.batch, self._settings.log.lanes)
        payloads = {lane: encode(rows, imported=imported) for lane, rows in lanes.items()}
        offset = self._log.append(payloads | (beside or {}))
        # All lanes at once, as a tailer does: sixteen small batches cost ten times as much.
        (rows,) = pa.Table.from_batches(lanes.values()).combine_chunks().to_batches()
        self._state.apply(rows, np.full(rows.num_rows, offset), imported)


class RankerHere:
    """The heavy ranker in this process; a version is loaded when it is first asked for."""

    def __init__(self, artifacts: ArtifactStore, settings: Settings) -> None:
        # Brings torch along, which only those who rank with it should pay for.
        from training.heavy_ranker.loaded import LoadedRankers

        self._rankers = LoadedRankers(artifacts, settings)
        self._tried: set[str] = set()

    @property
    def ready(self) -> bool:
        """Whether any version is loaded."""
        return self._rankers.ready

    def serving(self, version: str) -> str | None:
        """The version, or the one before where it cannot be served."""
        if version not in self._tried:
            self._tried.add(version)
            try:
                self._rankers.load(version)
            except PROBLEMS as error:
                _LOG.error("heavy_ranker %s is not served: %s", version, error)
        return self._rankers.serving(version)

    def score(
        self, version: str, inputs: RankerInputs, timeout_s: float
    ) -> npt.NDArray[np.float32]:
        """Probabilities (n, tasks), however long it takes."""
        return self._rankers.score(version, inputs, timeout_s)


def _of_a_month(events: pa.RecordBatch, now_ms: int) -> pa.RecordBatch:
    """Events of years in the same order within a month.

    The archive has a file a day, and each job would open a thousand of them for the years
    before the start, which say when accounts were made and little else.
    """
    ages_ms = now_ms - events.column("time_ms").to_numpy()
    share = min(_MONTH_MS / max(int(ages_ms.max()), 1), 1.0)
    times_ms = now_ms - (ages_ms * share).astype(np.int64)
    at = events.schema.get_field_index("time_ms")
    return events.set_column(at, events.schema.field(at), pa.array(times_ms))
