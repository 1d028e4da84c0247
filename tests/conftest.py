"""What every test shares: hypothesis profiles, and where the real data sets are found."""

import gc
import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

REPOSITORY = Path(__file__).resolve().parents[1]

# What runs on this machine is not a test's unless it connects to it: by itself, Ray's interface
# would join whatever Ray it finds. Read when Ray is imported.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

# A slow machine is not a failure, so no deadline. In CI the examples are the same on every run:
# a red run then means the change, not the draw.
settings.register_profile("developer", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


class _ByFile(LoadFileScheduling):
    """A file's tests go to one process, and all that start Ray to the same one.

    Two Rays on one machine get in each other's way. (Grouping by marker would say it more
    plainly; pytest-xdist 3.8 loses its groups under pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "ray" if _starts_ray(file) else file


@cache
def _starts_ray(file: str) -> bool:
    return "pytest.mark.cluster" in (REPOSITORY / file).read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFile:
    """How `pytest -n` hands out tests."""
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real data, so that `-m "not data"` leaves it out; Ray's tests first,
    which one after the other take half as long as all others."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


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
