"""What a page leaves behind: served events, features as served, and its trace.

All of it is written after the answer went out. A page that cannot be recorded is counted,
and costs neither the next page nor the request.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from actors.features.light import FEATURES, positions_in
from actors.features.logged import NOT_SHOWN, LoggedPage, chosen, pack_pages
from actors.models import HEAVY_RANKER, LIGHT_RANKER
from actors.questions import PutTrace
from actors.router import Router, shards_of
from actors.scored_posts import ScoredPosts
from actors.state import Failed, Question
from actors.viewer_questions import PutScored
from cluster.events import Kind
from cluster.ids import id_of_string, mix64
from cluster.ingest import Appender
from cluster.log import LogError
from cluster.logs import features_lane
from cluster.routing import encode, route
from cluster.settings import Settings
from cluster.validation import check_batch
from timeline.edits import without_stale
from timeline.explain import half_precision, pack_trace
from timeline.pages import Page
from timeline.sources.cached import to_cache

SAMPLE = 0.05
"""Share of the candidates found but not shown whose features are kept too."""
SHAPING = {
    *("for_you", "sources", "windows", "graph", "heavy_ranker"),
    *("heuristics", "visibility", "mixer", "products", "user_states", "switches"),
}
"""Settings that shape timelines."""

_LOG = logging.getLogger(__name__)
_CAPACITY = 48
"""Pages that may wait: 2 MB each, and under preset `twitter`, whose inputs they hold, 8 MB."""
_TOGETHER = 32
"""Pages recorded by one append."""
_LINGER_S = 0.5
_TRACE_TIMEOUT_S = 1.0


def settings_version(settings: Settings) -> str:
    """A short name for the settings that shape timelines, an arm's as any others."""
    shaping = settings.model_dump_json(include=SHAPING)
    return hashlib.blake2b(shaping.encode(), digest_size=6).hexdigest()


def served_events(pages: Sequence[Page]) -> pa.Table:
    """A `served` event for every item of the pages: who, what, where on the page, and by what."""
    shown = [page.shown for page in pages]
    counts = [len(candidates) for candidates in shown]

    def each(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(np.repeat(np.arange(len(pages)), counts)))

    sources = [p.source_names[source] for p in pages for source in p.shown.source.tolist()]
    n = sum(counts)
    positions = np.concatenate([np.arange(k, dtype=np.int16) for k in counts])
    # Derived ids do not look at the request, and two may fall into one millisecond.
    names = [f"{page.request_id} {page.viewer_id} {page.now_ms}" for page in pages]
    requests = np.array([id_of_string(name) for name in names], np.int64)
    mixed = mix64(np.repeat(mix64(requests), counts) + positions.astype(np.uint64))
    return pa.table(
        {
            "event_id": np.maximum(mixed >> np.uint64(1), np.uint64(1)).astype(np.int64),
            "kind": pa.array(np.full(n, Kind.SERVED, np.uint8)),
            "time_ms": each([page.now_ms for page in pages], pa.int64()),
            "actor_id": each([page.viewer_id for page in pages], pa.int64()),
            "post_id": np.concatenate([c.post_ids for c in shown]),
            "author_id": np.concatenate([c.author_ids for c in shown]),
            "value": np.concatenate([np.nan_to_num(c.scores) for c in shown]),
            "surface": each([page.product for page in pages], pa.string()),
            "request_id": each([page.request_id for page in pages], pa.string()),
            "position": positions,
            "source": pa.array(sources, pa.string()),
            "model_version": each([p.model_version or None for p in pages], pa.string()),
            "settings_version": each([settings_version(p.settings) for p in pages], pa.string()),
            "experiment_arm": each([",".join(page.arms) or None for page in pages], pa.string()),
        }
    )


def module_events(pages: Sequence[Page]) -> pa.Table | None:
    """A `module_served` event for every module and ad of the pages; None where there is none."""
    rows = [
        {
            "kind": int(Kind.MODULE_SERVED),
            "time_ms": page.now_ms,
            "actor_id": page.viewer_id,
            "name": one.name,
            "surface": page.product,
            "request_id": page.request_id,
            "position": one.index,
        }
        for page in pages
        for one in page.between
    ]
    return pa.Table.from_pylist(rows, _MODULE_COLUMNS) if rows else None


_MODULE_COLUMNS = pa.schema(
    [
        ("kind", pa.uint8()),
        *((name, pa.int64()) for name in ("time_ms", "actor_id")),
        *((name, pa.string()) for name in ("name", "surface", "request_id")),
        ("position", pa.int16()),
    ]
)


def served_features(pages: Sequence[Page], sample: float, rng: np.random.Generator) -> bytes:
    """Features of what was served and of a sample of the rest, for the features lane.

    An Arrow IPC stream; `features` is a fixed-size list of float16 whose names are in the
    metadata, `position` is −1 for what was not shown.
    """
    parts: dict[str, list[Any]] = {name: [] for name in _FEATURE_COLUMNS}
    for page in pages:
        found = page.trace.found
        rest = ~np.isin(found.post_ids, page.shown.post_ids)
        rest &= rng.random(len(found)) < sample
        for candidates, positions in (
            (page.shown, np.arange(len(page.shown), dtype=np.int16)),
            (found.take(rest), np.full(int(rest.sum()), -1, np.int16)),
        ):
            n = len(candidates)
            parts["request_id"] += [page.request_id] * n
            parts["viewer_id"].append(np.full(n, page.viewer_id, np.int64))
            parts["time_ms"].append(np.full(n, page.now_ms, np.int64))
            parts["post_id"].append(candidates.post_ids)
            parts["position"].append(positions)
            parts["features"].append(half_precision(candidates.features))
    columns: dict[str, Any] = {
        name: np.concatenate(parts[name]) for name in _FEATURE_COLUMNS if name != "request_id"
    }
    columns["request_id"] = pa.array(parts["request_id"], pa.string())
    values = pa.array(np.ascontiguousarray(columns["features"]).reshape(-1))
    columns["features"] = pa.FixedSizeListArray.from_arrays(values, len(FEATURES))
    table = pa.table({name: columns[name] for name in _FEATURE_COLUMNS})
    table = table.replace_schema_metadata({"names": ",".join(FEATURES)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def features_record(pages: Sequence[Page], sample: float, rng: np.random.Generator) -> bytes:
    """Features as served, of the light ranker and, where it scored, of the heavy one.

    For the features lane, with those of a `sample` of what was found and not shown.
    """
    light = served_features(pages, sample, rng)
    return light + pack_pages(logged_pages(pages, sample, rng))


def logged_pages(
    pages: Sequence[Page], sample: float, rng: np.random.Generator
) -> list[LoggedPage]:
    """What the heavy ranker was given for what was served, and for a sample of the rest."""
    logged = []
    for page in pages:
        predictions = page.predictions
        if predictions is None:
            continue
        shown = page.shown
        order = np.argsort(shown.post_ids)
        at = positions_in(shown.post_ids[order], predictions.post_ids)
        rows = np.flatnonzero((at >= 0) | (rng.random(len(at)) < sample))
        positions = np.where(at[rows] >= 0, order[at[rows]], NOT_SHOWN).astype(np.int16)
        found = page.trace.found
        by_post = np.argsort(found.post_ids)
        post_ids = predictions.post_ids[rows]
        found = found.take(by_post[positions_in(found.post_ids[by_post], post_ids)])
        logged.append(
            LoggedPage(
                request_id=page.request_id,
                viewer_id=page.viewer_id,
                time_ms=page.now_ms,
                model_version=predictions.version,
                settings_version=settings_version(page.settings),
                applied=predictions.applied,
                post_ids=post_ids,
                author_ids=found.author_ids,
                positions=positions,
                sources=tuple(page.source_names[source] for source in found.source.tolist()),
                inputs=chosen(predictions.inputs, rows),
            )
        )
    return logged


_FEATURE_COLUMNS = ("request_id", "viewer_id", "post_id", "features", "time_ms", "position")


class Recorder:
    """Writes what pages leave behind, in a thread of its own and in groups.

    `kinds` are those of each product's stages (`explain.stage_kinds`); `dropped(what, n)` is
    told of everything that could not be recorded.
    """

    def __init__(
        self,
        settings: Settings,
        router: Router,
        appender: Appender,
        kinds: Mapping[str, Mapping[str, str]],
        clock: Callable[[], int],
        dropped: Callable[[str, int], None],
        sample: float = SAMPLE,
    ) -> None:
        self._settings = settings
        self._router = router
        self._appender = appender
        self._kinds = kinds
        self._clock = clock
        self._dropped = dropped
        self._sample = sample
        self._rng = np.random.default_rng()
        self._pages: queue.Queue[Page | None] = queue.Queue(_CAPACITY)
        self._waiting: dict[str, Page] = {}
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def offer(self, page: Page) -> bool:
        """Have a page recorded soon; False, and counted, where too many wait already."""
        self._waiting[page.request_id] = page
        try:
            self._pages.put_nowait(page)
        except queue.Full:
            self._waiting.pop(page.request_id, None)
            self._dropped("page", 1)
            return False
        return True

    def trace_of(self, viewer_id: int, request_id: str) -> bytes | None:
        """The trace of a page that is still waiting to be recorded."""
        page = self._waiting.get(request_id)
        if page is None or page.viewer_id != viewer_id:
            return None
        return pack_trace(page, self._kinds[page.product])

    def flush(self) -> None:
        """Wait until everything offered before was recorded, or counted as dropped."""
        self._pages.join()

    def close(self) -> None:
        """Record what waits, then end the thread."""
        self._pages.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            group = self._next_group()
            pages = [page for page in group if page is not None]
            try:
                self._record(pages)
            except Exception:
                _LOG.exception("%d pages were not recorded", len(pages))
                self._dropped("page", len(pages))
            for page in pages:
                self._waiting.pop(page.request_id, None)
            for _ in group:
                self._pages.task_done()
            if len(pages) < len(group):
                return

    def _next_group(self) -> list[Page | None]:
        """The next pages; under load some come together, which costs a quarter of one by one."""
        group = [self._pages.get()]
        until_s = time.monotonic() + _LINGER_S
        while len(group) < _TOGETHER and group[-1] is not None:
            try:
                group.append(self._pages.get(timeout=max(until_s - time.monotonic(), 0.0)))
            except queue.Empty:
                break
        return group

    def _record(self, pages: Sequence[Page]) -> None:
        if not pages:
            return
        self._tell_shards(pages)
        told = [page for page in pages if len(page.shown) or page.between]
        served = [page for page in told if len(page.shown)]
        tables = [served_events(served) if served else None, module_events(told)]
        events = [table for table in tables if table is not None]
        if not events:
            return
        now_ms = self._clock()
        oldest_ms = now_ms - self._settings.windows.dedup_ms
        together = pa.concat_tables(events, promote_options="default")
        checked = check_batch(together, now_ms=now_ms, oldest_ms=oldest_ms)
        if checked.problems:
            # As of a past instant: appliers would take such events for redelivered ones.
            self._dropped("event", len(checked.problems))
        lanes = route(checked.batch, self._settings.log.lanes) if checked.batch.num_rows else {}
        payloads = {lane: encode(batch) for lane, batch in lanes.items()}
        if served:
            payloads[features_lane(self._settings)] = features_record(
                served, self._sample, self._rng
            )
        if not payloads:
            return
        try:
            self._appender.append(payloads)
        except LogError as error:
            _LOG.warning("served events were not logged: %s", error)
            self._dropped("append", len(told))

    def _scored(self, page: Page) -> ScoredPosts | None:
        """What the model said of the page's candidates, for the viewer's next request."""
        if not page.settings.sources.caches:
            return None
        by = LIGHT_RANKER if page.model_version == page.light_version else HEAVY_RANKER
        for stage in page.trace.stages:
            post_ids, scores = stage.post_ids, stage.values
            if stage.name == by and post_ids is not None and scores is not None:
                found, names = page.trace.found, page.source_names
                version = page.model_version
                kept = to_cache(found, post_ids, scores, names, version, page.cached, page.now_ms)
                return without_stale(kept, [old for old, _ in page.replaced])
        return None

    def _tell_shards(self, pages: Sequence[Page]) -> None:
        viewers = np.array([page.viewer_id for page in pages], np.int64)
        homes = shards_of(viewers, self._router.n_shards).tolist()
        wave: dict[int, list[Question]] = {}
        now_ms = self._clock()
        for home, page in zip(homes, pages, strict=True):
            trace = pack_trace(page, self._kinds[page.product])
            put = PutTrace(page.viewer_id, page.request_id, now_ms, trace)
            wave.setdefault(home, []).append(put)
            scored = self._scored(page)
            if scored is not None:
                wave[home].append(PutScored(page.viewer_id, scored, now_ms))
        replies = self._router.ask(wave, _TRACE_TIMEOUT_S).replies
        for home in wave:
            answers = replies[home].answers if home in replies else [Failed("no answer")]
            if any(isinstance(answer, Failed) for answer in answers):
                self._dropped("trace", homes.count(home))
