import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import load
from training.job import NothingNew, Trained, TrainingError
from training.refresh import JOB_NAMES, JOBS, Job, Passed, refresh

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
FIRST = Job("first", "jobs_of_test", HOUR_MS)
SECOND = Job("second", "second_of_test", 10 * HOUR_MS)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two jobs whose data ends when told, and which may have too little."""
    said: dict[str, Any] = {"ends_ms": NOW_MS, "ran": [], "too_little": set()}
    said["nothing_new"] = set()

    def module(name: str, needs: tuple[str, ...]) -> ModuleType:
        def train(
            settings: Any,
            archive: Any,
            artifacts: ArtifactStore,
            *,
            until_ms: int | None = None,
            progress: Any = None,
        ) -> Trained:
            said["ran"].append((name, until_ms))
            progress("reading", 0.5)
            if name in said["too_little"]:
                raise TrainingError("the archive holds nothing")
            if name in said["nothing_new"]:
                raise NothingNew("it knows all there is")
            newest = {other: artifacts.latest(other) for other in needs}
            depends_on = {other: version for other, version in newest.items() if version}
            range_ms = (0, until_ms or said["ends_ms"])
            with artifacts.writing(
                name, schema_version=1, depends_on=depends_on, data_range_ms=range_ms
            ) as draft:
                draft.write_tensors("model.safetensors", {"x": np.ones(1)})
            assert draft.version is not None
            return Trained(name, draft.version, {}, {})

        made = ModuleType(name)
        made.train = train  # type: ignore[attr-defined]
        return made

    monkeypatch.setitem(sys.modules, "jobs_of_test", module("first", ()))
    monkeypatch.setitem(sys.modules, "second_of_test", module("second", ("first",)))
    return said | {"folder": tmp_path, "said": said}


def run(world: dict[str, Any], now_ms: int = NOW_MS, **more: Any) -> list[Trained | Passed]:
    folder = world["folder"]
    artifacts = ArtifactStore(folder / "artifacts", lambda: now_ms)
    return list(
        refresh(
            load(data_dir=folder),
            Archive(folder / "archive"),
            artifacts,
            now_ms=now_ms,
            **{"names": ("first", "second"), "jobs": (FIRST, SECOND)} | more,
        )
    )


def names_trained(found: list[Trained | Passed]) -> list[str]:
    return [one.name for one in found if isinstance(one, Trained)]


def test_what_is_fresh_is_passed_over(world: dict[str, Any]) -> None:
    heard: list[str] = []
    first = run(world, progress=lambda what, share: heard.append(what))
    assert names_trained(first) == ["first", "second"]
    assert heard == ["first: reading", "second: reading"]
    again = run(world, NOW_MS + HOUR_MS // 2)
    assert names_trained(again) == []
    assert all(isinstance(one, Passed) and one.fresh for one in again)
    assert "0.5 h ago" in again[0].reason  # type: ignore[union-attr]
    assert names_trained(run(world, NOW_MS, force=True)) == ["first", "second"]


def test_a_cadence_passes_and_takes_along_what_builds_on_it(world: dict[str, Any]) -> None:
    run(world)
    world["said"]["ends_ms"] = NOW_MS + HOUR_MS
    # The second is not old, but what it was made from is no longer the newest.
    assert names_trained(run(world, NOW_MS + HOUR_MS)) == ["first", "second"]
    assert names_trained(run(world, NOW_MS + HOUR_MS)) == []


def test_a_past_instant_has_models_of_its_own(world: dict[str, Any]) -> None:
    run(world)
    past_ms = NOW_MS - 100 * HOUR_MS
    world["said"]["ran"].clear()
    assert names_trained(run(world, until_ms=past_ms)) == ["first", "second"]
    assert {until_ms for _, until_ms in world["said"]["ran"]} == {past_ms}
    assert names_trained(run(world, until_ms=past_ms)) == []


def test_too_little_stops_no_other(world: dict[str, Any]) -> None:
    world["said"]["too_little"].add("first")
    found = run(world)
    assert found[0] == Passed("first", "the archive holds nothing", fresh=False)
    assert names_trained(found) == ["second"]
    assert names_trained(run(world, names=("second",), force=True)) == ["second"]


def test_what_knows_all_there_is_counts_as_fresh(world: dict[str, Any]) -> None:
    world["said"]["nothing_new"].add("first")
    found = run(world, force=True)
    assert found[0] == Passed("first", "it knows all there is", fresh=True)
    assert names_trained(found) == ["second"]


def test_every_job_is_there() -> None:
    assert len(set(JOB_NAMES)) == len(JOBS)
    assert all(callable(job.train) for job in JOBS)
