"""What is written down of a running system, and what another one would be."""

from pathlib import Path
from typing import Any

import pytest

from cluster.run_record import RunRecord, forget_record, read_record, replace_record
from cluster.settings import load


def record_of(until_ms: int | None = None, **given: Any) -> RunRecord:
    return RunRecord.of(
        load(**given), until_ms, address="here:6379", started_ray=True, environment={"A": "b"}
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "data", http={"port": 8123})
    assert read_record(settings) is None
    record = record_of(9, data_dir=tmp_path / "data", http={"port": 8123})
    replace_record(settings, record)
    found = read_record(settings)
    assert found == record
    assert (found.http_port, found.until_ms, found.settings["shards"]["count"]) == (8123, 9, 2)
    assert found.differences(settings, 9) == []
    forget_record(settings)
    assert read_record(settings) is None


def test_a_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        '{"address": "here:6379", "started_ray": false, "environment": {}, '
        '"http_host": "127.0.0.1", "http_port": 8000}'
    )
    record = read_record(load(data_dir=tmp_path))
    assert record is not None
    assert record.differences(load(), None) == []


@pytest.mark.parametrize(
    ("given", "until_ms", "told"),
    [
        ({"shards": {"count": 3}}, None, ["shards.count is 2 and not 3"]),
        ({"log": {"kind": "jetstream"}}, None, ["log.kind is 'sqlite' and not 'jetstream'"]),
        ({"preset": "research"}, None, ["preset is 'laptop' and not 'research'"]),
        ({"namespace": "other"}, None, ["namespace is 'murmuration' and not 'other'"]),
        ({}, 1_000, ["it is live and not as of 1000"]),
        # What only Serve's replicas read may change while the system runs.
        ({"for_you": {"max_seen": 7}, "log": {"append_timeout_s": 3}}, None, []),
    ],
)
def test_in_what_another_system_differs(
    given: dict[str, Any], until_ms: int | None, told: list[str]
) -> None:
    assert record_of().differences(load(**given), until_ms) == told


def test_a_live_system_is_not_one_of_the_past() -> None:
    assert record_of(1_000).differences(load(), None) == ["it is as of 1000 and not live"]
