"""A simulated society in an archive, shared by the tests of the jobs."""

from pathlib import Path

import pytest

from cluster.archive import Archive
from cluster.settings import Settings
from tests.training.archives import archived, settings_at, simulated


@pytest.fixture(scope="session")
def society(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Archive]:
    """Two days of 250 people, with the settings to learn from them."""
    settings = settings_at(tmp_path_factory.mktemp("society"), max_examples=12_000)
    return settings, archived(settings, simulated(250, 2, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"
