"""The commands that look, against a system of this process over a real port."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cluster.cli import app, main
from cluster.commands.http import HttpProblem
from cluster.commands.replaying import UnknownList
from tests.cluster.commands.served_world import (
    AUTHOR,
    COVERED,
    FRIEND,
    LIST,
    MORE,
    QUOTE,
    REPLIER,
    REPLY,
    ROOT,
    STRANGERS,
    VIEWER,
    lively,
)
from tests.http_world import TOKENS, World

FOLDER = "MURMURATION_DATA_DIR"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with lively(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MURMURATION_TOKEN", raising=False)


def run(world: World, *arguments: object) -> Result:
    given = [*map(str, arguments), "--data-dir", str(world.settings.data_dir)]
    return CliRunner().invoke(app, given)


def told(world: World, *arguments: object) -> str:
    done = run(world, *arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def asked(world: World, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(world, *arguments, "--json"))
    return found


def test_for_you_has_conversations_context_and_flags(world: World) -> None:
    lines = told(world, "timeline", VIEWER, "--limit", 100).splitlines()
    assert lines[0] == f"for_you of user {VIEWER}"
    at = next(n for n, line in enumerate(lines) if f"     post {REPLY} by {REPLIER}" in line)
    assert re.fullmatch(rf" *\d+\.   │ post {ROOT} by {FRIEND}, \d+ min old", lines[at - 1])
    assert lines[at + 1].startswith("     you follow the author")
    assert any(f"post {COVERED}" in line and "covered: cover_marked" in line for line in lines)
    at = next(n for n, line in enumerate(lines) if f" post {QUOTE} by" in line)
    assert lines[at + 1].startswith(f"       quoted: post {ROOT} by {FRIEND}")
    at = next(n for n, line in enumerate(lines) if f" post {STRANGERS[0]} by" in line)
    assert lines[at - 1].endswith(f". favourited by {FRIEND}, whom you follow")
    assert re.match(r"request \S+, [\d.]+ ms, model untrained", lines[-1])


def test_following_is_newest_first(world: World) -> None:
    page = asked(world, "timeline", VIEWER, "--product", "following", "--limit", 3)
    assert page["product"] == "following"
    assert [int(item["post_id"]) for item in page["items"]] == [*MORE[:3]]


def test_a_page_goes_on_by_its_cursor(world: World) -> None:
    first = asked(world, "timeline", VIEWER, "--product", "following", "--limit", 3)
    cursor = first["cursor"]
    more = asked(
        world, "timeline", VIEWER, "--product", "following", "--limit", 3, "--cursor", cursor
    )
    assert [int(item["post_id"]) for item in more["items"]] == [*MORE[3:6]]


def test_lists_with_and_without_replies(world: World) -> None:
    page = asked(world, "timeline", VIEWER, "--product", "list", "--list", LIST)
    assert (page["product"], [item["post_id"] for item in page["items"]]) == ("lists", [str(ROOT)])


def test_top_posts_since(world: World) -> None:
    long_ago = "2020-01-01"
    page = asked(world, "timeline", VIEWER, "--product", "top-posts", "--since", long_ago)
    assert page["product"] == "top_posts"
    assert page["items"]
    now_ms = time.time_ns() // 1_000_000
    none = told(world, "timeline", VIEWER, "--product", "top-posts", "--since", now_ms)
    assert "     no posts" in none.splitlines()


def test_a_page_as_of_a_past_instant(world: World) -> None:
    now_ms = time.time_ns() // 1_000_000
    arguments = ("timeline", VIEWER, "--product", "list", "--list", LIST)
    page = asked(world, *arguments, "--as-of", now_ms)
    assert page["as_of_ms"] == now_ms
    assert [item["post_id"] for item in page["items"]] == [str(ROOT)]
    before_the_list = now_ms - 720 * 60_000
    done = run(world, *arguments, "--as-of", before_the_list)
    assert isinstance(done.exception, UnknownList)
    assert str(done.exception) == f"user {VIEWER} had no list {LIST} then"


def test_why_by_a_request(world: World) -> None:
    page = asked(world, "timeline", VIEWER)
    shown = int(page["items"][0]["post_id"])
    lines = told(world, "why", VIEWER, shown, "--request-id", page["request_id"]).splitlines()
    assert lines[0] == f"post {shown} for user {VIEWER}: shown"
    assert "shown at place 1" in lines
    seen = told(world, "why", VIEWER, MORE[0])
    assert "not_a_candidate" in seen or "dropped by seen" in seen


def test_what_if_shows_both_orders_and_what_moved(world: World) -> None:
    page = asked(world, "what-if", VIEWER, "--off", "user_tweet_entity_graph")
    assert page["sources_off"] == ["user_tweet_entity_graph"]
    text = told(
        world,
        *("what-if", VIEWER, "--weight", "is_replied=0"),
        *("--set", "heuristics.balance.in_network_share=1.0"),
    )
    assert text.startswith(
        f"For You of user {VIEWER}, if heavy_ranker.weights.is_replied were 0.0 (it is 13.5) and "
        "heuristics.balance.in_network_share were 1.0 (it is 0.5)\n"
    )
    assert "as it would be" in text
    assert re.search(r"\d+ moved", text)


def test_an_operator_may_change_what_readers_may_not(world: World) -> None:
    path = "sources.in_network.max_results"
    changed = asked(world, "what-if", VIEWER, "--set", "visibility.down_rank=0.25")["changed"]
    assert changed == {"visibility.down_rank": {"before": 0.5, "after": 0.25}}
    done = run(world, "what-if", VIEWER, "--set", f"{path}=many")
    assert isinstance(done.exception, HttpProblem)
    assert path.split(".")[1] in str(done.exception)


def test_analytics(world: World) -> None:
    found = asked(world, "analytics", AUTHOR)
    assert (found["user_id"], found["total"]["impressions"]) == (str(AUTHOR), 1)
    text = told(world, "analytics", AUTHOR, "--days", 7, "--limit", 1)
    assert text.startswith(f"user {AUTHOR} since ")
    assert "1 followers (+1 −0); on screen 1 times" in text


def test_experiments_of_the_settings_and_of_a_user(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(world, "experiments").startswith("no experiments")
    assert f"user {VIEWER}: in no experiment" in told(world, "experiments", "--user", VIEWER)
    arms = [
        {"name": "more", "percent": 50, "overrides": {"heuristics.factors.reply": 0.9}},
        {"name": "control", "percent": 50},
    ]
    file = tmp_path / "murmuration.yaml"
    file.write_text(json.dumps({"switches": {"experiments": [{"name": "reply", "arms": arms}]}}))
    monkeypatch.setenv("MURMURATION_CONFIG", str(file))
    [experiment] = asked(world, "experiments")["experiments"]
    assert [arm["name"] for arm in experiment["arms"]] == ["more", "control"]
    assert "heuristics.factors.reply = 0.9" in told(world, "experiments")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("timeline", 1, "--product", "trends"), "'trends' is not one of"),
        (("timeline", 1, "--product", "list"), "needs --list ID"),
        (("timeline", 1, "--list", 5), "--list needs --product list"),
        (("timeline", 1, "--replies"), "--replies needs --product list"),
        (("timeline", 1, "--since", 5), "--since needs --product top-posts"),
        (("timeline", 1, "--product", "top-posts", "--cursor", "x"), "there is no --cursor"),
        (("timeline", 0), "greater than or equal to 1"),
        (("what-if", 1), "say what is to be different"),
        (("what-if", 1, "--weight", "is_replied"), "'is_replied' is not NAME=VALUE"),
        (("what-if", 1, "--weight", "is_replied=much"), "'much' is no number"),
        (("what-if", 1, "--weight", "is_replied=nan"), "'nan' is no number"),
        (("what-if", 1, "--set", "=5"), "'=5' is not NAME=VALUE"),
        (("timeline", 1, "--as-of", "then"), "'then' is neither ISO 8601"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    world: World, arguments: tuple[object, ...], message: str
) -> None:
    done = run(world, *arguments)
    assert done.exit_code == 2
    # Folded into a box by what prints it.
    assert message in re.sub(r"\s*│\s*│?\s*", " ", done.output).replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("timeline", VIEWER, "--product", "list", "--list", 5), "404 The user has no such list"),
        (("timeline", VIEWER, "--cursor", "[b]x"), "400 The cursor is not valid here"),
        (("why", VIEWER, 1, "--request-id", "none"), "404 No trace of this request is kept"),
        (("what-if", VIEWER, "--weight", "is_repled=1"), "did you mean 'is_replied'?"),
        (
            ("what-if", VIEWER, "--off", "in_networks"),
            "sources_off.0: Input should be 'cached', 'in_network'",
        ),
        (("what-if", VIEWER, "--set", "http.port=1"), "cannot differ from request to request"),
        (("analytics", 424_242), "404 There is no such user"),
    ],
)
def test_a_problem_is_one_line(
    world: World,
    arguments: tuple[object, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [*map(str, arguments), "--data-dir", str(world.settings.data_dir)]
    monkeypatch.setattr("sys.argv", ["murmuration", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1


def test_a_token_that_may_not_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMURATION_TOKEN", TOKENS["read"])
    assert asked(world, "what-if", VIEWER, "--weight", "is_replied=0")["changed"]
    done = run(world, "what-if", VIEWER, "--set", "visibility.down_rank=0.25")
    assert isinstance(done.exception, HttpProblem)
    assert str(done.exception).startswith("403 ")
    assert "needs the scope admin" in str(done.exception)


def test_nothing_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["timeline", "1", "--data-dir", str(tmp_path)])
    assert "start it with `murmuration up`" in str(done.exception)
