"""ray_config.yaml as Ray itself reads it, in both of its forms, and what it must not give away."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "ray_config.yaml").read_text()


def _on_hosts() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(TEXT)
    return config


def _on_aws() -> dict[str, Any]:
    commented = TEXT.split("# --- AWS\n")[1].split("# --- end\n")[0]
    form: dict[str, Any] = yaml.safe_load(re.sub(r"^# ", "", commented, flags=re.MULTILINE))
    return _on_hosts() | form


@pytest.fixture(params=[_on_hosts, _on_aws], ids=["hosts", "aws"])
def prepared(request: pytest.FixtureRequest) -> dict[str, Any]:
    config: dict[str, Any] = prepare_config(request.param())
    validate_config(config)
    return config


def test_ray_accepts_it_and_sees_a_head_and_two_workers(prepared: dict[str, Any]) -> None:
    node_type = prepared["available_node_types"][prepared["head_node_type"]]
    assert (prepared["max_workers"], node_type["min_workers"]) == (2, 2)


def test_ray_refuses_a_key_it_does_not_know() -> None:
    with pytest.raises(Exception, match="no_such_key"):
        validate_config(prepare_config(_on_hosts() | {"no_such_key": 1}))


def test_every_host_is_set_up_by_make(prepared: dict[str, Any]) -> None:
    # prepare_config hands the common steps to both kinds of node.
    for commands in (prepared["head_setup_commands"], prepared["worker_setup_commands"]):
        assert "cd ~/murmuration && make install" in commands
    assert re.search(r"^install:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_every_ray_process_starts_with_the_token(prepared: dict[str, Any]) -> None:
    written = next(c for c in prepared["head_setup_commands"] if "> ~/.murmuration-env" in c)
    assert "RAY_AUTH_MODE=token" in written
    assert "RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token" in written
    assert "chmod 600 ~/.ray/auth_token" in prepared["head_setup_commands"][0]
    assert prepared["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    started = prepared["head_start_ray_commands"] + prepared["worker_start_ray_commands"]
    assert all(command.startswith(". ~/.murmuration-env;") for command in started)


def test_the_dashboard_stays_on_loopback(prepared: dict[str, Any]) -> None:
    (head,) = [c for c in prepared["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host 127.0.0.1" in head


def test_every_port_it_fixes_stands_in_the_operations_page(prepared: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    started = prepared["head_start_ray_commands"] + prepared["worker_start_ray_commands"]
    ports = set(re.findall(r"port[= ](\d+)", " ".join(started)))
    assert len(ports) >= 9
    assert {port for port in ports if port not in page} == set()
