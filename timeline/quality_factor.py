"""Quality factors: how much of its work each source may do, by how fast it was lately.

A linear controller: requests within the target raise a factor a little, those that miss lower
it by p / (100 − p) times as much, so that it rests where p % are within the target.
"""

import threading
from collections.abc import Callable, Mapping

from cluster.source_settings import QualityFactorSettings
from timeline.trace import Trace


class UnknownFactor(LookupError):
    """A factor was asked for under a name that has no target."""


class QualityFactors:
    """One factor for each name that `targets_ms` has, held by this process; thread-safe.

    `clock_s` is monotonic; nothing counts before `settings.warm_up_s` on it have passed.
    """

    def __init__(
        self,
        settings: QualityFactorSettings,
        targets_ms: Mapping[str, float],
        clock_s: Callable[[], float],
    ) -> None:
        if not settings.least <= settings.start <= settings.most:
            raise ValueError(
                f"quality factors start at {settings.start}, which is not within"
                f" {settings.least} … {settings.most}"
            )
        self._settings = settings
        self._targets_ms = dict(targets_ms)
        self._factors = dict.fromkeys(targets_ms, settings.start)
        self._clock_s = clock_s
        self._counts_from_s = clock_s() + settings.warm_up_s
        self._lock = threading.Lock()

    def factor(self, name: str) -> float:
        """What to multiply sizes by; raises `UnknownFactor`."""
        try:
            return self._factors[name]
        except KeyError:
            raise self._unknown(name) from None

    def record(self, name: str, ms: float, *, failed: bool = False) -> None:
        """Say how long one took; raises `UnknownFactor`.

        What failed counts as too slow; what failed by the client's doing, or was given up,
        is not to be recorded.
        """
        if name not in self._targets_ms:
            raise self._unknown(name)
        if self._clock_s() < self._counts_from_s:
            return
        settings = self._settings
        step = settings.step
        if failed or ms > self._targets_ms[name]:
            step *= -settings.percentile / (100 - settings.percentile)
        with self._lock:
            moved = self._factors[name] + step
            self._factors[name] = min(max(moved, settings.least), settings.most)

    def learn(self, trace: Trace) -> None:
        """Record all sources and stages of a request that have a target.

        A source that was not asked and a stage that did not run say nothing.
        """
        for name, target_ms in self._targets_ms.items():
            by = trace.sources.get(name)
            if by is not None:
                self.record(name, target_ms if by.ms is None else by.ms, failed=by.ms is None)
        for stage in trace.stages:
            if stage.name in self._targets_ms and not stage.skipped:
                self.record(stage.name, stage.ms, failed=bool(stage.failed))

    def factors(self) -> dict[str, float]:
        """All factors by name."""
        with self._lock:
            return dict(self._factors)

    def _unknown(self, name: str) -> UnknownFactor:
        return UnknownFactor(f"no quality factor {name!r}; there are {', '.join(self._factors)}")
