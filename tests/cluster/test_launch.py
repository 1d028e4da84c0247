"""What starting and looking make of what runs already; Ray itself is tested in tests/system."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster import launch, ray_head
from cluster.cli import app
from cluster.launch import LaunchError
from cluster.run_record import RunRecord, replace_record
from cluster.settings import Settings, load


def running(settings: Settings, until_ms: int | None = None) -> RunRecord:
    """A record of a system that nobody asks whether it runs."""
    record = RunRecord.of(settings, until_ms, address="here", started_ray=False, environment={})
    replace_record(settings, record)
    return record


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_head, "_connects", lambda settings, address: address == "here")


@pytest.mark.parametrize(
    ("given", "until_ms", "told"),
    [
        ({}, 5_000, "it is live and not as of 5000"),
        ({"shards": {"count": 4}}, None, "shards.count is 2 and not 4"),
    ],
)
def test_another_system_on_the_same_data_is_refused(
    tmp_path: Path, given: dict[str, Any], until_ms: int | None, told: str
) -> None:
    running(load(data_dir=tmp_path))
    with pytest.raises(LaunchError) as raised:
        launch.up(load(data_dir=tmp_path, **given), until_ms=until_ms)
    assert str(raised.value) == (
        f"another system runs on {tmp_path}: {told}. Run `murmuration down` first"
    )


def test_a_system_of_the_past_is_not_taken_for_a_live_one(tmp_path: Path) -> None:
    running(load(data_dir=tmp_path), until_ms=5_000)
    with pytest.raises(LaunchError, match="it is as of 5000 and not live"):
        launch.up(load(data_dir=tmp_path))


def test_status_shows_all_shards_without_their_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(load(data_dir=tmp_path, preset="twitter", namespace="birds"), until_ms=5_000)

    def status_of(settings: Settings, name: str) -> dict[str, Any]:
        return {"failure": f"{name} of {settings.namespace}"}

    monkeypatch.setattr(launch, "_status_of", status_of)
    done = CliRunner().invoke(app, ["status", "--json", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [shard["failure"] for shard in found["shards"]] == [
        f"shard-{n} of birds" for n in range(16)
    ]
    assert found["until_ms"] == 5_000
    done = CliRunner().invoke(app, ["status", "--data-dir", str(tmp_path)])
    assert "as of 1970-01-01T00:00:05+00:00" in done.stdout


def test_a_shard_that_gave_up_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answering(**state: Any) -> Any:
        return SimpleNamespace(status=SimpleNamespace(remote=lambda: state))

    monkeypatch.setattr(launch.ray, "get", lambda state, timeout: state)
    shards = [
        answering(ready=True, ended=False, failure=None),
        answering(ready=False, ended=True, failure="lane 3 was trimmed"),
    ]
    with pytest.raises(LaunchError, match="shard 1 is not ready: lane 3 was trimmed"):
        launch._wait_ready(shards, lambda _: None)
