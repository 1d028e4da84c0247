"""Real data from file to timeline, by the command line alone: ingest, train, look back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningSystem

TRAIN_UNTIL, INSTANT = "2015-01-01", "2015-06-01"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def christianity(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSystem]:
    system = RunningSystem(
        tmp_path_factory.mktemp("christianity"),
        MURMURATION_PRESET="research",
        MURMURATION_TRAINING__MAX_EXAMPLES="10000",
    )
    folder = str(data_dir / "christianity")
    report = json.loads(
        system.cli("ingest", folder, "--dataset", "christianity", "--json", timeout_s=300)
    )
    assert report["accepted"] == 35_624 + 589 + 14_738
    assert report["bad"] == 0
    yield system
    system.cool()


def test_importing_again_changes_nothing(christianity: RunningSystem, data_dir: Path) -> None:
    folder = str(data_dir / "christianity")
    again = json.loads(
        christianity.warm_cli("ingest", folder, "--dataset", "christianity", "--json")
    )
    assert again["accepted"] == 0
    assert again["repeated"] == 35_624 + 589 + 14_738


def test_a_past_timeline_has_reasons_and_nothing_later(christianity: RunningSystem) -> None:
    arguments = ("train", "light_ranker", "--as-of", TRAIN_UNTIL, "--json")
    [trained] = json.loads(christianity.warm_cli(*arguments))
    assert trained["metrics"]["auc"] > 0.5
    page = json.loads(christianity.warm_cli("timeline", "58", "--as-of", INSTANT, "--json"))
    assert page["model_version"] == trained["version"]
    assert page["items"]
    assert all(item["reasons"] for item in page["items"])
    assert all(item["created_ms"] <= page["as_of_ms"] for item in page["items"])
    named = [r for item in page["items"] for r in item["reasons"] if r["kind"] == "favourited_by"]
    assert named, "someone this user follows favourited something"


def test_an_earlier_instant_knows_less(christianity: RunningSystem) -> None:
    early = json.loads(christianity.warm_cli("timeline", "58", "--as-of", "2011-01-01", "--json"))
    late = json.loads(christianity.warm_cli("timeline", "58", "--as-of", INSTANT, "--json"))
    assert max(i["created_ms"] for i in early["items"]) <= early["as_of_ms"]
    assert early["items"] != late["items"]
    assert early["model_version"] == "untrained"
