"""Rules that settings turn off by name: a name that turns nothing off is refused at start."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.settings import Settings, SettingsError, load
from cluster.visibility_settings import VisibilitySettings
from tests.worlds import states_of, timelines_of
from timeline.rules_off import check_rules_off, wrong_rules
from timeline.visibility_rules import RULES

WRONG: list[tuple[list[str], str]] = [
    (
        ["not_recomended_gore"],
        "visibility.rules_off: no such rule 'not_recomended_gore'; "
        "did you mean 'not_recommended_gore'?",
    ),
    (["pdna"], "visibility.rules_off: the rule 'pdna' cannot be turned off"),
    (
        ["not_recommended_gore", "pdna", "???"],
        "visibility.rules_off: the rule 'pdna' cannot be turned off; no such rule '???'",
    ),
]


def with_arm(rules_off: list[str]) -> Settings:
    arms = [
        {"name": "off", "percent": 0, "overrides": {"visibility.rules_off": rules_off}},
        {"name": "control", "percent": 50},
    ]
    return load(switches={"experiments": [{"name": "softer", "arms": arms}]})


@pytest.mark.parametrize(("names", "message"), WRONG)
def test_a_name_that_turns_nothing_off_is_refused(names: list[str], message: str) -> None:
    for settings, told in (
        (load(visibility={"rules_off": names}), message),
        (with_arm(names), f"switches: experiment 'softer', arm 'off': {message}"),
    ):
        with pytest.raises(SettingsError) as refused:
            check_rules_off(settings)
        assert str(refused.value) == told


def test_every_rule_that_may_be_off_is_taken() -> None:
    free = [rule.name for rule in RULES if not rule.hard]
    assert wrong_rules(VisibilitySettings(rules_off=tuple(free))) == []
    check_rules_off(with_arm(free))
    check_rules_off(load(visibility={"rules_off": free}))
    hard = tuple(rule.name for rule in RULES if rule.hard)
    assert len(wrong_rules(VisibilitySettings(rules_off=hard))) == len(hard) > 0


def test_no_service_begins_with_one() -> None:
    settings = load(visibility={"rules_off": ["cover_markd"]})
    with pytest.raises(SettingsError, match="did you mean 'cover_marked'"):
        timelines_of(states_of([]), settings)


@pytest.mark.parametrize(
    "given",
    [
        "visibility: {rules_off: [cover_markd]}",
        "switches: {experiments: [{name: a, arms: [{name: b, percent: 1, overrides: "
        "{visibility.rules_off: [cover_markd]}}]}]}",
    ],
)
def test_no_command_does(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "murmuration.yaml"
    file.write_text(given)
    monkeypatch.setenv("MURMURATION_CONFIG", str(file))
    asked: Any = ["up", "--data-dir", str(tmp_path / "data")]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, SettingsError)
    assert "did you mean 'cover_marked'?" in str(done.exception)
    assert not (tmp_path / "data").exists()
