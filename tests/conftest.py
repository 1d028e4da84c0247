"""What every test shares: hypothesis profiles, and where the real data sets are found."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# A slow machine is not a failure, so no deadline. In CI the examples are the same on every run:
# a red run then means the change, not the draw.
settings.register_profile("developer", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real data, so that `-m "not data"` leaves it out."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


def pytest_collection_finish() -> None:
    """Spare the collector of cycles all that was imported: it stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets: MURMURATION_DATA, else the one beside the checkout."""
    named = os.environ.get("MURMURATION_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data sets: {folder} is not a folder; set MURMURATION_DATA to it")
    return folder
