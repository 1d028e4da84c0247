"""What the doctor finds on a machine, and that it only looks."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster import ray_environment
from cluster.cli import app
from cluster.commands import doctor
from cluster.commands.doctor import Check
from cluster.ray_environment import scratch_folder
from cluster.run_record import RunRecord, replace_record
from cluster.settings import Settings, load
from tests.running import free_port

PORTS = ["http port", "haproxy port", "haproxy port", "ray port", "dashboard port"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of all interfaces that somebody listens on."""
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A quiet machine: no Ray, every port free, and nothing in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    for variable in ray_environment.HAPROXY_PORTS:
        monkeypatch.setenv(variable, str(free_port()))
    monkeypatch.setattr(doctor, "GCS_PORT", free_port())
    monkeypatch.setattr(doctor, "DASHBOARD_PORT", free_port())
    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    ray_runs(monkeypatch, False)
    return home


def ray_runs(monkeypatch: pytest.MonkeyPatch, runs: bool) -> None:
    for module in (doctor, ray_environment):
        monkeypatch.setattr(module, "runs_here", lambda: runs)


def settings_in(folder: Path, port: int | None = None) -> Settings:
    return load(data_dir=folder / "data", http={"port": port or free_port()})


def recorded(settings: Settings, *, started_ray: bool) -> None:
    record = RunRecord.of(settings, None, address="here", started_ray=started_ray, environment={})
    replace_record(settings, record)


def ports_of(settings: Settings) -> list[Check]:
    return list(doctor._ports(settings))


def test_nothing_is_written_and_no_environment_made(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = Check("torchrec loads", True, "not looked at")
    monkeypatch.setattr(doctor, "_torchrec_loads", lambda: fine)
    folder = tmp_path / "data"
    done = CliRunner().invoke(app, ["doctor", "--json", "--data-dir", str(folder)])
    checks: list[dict[str, Any]] = json.loads(done.stdout)
    assert [check["name"] for check in checks if check["name"].endswith("port")] == PORTS
    told = {check["name"]: check for check in checks}
    assert told["ray token"]["found"] == f"{home}/.ray/auth_token will be made by `up`"
    assert told["http tokens"]["found"] == f"{folder}/tokens will be made by `up`"
    assert list(home.iterdir()) == []
    assert not folder.exists()
    assert not scratch_folder(load(data_dir=folder)).exists()
    assert "RAY_AUTH_MODE" not in os.environ


def test_free_ports(tmp_path: Path) -> None:
    checks = ports_of(settings_in(tmp_path))
    assert [check.name for check in checks] == PORTS
    assert all(check.ok and check.found.endswith("is free") for check in checks)


def test_http_whose_port_is_taken(tmp_path: Path, taken: int) -> None:
    check = ports_of(settings_in(tmp_path, taken))[0]
    assert not check.ok
    assert check.found == f"127.0.0.1:{taken}: Address already in use; set http.port to another"


@pytest.mark.parametrize("variable", ray_environment.HAPROXY_PORTS)
def test_haproxy_whose_port_is_taken(
    tmp_path: Path, taken: int, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(taken))
    [wrong] = [check for check in ports_of(settings_in(tmp_path)) if not check.ok]
    assert wrong.name == "haproxy port"
    assert wrong.found.endswith(f":{taken}: Address already in use; set {variable} to another")


def test_without_haproxy_nobody_asks_for_its_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    names = [check.name for check in ports_of(settings_in(tmp_path))]
    assert names == ["http port", "ray port", "dashboard port"]


@pytest.mark.parametrize(
    ("constant", "name", "instead"),
    [
        ("GCS_PORT", "ray port", "`up` takes another, `ray up` needs it"),
        ("DASHBOARD_PORT", "dashboard port", "Ray starts without its dashboard"),
    ],
)
def test_ray_does_without_its_usual_ports(
    tmp_path: Path,
    taken: int,
    constant: str,
    name: str,
    instead: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, constant, taken)
    checks = {check.name: check for check in ports_of(settings_in(tmp_path))}
    assert checks[name].ok
    assert checks[name].found.endswith(f":{taken}: Address already in use; {instead}")


def test_ports_of_this_system(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_runs(monkeypatch, True)
    monkeypatch.setattr(doctor, "GCS_PORT", taken)
    settings = settings_in(tmp_path, taken)
    recorded(settings, started_ray=True)
    checks = {check.name: check for check in ports_of(settings)}
    assert checks["http port"] == Check(
        "http port", True, f"127.0.0.1:{taken}, in use by this system"
    )
    assert checks["ray port"] == Check("ray port", True, f"0.0.0.0:{taken}, in use by this system")


def test_a_ray_of_others_has_its_own_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_runs(monkeypatch, True)
    settings = settings_in(tmp_path)
    assert [check.name for check in ports_of(settings)] == ["http port"]
    recorded(settings, started_ray=False)
    assert [check.name for check in ports_of(settings)] == ["http port"]


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_a_ray_that_asks_for_no_token(
    tmp_path: Path, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_runs(monkeypatch, True)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    told = f"RAY_AUTH_MODE is {mode or 'not set'}: whoever reaches Ray's ports can run code"
    assert doctor._ray_token(settings_in(tmp_path)) == Check("ray token", False, told)


def test_the_token_of_a_ray(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_runs(monkeypatch, True)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    settings, path = settings_in(tmp_path), home / ".ray" / "auth_token"
    missing = doctor._ray_token(settings)
    assert missing == Check("ray token", False, f"{path} is missing")
    path.parent.mkdir()
    path.write_text("0" * 64)
    path.chmod(0o644)
    shared = doctor._ray_token(settings)
    assert shared == Check("ray token", False, f"{path}, mode 644: chmod 600 it")
    path.chmod(0o600)
    private = doctor._ray_token(settings)
    assert private == Check("ray token", True, f"{path}, mode 600")
    # The same file is what a Ray of `up` will ask for.
    ray_runs(monkeypatch, False)
    assert doctor._ray_token(settings) == private
    path.chmod(0o640)
    assert not doctor._ray_token(settings).ok


def test_the_environment_of_a_system_that_runs_is_the_one_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda settings: [doctor._ray_token(settings)])
    # Also so that what the command sets is taken back afterwards.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o600)
    settings = settings_in(tmp_path)
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    record = RunRecord.of(settings, None, address="here", started_ray=True, environment=environment)
    replace_record(settings, record)
    done = CliRunner().invoke(app, ["doctor", "--json", "--data-dir", str(settings.data_dir)])
    assert json.loads(done.stdout) == [
        {"name": "ray token", "ok": True, "found": f"{token}, mode 600"}
    ]


def test_a_version_that_does_not_fit_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**doctor.TRIPLE, "torch": "2.0.0+cpu", "ray": "2.60.1"}
    monkeypatch.setattr(doctor, "_version", found.get)
    checks = doctor._triple()
    assert [check.ok for check in checks] == [False, True, True]
    assert checks[0].found == "2.0.0+cpu; 2.13.0 is needed"
    assert doctor._library("ray", "2.60.").ok
    assert doctor._library("hnswlib", "0.8.") == Check("hnswlib", False, "not installed")


def test_the_command_fails_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = Check("python", True, "3.11")
    monkeypatch.setattr(doctor, "examine", lambda _: [fine])
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    monkeypatch.setattr(doctor, "examine", lambda _: [fine, replace(fine, ok=False)])
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "wrong" in done.stdout
