import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from actors.features.registry import schema_for
from actors.models import HEAVY_RANKER, HEAVY_RANKER_SCHEMA
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.commands import closed_loop
from cluster.commands.closed_loop import BASELINES, LIGHT, SYSTEM, run
from cluster.commands.closed_loop_system import RankerHere, System
from cluster.events import Kind
from cluster.settings import load
from simulation.closed_loop import Plan, Society, run_arm, warm_up
from simulation.outcomes import Outcomes
from tests.training.heavy_ranker.scored_models import draw_model, write_model

JOBS = ("light_ranker",)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    console = Console(record=True, width=200)
    figures = run(load(None), 60, 2, 5, path, console, jobs=JOBS, sessions_per_day=90)
    return path, figures, console.export_text()


def test_the_system_learns_between_the_days(ran: tuple[Path, dict[str, Any], str]) -> None:
    _, figures, _ = ran
    (learned,) = figures["system"]["learned"]
    assert (learned["day"], learned["name"], learned["passed"]) == (1, "light_ranker", "")
    assert learned["version"]
    # Examples of the panel have the features they were served with.
    assert learned["metrics"]["source"] == "impressions"
    assert learned["metrics"]["examples_as_served"] > 500
    assert figures["system"]["missing"] == {}
    assert sum(figures["system"]["sources"][1].values()) > 500


def test_every_feed_is_judged_on_the_same_sessions(
    ran: tuple[Path, dict[str, Any], str],
) -> None:
    _, figures, _ = ran
    assert set(figures["arms"]) == {*BASELINES, SYSTEM}
    assert len({arm["all"]["sessions"] for arm in figures["arms"].values()}) == 1
    for name, arm in figures["arms"].items():
        for day in [*arm["days"], arm["all"]]:
            value, low, high = day["realised"]
            assert low <= value <= high
            assert day["regret"][0] >= 0
            assert (day["regret"][0] < 1e-4) == (name == "oracle")
    assert figures["arms"]["chronological"]["all"]["realised_gain"] == [0, 0, 0]
    mine = figures["arms"][SYSTEM]["all"]
    assert set(figures["gains"]) == set(BASELINES)
    for name, gain in figures["gains"].items():
        for of, (value, low, high) in gain.items():
            theirs = figures["arms"][name]["all"]
            assert value == pytest.approx(mine[of][0] - theirs[of][0], abs=1e-5)
            assert low <= value <= high
    assert figures["gains"]["chronological"]["realised"] == mine["realised_gain"]
    assert figures["arms"]["oracle"]["all"]["realised"][0] == max(
        arm["all"]["realised"][0] for arm in figures["arms"].values()
    )


def test_the_report_holds_plots_and_its_figures_lie_beside_it(
    ran: tuple[Path, dict[str, Any], str],
) -> None:
    path, figures, told = ran
    page = path.read_text()
    assert len(re.findall(r'src="data:image/png;base64,iVBOR', page)) == 6
    assert "light_ranker" in page
    assert json.loads(path.with_suffix(".json").read_text()) == json.loads(json.dumps(figures))
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "report.json"]
    for name in figures["arms"]:
        assert name in page
        assert name in told


def test_the_system_serves_the_same_again(tmp_path: Path) -> None:
    plan = Plan(users=40, days=1, seed=2, sessions_per_day=150)
    found = []
    for number in range(2):
        with System(load(None), tmp_path / str(number), JOBS) as system:
            society = Society(plan)
            warm_up(society, system)
            found.append(Outcomes.joined(list(run_arm(society, system, system))))
    first, second = found
    assert len(first) > 100
    assert np.array_equal(first.done, second.done)
    assert np.array_equal(first.expected, second.expected)


def test_the_heavy_ranker_stands_beside_the_same_system_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_loop, "BASELINES", {"chronological": BASELINES["chronological"]})
    sizes = {"blocks": 1, "mask_width": 8, "block_width": 8, "backbone": [8], "towers": [4]}
    quick = {"epochs": 1, "tables": False, "min_judged_positives": 1, "auroc_tolerance": 1.0}
    settings = load(None, heavy_ranker={**sizes, **quick})
    path, console = tmp_path / "report.html", Console(quiet=True)
    figures = run(settings, 40, 2, 5, path, console, jobs=(), sessions_per_day=8, heavy=True)
    arms = figures["arms"]
    assert set(arms) == {"chronological", LIGHT, SYSTEM}
    assert figures["system"]["missing"] == {}
    (learned,) = figures["system"]["learned"]
    assert learned["name"] == "heavy_ranker"
    assert learned["version"]
    assert learned["metrics"]["examples"]["replayed"] == learned["metrics"]["examples"]["examples"]
    assert set(learned["metrics"]["ranking"]) == {"served", "heavy_ranker", "light_ranker"}
    # It differs once it has a heavy ranker that was accepted.
    assert arms[LIGHT]["days"][0] == arms[SYSTEM]["days"][0]
    refused = learned["passed"] != ""
    assert refused == (learned["metrics"]["gate"] == "refused")
    assert (arms[LIGHT]["days"][1] == arms[SYSTEM]["days"][1]) == refused


def test_pages_are_ranked_by_the_heavy_ranker_that_is_active(tmp_path: Path) -> None:
    settings, society = load(None), Society(Plan(users=30, days=1, sessions_per_day=10))
    with System(settings, tmp_path, (), RankerHere) as system:
        warm_up(society, system)
        store = ArtifactStore(tmp_path / "artifacts")
        drawn = draw_model(schema_for(settings), np.random.default_rng(0), blocks=1)
        with store.writing(HEAVY_RANKER, schema_version=HEAVY_RANKER_SCHEMA) as draft:
            write_model(draft.folder, *drawn)
        system.activate(HEAVY_RANKER, draft.written, society.now_ms)
        (outcomes,) = run_arm(society, system, system)
        system.learn(society.now_ms)
    assert system.notes == {}
    archive = Archive(str(tmp_path / "archive"))
    served = archive.scan([Kind.SERVED], columns=["model_version", "surface"])
    by_system = [one for one in served.to_pylist() if one["surface"] == "for_you"]
    assert len(by_system) == outcomes.n_shown.sum() > 100
    assert {one["model_version"] for one in by_system} == {draft.written}
    assert sum(len(pages) for pages in archive.served_pages()) == (outcomes.n_shown > 0).sum()


def test_what_led_up_to_the_start_fills_a_month_of_the_archive(tmp_path: Path) -> None:
    society = Society(Plan(users=30, days=1))
    with System(load(None), tmp_path, ()) as system:
        warm_up(society, system)
        system.learn(society.now_ms)
    archive = Archive(str(tmp_path / "archive"))
    assert 25 < len(archive.dates()) <= 32
    batches = archive.batches(kinds=[Kind.USER_CREATE])
    user_ids = np.concatenate([batch.column("actor_id").to_numpy() for batch in batches])
    created_ms = society.world.population.created_ms[society.world.users_of(user_ids)]
    assert len(created_ms) == 30
    assert (np.diff(created_ms) >= 0).all(), "in the order in which they were made"


def test_a_job_that_there_is_none_of_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no_such_job"):
        System(load(None), tmp_path, ("no_such_job",))
