"""What is counted about requests, for Prometheus."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cluster.events import COLUMNS
from cluster.ingest import Ingested
from timeline.pages import Page

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_STAGE_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Metrics:
    """The counters of one process, in a registry of their own; thread-safe."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "murmuration_requests",
            "HTTP requests answered",
            ["route", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "murmuration_request_seconds",
            "Time from a request's head to its answer's last byte",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "murmuration_stage_seconds",
            "Time in one stage of a timeline's pipeline",
            ["product", "stage"],
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self._candidates = Counter(
            "murmuration_candidates",
            "Candidates found, before they are merged",
            ["product", "source"],
            registry=registry,
        )
        self._degraded = Counter(
            "murmuration_degraded",
            "Pages from which something was missing",
            ["product", "what"],
            registry=registry,
        )
        self._events = Counter(
            "murmuration_events",
            "Events sent to us: accepted, repeated (old and already known), or clamped to now",
            ["outcome"],
            registry=registry,
        )
        self._rejected = Counter(
            "murmuration_events_rejected",
            "Events refused, by the field that was wrong",
            ["field"],
            registry=registry,
        )
        self._drops = Counter(
            "murmuration_record_drops",
            "What pages leave behind that could not be recorded",
            ["what"],
            registry=registry,
        )

        self._refused = Counter(
            "murmuration_refused_rankers",
            "Versions of the heavy ranker that this process does not score with",
            registry=registry,
        )

        self._factors = Gauge(
            "murmuration_quality_factor",
            "How much of its work a source or the ranker may do, by how fast it was lately",
            ["name"],
            registry=registry,
        )
        self._factors_now: Callable[[], Mapping[str, float]] = dict

    def watch_factors(self, factors: Callable[[], Mapping[str, float]]) -> None:
        """Have quality factors read from here whenever they are asked for."""
        self._factors_now = factors

    def ranker_refused(self, version: str) -> None:
        """Count a version that must not score."""
        self._refused.inc()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one HTTP answer; `route` is a path template."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def paged(self, page: Page) -> None:
        """Count what one page took and found."""
        for stage in page.trace.stages:
            self._stages.labels(page.product, stage.name).observe(stage.ms / 1000)
        for source, by in page.trace.sources.items():
            self._candidates.labels(page.product, source).inc(by.found)
        for what in page.degraded:
            self._degraded.labels(page.product, what).inc()

    def ingested(self, done: Ingested) -> None:
        """Count what became of a batch of events."""
        self._events.labels("accepted").inc(done.accepted)
        self._events.labels("repeated").inc(done.repeated)
        self._events.labels("clamped").inc(done.clamped)
        for problem in done.problems:
            # A client chooses the names of fields that do not exist, and not our labels.
            self._rejected.labels(problem.field if problem.field in COLUMNS else "other").inc()

    def dropped(self, what: str, n: int) -> None:
        """Count what could not be recorded."""
        self._drops.labels(what).inc(n)

    def render(self) -> bytes:
        """All counters in Prometheus' text format."""
        for name, factor in self._factors_now().items():
            self._factors.labels(name).set(factor)
        return generate_latest(self._registry)
