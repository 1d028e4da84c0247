"""What starting and looking make of what runs already; Ray itself is tested in tests/system."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.exceptions import RayServeException
from typer.testing import CliRunner

from cluster import launch, ray_head
from cluster.cli import app
from cluster.commands.bulk import open_target
from cluster.launch import LaunchError
from cluster.ray_head import RayProblem
from cluster.run_record import RunRecord, read_record, replace_record
from cluster.settings import Settings, load


def running(settings: Settings, until_ms: int | None = None) -> RunRecord:
    """A record of a system that nobody asks whether it runs."""
    record = RunRecord.of(settings, until_ms, address="here", started_ray=False, environment={})
    replace_record(settings, record)
    return record


class Here:
    """A Ray that answers as `here`, is found as `auto`, and notes what is ended on it."""

    def __init__(self, *actors: tuple[str, str], applications: Sequence[str] = ()) -> None:
        self.actors = [{"namespace": namespace, "name": name} for namespace, name in actors]
        self.applications = list(applications)
        self.connected: list[str] = []
        self.ended: list[str] = []

    def connects(self, settings: Settings, address: str) -> bool:
        self.connected.append(address)
        return address in ("here", "auto")

    def status(self) -> Any:
        return SimpleNamespace(applications=self.applications)

    def delete(self, name: str) -> None:
        self.applications.remove(name)
        self.ended.append(f"application {name}")

    def shutdown(self) -> None:
        self.ended.append("serve")

    def end_actor(self, settings: Settings, name: str) -> None:
        self.ended.append(f"{settings.namespace} {name}")

    def run(self, command: list[str], **_: Any) -> None:
        self.ended.append("ray" if command[1] == "stop" else " ".join(command))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    here = Here(
        *(("murmuration", "shard-0"), ("murmuration", "keeper"), ("others", "shard-1")),
        applications=["murmuration", "others"],
    )
    monkeypatch.setattr(ray_head, "runs_here", lambda: True)
    monkeypatch.setattr(ray_head, "_connects", here.connects)
    monkeypatch.setattr(ray_head, "list_named_actors", lambda all_namespaces: here.actors)
    monkeypatch.setattr(ray_head, "subprocess", here)
    monkeypatch.setattr(launch, "serve", here)
    monkeypatch.setattr(launch, "_end_serve", here.shutdown)
    monkeypatch.setattr(launch, "_end_actor", here.end_actor)
    return here


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


def test_what_runs_here_on_other_data_is_left_alone(tmp_path: Path, here: Here) -> None:
    running(load(data_dir=tmp_path / "one"))
    other = load(data_dir=tmp_path / "other")
    assert not launch.down(other)
    with pytest.raises(RayProblem, match="not running here"):
        launch.status(other)
    with open_target(other) as target:
        assert not target.running
    assert (other.data_dir / "log" / "events.sqlite").exists()
    assert (here.connected, here.ended) == ([], [])


def test_a_namespace_that_is_taken_is_refused(tmp_path: Path, here: Here) -> None:
    running(load(data_dir=tmp_path / "one"))
    other = load(data_dir=tmp_path / "other")
    with pytest.raises(RayProblem, match="another system has the namespace 'murmuration'"):
        launch.up(other)
    assert read_record(other) is None
    assert not launch.down(other)
    assert here.ended == []


def test_on_a_ray_of_others_only_what_is_ours_is_ended(tmp_path: Path, here: Here) -> None:
    running(load(data_dir=tmp_path, namespace="others"))
    # The record knows the namespace where the settings do not.
    assert launch.down(load(data_dir=tmp_path))
    assert here.ended == ["application others", "others shard-1"]
    assert here.applications == ["murmuration"]
    assert read_record(load(data_dir=tmp_path)) is None


def test_a_serve_whose_paths_are_taken_is_told_of(here: Here) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise RayServeException("Prefix / is being used by application others")

    here.start = lambda **_: None
    here.run = run
    with pytest.raises(LaunchError, match="was not started: Prefix / is being used"):
        launch._start_serving(load(), None)


def test_serve_goes_with_the_last_application(tmp_path: Path, here: Here) -> None:
    here.applications = ["murmuration"]
    running(load(data_dir=tmp_path))
    assert launch.down(load(data_dir=tmp_path))
    assert here.ended == [
        *("application murmuration", "serve"),
        *("murmuration shard-0", "murmuration keeper"),
    ]


def test_a_serve_without_our_application_is_left_alone(tmp_path: Path, here: Here) -> None:
    here.applications = []
    here.actors = []
    running(load(data_dir=tmp_path))
    assert launch.down(load(data_dir=tmp_path))
    assert here.ended == []


def test_a_ray_that_we_started_is_ended_with_all_of_serve(tmp_path: Path, here: Here) -> None:
    settings = load(data_dir=tmp_path)
    replace_record(settings, replace(running(settings), started_ray=True))
    assert launch.down(settings)
    assert here.ended == ["serve", "murmuration shard-0", "murmuration keeper", "ray"]


def test_a_ray_that_we_started_is_ended_though_it_does_not_answer(
    tmp_path: Path, here: Here
) -> None:
    """As after an `up` that crashed."""
    settings = load(data_dir=tmp_path)
    replace_record(settings, replace(running(settings), started_ray=True, address="gone"))
    assert launch.down(settings)
    assert here.ended == ["ray"]
    assert here.connected == ["gone"]


def test_the_sqlite_log_is_refused_on_several_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True}, {"Alive": False}]
    monkeypatch.setattr(launch.ray, "nodes", lambda: nodes)
    launch._check_nodes(load())
    nodes.append({"Alive": True})
    launch._check_nodes(load(log={"kind": "jetstream"}))
    with pytest.raises(LaunchError, match=r"this Ray cluster has 2: set log\.kind to jetstream"):
        launch._check_nodes(load())
