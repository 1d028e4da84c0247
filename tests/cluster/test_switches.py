import hashlib
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chi2, chi2_contingency

from cluster.settings import Settings, load
from cluster.switch_settings import SwitchSettings
from cluster.switches import PER_REQUEST, SwitchError, Switches, overridden

SETTINGS = Settings()
USERS = range(1, 20_001)

Given = dict[str, Any]


def experiment(name: str = "ranker", *percents: float, **more: Any) -> Given:
    shares = percents or (50, 50)
    return {"name": name, "arms": [arm(f"arm{k}", p) for k, p in enumerate(shares)]} | more


def arm(name: str, percent: float, **overrides: Any) -> Given:
    changes = {path.replace("__", "."): value for path, value in overrides.items()}
    return {"name": name, "percent": percent, "overrides": changes}


def switches(*experiments: Given) -> Switches:
    return Switches(SETTINGS, SwitchSettings.model_validate({"experiments": experiments}))


def arms_of(found: Switches, **known: Any) -> list[tuple[str, ...]]:
    return [found.for_viewer(user, **known).arms for user in USERS]


def test_without_experiments_everybody_has_the_settings_themselves() -> None:
    chosen = switches().for_viewer(7)
    assert chosen.settings is SETTINGS
    assert chosen.arms == ()


def test_an_arm_changes_what_it_says_and_nothing_else() -> None:
    softer = arm("softer", 100, for_you__diversity_decay=0.7, windows__popular_ms=5)
    chosen = switches({"name": "diversity", "arms": [softer]}).for_viewer(7)
    assert chosen.arms == ("diversity:softer",)
    assert chosen.settings.for_you.diversity_decay == 0.7
    assert chosen.settings.windows.popular_ms == 5
    assert chosen.settings.sources is SETTINGS.sources
    back = overridden(
        chosen.settings,
        {
            "for_you.diversity_decay": SETTINGS.for_you.diversity_decay,
            "windows.popular_ms": SETTINGS.windows.popular_ms,
        },
    )
    assert back == SETTINGS


def test_settings_of_a_combination_are_made_once() -> None:
    found = switches(
        {"name": "a", "arms": [arm("on", 50, for_you__max_proofs=2), arm("off", 50)]},
        {"name": "b", "arms": [arm("on", 50, for_you__max_seeds=9), arm("off", 50)]},
    )
    by_arms: dict[tuple[str, ...], set[int]] = {}
    for user in USERS:
        chosen = found.for_viewer(user)
        by_arms.setdefault(chosen.arms, set()).add(id(chosen.settings))
        assert chosen.settings.for_you.max_proofs == (2 if "a:on" in chosen.arms else 10)
        assert chosen.settings.for_you.max_seeds == (9 if "b:on" in chosen.arms else 100)
    assert set(by_arms) == {(f"a:{a}", f"b:{b}") for a, b in product(("on", "off"), repeat=2)}
    assert {len(made) for made in by_arms.values()} == {1}


def test_the_arm_is_the_published_function_of_salt_and_user() -> None:
    found = switches(experiment("ranker", 25, 50, salt="s1"))
    for user in (1, 17, 2**63 - 1):
        digest = hashlib.blake2b(b"arm s1 " + user.to_bytes(8, "little"), digest_size=8).digest()
        share = int.from_bytes(digest, "little") / 2**64
        expected = ("ranker:arm0",) if share < 0.25 else ("ranker:arm1",) if share < 0.75 else ()
        assert found.for_viewer(user).arms == expected


def test_assignment_is_known_for_good() -> None:
    # If this changes, every running experiment of everybody is drawn anew.
    found = switches(experiment("ranker"), experiment("other", 10, 10, 80))
    drawn = ["".join(a[-1] for a in found.for_viewer(user).arms) for user in range(1, 13)]
    assert drawn == ["12", "12", "02", "02", "00", "01", "12", "02", "02", "00", "02", "02"]


@pytest.mark.parametrize("percents", [(50, 50), (10, 30, 60), (1, 2), (33.33, 33.33, 33.34)])
def test_the_split_is_as_declared(percents: tuple[float, ...]) -> None:
    counts = Counter(arms_of(switches(experiment("split", *percents))))
    places: list[tuple[str, ...]] = [(f"split:arm{k}",) for k in range(len(percents))]
    shares = [*percents, 100 - sum(percents)]
    if shares[-1] < 1e-6:
        shares.pop()
    else:
        places.append(())
    assert set(counts) == set(places)
    expected = np.array(shares) / 100 * len(USERS)
    found = np.array([counts[place] for place in places])
    statistic = float(((found - expected) ** 2 / expected).sum())
    assert statistic < chi2.ppf(0.999, len(shares) - 1)


def test_experiments_are_independent_of_each_other_and_of_layers() -> None:
    found = switches(
        experiment("first"),
        experiment("second", 30, 70),
        experiment("layered", 50, 50, layer="home", slots=(0, 50)),
    )
    drawn = arms_of(found)
    for one, other in (("first", "second"), ("first", "layered"), ("second", "layered")):
        of_one = [next((a for a in arms if a.startswith(one)), "") for arms in drawn]
        of_other = [next((a for a in arms if a.startswith(other)), "") for arms in drawn]
        pairs = Counter(zip(of_one, of_other, strict=True))
        table = [[pairs[a, b] for b in sorted(set(of_other))] for a in sorted(set(of_one))]
        assert chi2_contingency(table).pvalue > 0.001


def test_one_salt_draws_alike_and_another_anew() -> None:
    alike = arms_of(switches(experiment("a", salt="x"), experiment("b", salt="x")))
    assert {(a[-1], b[-1]) for a, b in alike} == {("0", "0"), ("1", "1")}
    anew = arms_of(switches(experiment("a"), experiment("b")))
    assert {(a[-1], b[-1]) for a, b in anew} == {(x, y) for x in "01" for y in "01"}


def test_experiments_of_a_layer_never_meet_and_do_not_move_each_other() -> None:
    first = experiment("first", 100, layer="home", slots=(0, 30))
    second = experiment("second", 100, layer="home", slots=(30, 70))
    both = arms_of(switches(first, second))
    counts = Counter(both)
    assert set(counts) == {("first:arm0",), ("second:arm0",), ()}
    assert counts["first:arm0",] == pytest.approx(0.3 * len(USERS), rel=0.05)
    assert counts["second:arm0",] == pytest.approx(0.4 * len(USERS), rel=0.05)
    alone = arms_of(switches(second))
    assert [a for a in both if a != ("first:arm0",)] == [
        a for a, b in zip(alone, both, strict=True) if b != ("first:arm0",)
    ]


@pytest.mark.parametrize(
    ("cohort", "known", "inside"),
    [
        ({}, {}, True),
        ({"countries": ["DE", "FR"]}, {"country": "DE"}, True),
        ({"countries": ["DE", "FR"]}, {"country": "US"}, False),
        ({"countries": ["DE"]}, {}, False),
        ({"languages": ["de"]}, {"language": "de"}, True),
        ({"languages": ["de"]}, {"language": ""}, False),
        ({"account_age_days_below": 30}, {"account_age_days": 29.9}, True),
        ({"account_age_days_below": 30}, {"account_age_days": 30.0}, False),
        ({"account_age_days_below": 30}, {}, False),
        ({"user_ids": [7, 8]}, {}, True),
        ({"user_ids": [8]}, {}, False),
        ({"countries": ["DE"], "languages": ["de"]}, {"country": "DE", "language": "en"}, False),
        ({"countries": ["DE"], "user_ids": [7]}, {"country": "DE"}, True),
    ],
)
def test_cohorts(cohort: Given, known: Given, inside: bool) -> None:
    found = switches(experiment("new", 100, cohort=cohort))
    assert bool(found.for_viewer(7, **known).arms) == inside


@given(st.integers(1, 2**63 - 1), st.floats(0, 100), st.floats(0, 100))
def test_a_greater_share_keeps_whom_it_had(user: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if switches(experiment("grows", low)).for_viewer(user).arms:
        assert switches(experiment("grows", high)).for_viewer(user).arms


REFUSED = [
    ("shards.count", 3, "shards.count: cannot differ from request to request: the shards' own"),
    ("http.port", 80, "http.port: cannot differ from request to request: the system's"),
    ("windows.seen_ms", 5, "windows.seen_ms: cannot differ"),
    ("heavy_ranker.threads", 2, "only heavy_ranker.weights may differ"),
    ("sources.cached.max_bytes", 5, "the cache is the shards' own"),
    ("sources.quality_factor.least", 0.5, "one for all requests of a process"),
    ("mixer.ads.url", "http://x", "the ads source is one for all requests of a process"),
    ("training.metrics", 5, "the training jobs'"),
    ("switches.experiments", [], "an experiment cannot change experiments"),
    ("for_yuo.max_seeds", 5, "for_yuo.max_seeds: no such setting"),
    ("for_you.max_sedes", 5, "for_you.max_sedes: no such setting; did you mean 'max_seeds'?"),
    ("for_you", {"max_seeds": 5}, "for_you: is a group; name one setting in it"),
    ("sources.lists", {"max_lists": 5}, "sources.lists: is a group"),
    ("for_you.max_seeds.of_each", 5, "for_you.max_seeds holds no settings"),
    ("for_you.diversity_decay", 2, "for_you.diversity_decay: Input should be less than or equal"),
    ("heavy_ranker.weights.is_replied", "much", "heavy_ranker.weights.is_replied: "),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_what_cannot_be_overridden_is_refused_at_the_start(
    path: str, value: Any, message: str
) -> None:
    given = {"name": "bad", "arms": [{"name": "x", "percent": 0, "overrides": {path: value}}]}
    with pytest.raises(SwitchError) as refused:
        switches(given)
    assert "experiment 'bad', arm 'x': " in str(refused.value)
    assert message in str(refused.value)


def test_a_setting_and_its_group_at_once() -> None:
    group = "sources.in_network.age_decay"
    for paths in ((group, f"{group}.base"), (f"{group}.base", group)):
        with pytest.raises(SwitchError, match="given"):
            overridden(SETTINGS, {path: {"base": 0.5} for path in paths})


def test_a_group_that_is_not_set_is_given_whole() -> None:
    path = "sources.in_network.age_decay"
    with pytest.raises(SwitchError, match="give it whole"):
        overridden(SETTINGS, {f"{path}.base": 0.5})
    changed = overridden(SETTINGS, {path: {"base": 0.5}})
    assert changed.sources.in_network.age_decay is not None
    assert changed.sources.in_network.age_decay.base == 0.5
    assert overridden(changed, {path: None}) == SETTINGS
    assert overridden(changed, {f"{path}.base": 0.4}).sources.in_network.age_decay.base == 0.4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        ([experiment("a"), experiment("a")], "two experiments are named 'a'"),
        ([{"name": "a", "arms": [arm("x", 1), arm("x", 1)]}], "two arms of 'a' are named 'x'"),
        ([experiment("a", 60, 50)], "arms of 'a' take 110 per cent"),
        ([experiment("a:b")], "String should match"),
        ([experiment("a", -1)], "greater than or equal to 0"),
        ([{"name": "a", "arms": []}], "'a' has no arms"),
        ([experiment("a", slots=(0, 50))], "none is named"),
        ([experiment("a", layer="l", slots=(50, 50))], "must rise"),
        (
            [
                experiment("a", layer="l", slots=(0, 50)),
                experiment("b", layer="l", slots=(49, 60)),
            ],
            "'a' and 'b' share slots of the layer 'l'",
        ),
    ],
)
def test_experiments_that_do_not_fit(experiments: list[Given], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SwitchSettings.model_validate({"experiments": experiments})
    assert message in str(refused.value)


@pytest.mark.parametrize("layers", [(None, None), ("l", "m"), ("l", None), ("l", "l")])
def test_two_that_change_one_setting_may_not_meet(layers: tuple[str | None, str | None]) -> None:
    given = [
        {"name": name, "layer": layer, "arms": [arm("x", 10, for_you__max_proofs=value)]}
        | ({"slots": slots} if layer else {})
        for name, layer, value, slots in (
            ("a", layers[0], 2, (0, 50)),
            ("b", layers[1], 3, (50, 100)),
        )
    ]
    if layers == ("l", "l"):
        assert len(switches(*given).listed()) == 2
    else:
        with pytest.raises(SwitchError, match="'a' and 'b' both change for_you"):
            switches(*given)


def test_an_operator_may_look_at_arms() -> None:
    found = switches(
        {"name": "a", "arms": [arm("on", 0, for_you__max_proofs=2), arm("off", 100)]},
        experiment("b", layer="l", slots=(0, 50)),
        experiment("c", layer="l", slots=(50, 100)),
    )
    chosen = found.in_arms(["b:arm1", "a:on"])
    assert chosen.arms == ("a:on", "b:arm1")
    assert chosen.settings.for_you.max_proofs == 2
    for arms, message in (
        (["a:onn"], "did you mean 'a:on'"),
        (["a:on", "a:off"], "one arm"),
        (["b:arm0", "c:arm0"], "never meet"),
    ):
        with pytest.raises(SwitchError, match=message):
            found.in_arms(arms)


def test_what_an_operator_is_told() -> None:
    [listed] = switches(experiment("a", 20, layer="l", slots=(0, 50))).listed()
    assert listed["name"] == "a"
    assert (listed["layer"], listed["slots"]) == ("l", [0, 50])
    assert listed["arms"] == [{"name": "arm0", "percent": 20, "overrides": {}}]


@pytest.mark.parametrize("preset", ["laptop", "twitter", "research"])
def test_every_overridable_group_that_there_is_can_be_rebuilt(preset: str) -> None:
    settings = load(preset=preset)
    for path in PER_REQUEST:
        *groups, name = path.split(".")
        holder: Any = settings
        for group in groups:
            holder = getattr(holder, group)
        if groups:
            value = getattr(holder, name)
            if not hasattr(value, "model_dump"):
                assert overridden(settings, {path: value}) == settings
