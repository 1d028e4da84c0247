"""The settings that commands have: those of what runs on the same data."""

from pathlib import Path
from typing import Any

import pytest

from cluster import ray_environment
from cluster.commands.options import settings_of, settings_to_start
from cluster.run_record import RunRecord, replace_record
from cluster.settings import Settings, load


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_environment, "runs_here", lambda: True)


def runs(folder: Path, **given: Any) -> Settings:
    """A system brought up with these settings, as far as its record goes."""
    settings = load(data_dir=folder, **given)
    record = RunRecord.of(settings, None, address="here", started_ray=False, environment={})
    replace_record(settings, record)
    return settings


def test_commands_need_not_repeat_what_the_system_was_started_with(tmp_path: Path) -> None:
    running = runs(tmp_path, preset="twitter", namespace="birds", shards={"count": 5})
    assert settings_of(tmp_path) == running
    assert settings_to_start(tmp_path) == load(data_dir=tmp_path)


def test_a_preset_that_is_given_counts_but_not_for_what_is_shared(tmp_path: Path) -> None:
    runs(tmp_path, preset="twitter")
    found = settings_of(tmp_path, "research")
    assert found.preset == "research"
    assert found.windows == load(preset="research").windows
    assert (found.shards.count, found.log.kind) == (16, "jetstream")


def test_what_the_environment_says_counts_but_not_for_what_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(tmp_path, preset="twitter")
    monkeypatch.setenv("MURMURATION_SHARDS__COUNT", "3")
    monkeypatch.setenv("MURMURATION_FOR_YOU__MAX_SEEN", "7")
    found = settings_of(tmp_path)
    assert (found.shards.count, found.for_you.max_seen) == (16, 7)
    assert found.for_you.skip_newest_ms == 15_000
