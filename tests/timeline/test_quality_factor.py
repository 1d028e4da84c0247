"""Quality factors against the numbers that the specification states."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.source_settings import QualityFactorSettings
from timeline.quality_factor import QualityFactors, UnknownFactor
from timeline.trace import FoundBy, StageTrace, Trace


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def warm(chosen: QualityFactorSettings | None = None) -> QualityFactors:
    clock = Clock()
    factors = QualityFactors(
        chosen or QualityFactorSettings(), {"lists": 300.0, "scoring": 700.0}, clock
    )
    clock.now_s += 60
    return factors


def test_nothing_counts_while_warming_up() -> None:
    clock = Clock()
    factors = QualityFactors(QualityFactorSettings(), {"lists": 300.0}, clock)
    clock.now_s += 59.9
    factors.record("lists", 5_000)
    assert factors.factor("lists") == 0.95
    clock.now_s += 0.1
    factors.record("lists", 5_000)
    assert factors.factor("lists") == pytest.approx(0.95 - 0.00125 * 19)


def test_the_worst_decay_takes_36_misses_and_recovery_720_hits() -> None:
    factors = warm()
    for _ in range(35):
        factors.record("lists", 301)
    assert factors.factor("lists") > 0.1
    factors.record("lists", 301)
    assert factors.factor("lists") == 0.1
    for _ in range(719):
        factors.record("lists", 300)
    assert factors.factor("lists") == pytest.approx(1 - 0.00125)
    factors.record("lists", 300)
    assert factors.factor("lists") == pytest.approx(1.0)
    factors.record("lists", 300)
    assert factors.factor("lists") == 1.0
    # The other one was never asked.
    assert factors.factors() == {"lists": 1.0, "scoring": 0.95}


def test_each_miss_costs_nineteen_hits() -> None:
    factors = warm()
    factors.record("scoring", 701)
    for _ in range(19):
        factors.record("scoring", 700)
    assert factors.factor("scoring") == pytest.approx(0.95)


def test_what_fails_counts_as_too_slow() -> None:
    factors = warm()
    factors.record("lists", 1, failed=True)
    assert factors.factor("lists") < 0.95


def test_unknown_names_are_refused() -> None:
    factors = warm()
    with pytest.raises(UnknownFactor, match="'popular'; there are lists, scoring"):
        factors.factor("popular")
    with pytest.raises(UnknownFactor):
        factors.record("popular", 1)
    with pytest.raises(ValueError, match=r"start at 0\.95, which is not within 0\.1 … 0\.5"):
        warm(QualityFactorSettings(most=0.5))


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1_000), max_size=60), st.sampled_from([50.0, 90.0, 95.0]))
def test_factors_against_model(latencies: list[float], percentile: float) -> None:
    factors = warm(QualityFactorSettings(percentile=percentile, step=0.02))
    expected = 0.95
    for ms in latencies:
        factors.record("lists", ms)
        miss = percentile / (100 - percentile)
        expected = min(max(expected + (0.02 if ms <= 300 else -0.02 * miss), 0.1), 1.0)
        assert factors.factor("lists") == pytest.approx(expected)


def test_threads_lose_no_update() -> None:
    factors = warm(QualityFactorSettings(start=0.1, step=1e-6))

    def hit() -> None:
        for _ in range(5_000):
            factors.record("lists", 1)

    threads = [threading.Thread(target=hit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert factors.factor("lists") == pytest.approx(0.1 + 20_000 * 1e-6, rel=1e-9)


def test_a_trace_tells_of_sources_and_stages() -> None:
    factors = warm()
    stages = [StageTrace("scoring", 701.0, 1, 1), StageTrace("page", 9_000.0, 1, 1)]
    factors.learn(Trace(stages, sources={"lists": FoundBy(3, 3, 299.0), "popular": FoundBy(1, 1)}))
    hit, miss = 0.95 + 0.00125, 0.95 - 0.00125 * 19
    assert factors.factors() == pytest.approx({"lists": hit, "scoring": miss})
    # One that failed, one that did not run, and nothing of either.
    skipped = StageTrace("scoring", 0.0, 1, 1, skipped="closed")
    factors.learn(Trace([skipped], sources={"lists": FoundBy(0, 0)}))
    factors.learn(Trace())
    assert factors.factors() == pytest.approx({"lists": hit - 0.00125 * 19, "scoring": miss})
