"""Pages of viewers in an experiment are those that its settings make, and say so."""

from typing import Any

import pytest

from actors.questions import AskContext
from actors.router import Gathered, LocalRouter, Wave
from actors.state import ShardState
from cluster.settings import Settings, load
from cluster.switches import PER_REQUEST, Switches, overridden
from tests.timeline.small_worlds import VIEWER, small_world
from tests.worlds import NOW_MS, Clock, shown, states_of, timelines_of
from timeline.pages import Page
from timeline.products import FOLLOWING, FOR_YOU, TOP_POSTS
from timeline.served import SHAPING, served_events, settings_version
from timeline.timelines import Asked

ARM = ("trial:on",)


class Watched(LocalRouter):
    """Counts how often the viewer was asked for."""

    contexts = 0

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        asked = [question for questions in wave.values() for question in questions]
        self.contexts += sum(isinstance(question, AskContext) for question in asked)
        return super().ask(wave, timeout_s)


@pytest.fixture(scope="module")
def states() -> list[ShardState]:
    return states_of(small_world(Clock()), 2)


def tried(states: list[ShardState], percent: float, **overrides: Any) -> Settings:
    """The states' settings with an experiment."""
    arm = {"name": "on", "percent": percent, "overrides": overrides}
    switches = {"experiments": [{"name": "trial", "arms": [arm]}]}
    return load(data_dir=states[0].settings.data_dir, switches=switches)


def page_of(
    states: list[ShardState],
    of_process: Settings,
    product: str = FOR_YOU,
    router: LocalRouter | None = None,
    settings: Settings | None = None,
) -> Page:
    timelines = timelines_of(states, of_process, router)
    return timelines.page(Asked(product, VIEWER, 20, NOW_MS, settings=settings))


@pytest.mark.parametrize(
    ("path", "value", "again"),
    [
        ("for_you.diversity_decay", 0.9, False),
        ("heuristics.balance.in_network_share", 0.2, False),
        ("sources.lists.max_lists", 1, False),
        # What the viewer's shard was asked with before anybody knew of the arm.
        ("for_you.max_follows", 1, True),
        ("products.max_followed", 50, True),
        ("for_you.max_seen", 1, True),
        ("sources.signals", ["account_follow"], True),
        ("sources.max_signals", 1, True),
    ],
)
def test_a_page_in_an_arm_is_the_page_that_its_settings_make(
    states: list[ShardState], path: str, value: Any, again: bool
) -> None:
    router = Watched(states)
    settings = tried(states, 100, **{path: value})
    page = page_of(states, settings, router=router)
    explicit = page_of(states, settings, settings=overridden(settings, {path: value}))
    assert shown(page) == shown(explicit)
    assert page.settings == explicit.settings
    assert (page.arms, explicit.arms) == (ARM, ())
    assert router.contexts == 1 + again
    if path == "for_you.max_follows":
        assert shown(page) != shown(page_of(states, tried(states, 0)))


@pytest.mark.parametrize("product", [FOR_YOU, FOLLOWING, TOP_POSTS])
def test_every_product_has_the_settings_of_the_arms(states: list[ShardState], product: str) -> None:
    few = {"for_you.max_follows": 1, "products.max_followed": 1}
    page = page_of(states, tried(states, 100, **few), product)
    assert page.arms == ARM
    assert page.settings.for_you.max_follows == 1
    plain = page_of(states, tried(states, 0, **few), product)
    assert plain.arms == ()
    assert len(page.items) < len(plain.items)


def test_what_is_served_names_the_settings_that_it_was_made_with(
    states: list[ShardState],
) -> None:
    overrides = {"for_you.diversity_decay": 0.9}
    settings = tried(states, 100, **overrides)
    page = page_of(states, settings)
    base = page_of(states, settings, settings=settings)
    rows = served_events([page, base]).to_pylist()
    told = {(row["settings_version"], row["experiment_arm"]) for row in rows}
    # Settings in force and the arm are enough to have them again.
    of_arm = Switches(settings, settings.switches).in_arms(ARM).settings
    assert told == {
        (settings_version(of_arm), "trial:on"),
        (settings_version(settings), None),
    }
    assert settings_version(of_arm) != settings_version(settings)
    assert settings_version(of_arm) == settings_version(overridden(settings, overrides))


def test_the_version_follows_whatever_an_arm_may_change() -> None:
    assert {path.partition(".")[0] for path in PER_REQUEST} <= SHAPING
