"""One system for all tests here: first what kills parts of it, then models, then the ranker."""

from collections.abc import Iterator

import pytest

from tests.running import RunningSystem, listens, ray_processes

HAPROXY_PORTS = (8404, 9101)
"""Of its statistics and its metrics."""
SETTINGS = {
    "MURMURATION_HEAVY_RANKER__HOME": "deployment",
    "MURMURATION_TRAINING__TRUST_AND_SAFETY__CANDIDATES": '["linear"]',
    "MURMURATION_TRAINING__TRUST_AND_SAFETY__MIN_EXAMPLES": "10",
    # So small a world teaches no model to be sure of much.
    "MURMURATION_TRAINING__TRUST_AND_SAFETY__PRECISIONS": "[0.5, 0.6]",
    "MURMURATION_TRAINING__TRUST_AND_SAFETY__PREVALENCE": "0.5",
    "MURMURATION_TRAINING__MAX_EXAMPLES": "5000",
    "MURMURATION_TRAINING__TWHIN__EPOCHS": "2",
    "MURMURATION_HEAVY_RANKER__MAX_EXAMPLES": "3000",
    "MURMURATION_HEAVY_RANKER__EPOCHS": "1",
}


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """Nothing of it is left behind."""
    folder = tmp_path_factory.mktemp("system")
    running = RunningSystem(folder, **SETTINGS)
    before = ray_processes()
    ports = [port for port in HAPROXY_PORTS if not listens(port)]
    try:
        # A system that does not come up leaves processes behind as well.
        running.cli("up")
        yield running
    finally:
        running.cli("down")
        assert not [port for port in (running.port, *ports) if listens(port)]
        assert [line for pid, line in ray_processes().items() if pid not in before] == []


@pytest.fixture(scope="package")
def simulated(system: RunningSystem) -> None:
    """Two days of a small world in the system."""
    system.warm_cli("simulate", "--users", "150", "--days", "2", "--seed", "3")
