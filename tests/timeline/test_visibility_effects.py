"""What labels do, as their author reads it."""

from actors.known_labels import KNOWN_LABELS
from cluster.visibility_settings import VisibilitySettings
from timeline.visibility_effects import effects_of
from timeline.visibility_rules import RULES


def brief(*given: dict[str, float], level: str) -> list[tuple[str, str, str]]:
    return [(e.label, e.action, e.rule) for e in effects_of(*given) if e.level == level]


def test_effects_of_a_post_and_of_its_author() -> None:
    post = {"gore_high_precision": 1.0, "slur": 1.0}
    assert brief(post, level="for_you_in") == [
        ("gore_high_precision", "interstitial", "cover_gore_high_precision"),
        ("gore_high_precision", "avoid_ads", "unsafe_for_ads"),
        ("slur", "soft_intervention", "no_reach_1_context"),
        ("slur", "avoid_ads", "no_reach_ads"),
    ]
    assert brief(post, level="for_you_out") == [
        ("gore_high_precision", "drop", "not_recommended_gore_high_precision"),
        ("slur", "drop", "no_reach_1"),
    ]
    assert [action for _, action, _ in brief(post, level="own")] == ["notice", "avoid_ads"] * 2
    spammer = effects_of({"spam": 1.0}, {"spam": 1.0})
    assert {e.subject for e in spammer} == {"post", "author"}
    assert {e.action for e in spammer if e.subject == "author"} == {"drop", "down_rank", "notice"}


def test_what_a_model_says_counts_from_its_thresholds_on() -> None:
    assert brief({"p_nsfw_text": 0.4}, level="for_you_out") == []
    assert brief({"p_nsfw_text": 0.6}, level="for_you_out") == [
        ("p_nsfw_text", "drop", "not_recommended_nsfw_high_recall")
    ]
    assert brief({"p_nsfw_text": 0.6}, level="for_you_in") == [
        ("p_nsfw_text", "avoid_ads", "unsafe_for_ads")
    ]
    assert brief({"p_toxicity": 0.7}, level="for_you_out") == [
        ("p_toxicity", "down_rank", "down_rank_post")
    ]
    assert brief({"p_nsfw": 0.95}, level="following")[0] == (
        *("p_nsfw", "interstitial", "cover_nsfw_high_precision"),
    )


def test_nothing_to_tell() -> None:
    assert effects_of({}) == []
    assert effects_of({"no_such_label": 1.0}, {}) == []


def test_every_label_does_something_and_says_why() -> None:
    reasons = {rule.name: rule.reason for rule in RULES}
    everything = dict.fromkeys(KNOWN_LABELS, 1.0)
    effects = effects_of(everything, everything)
    assert {e.label for e in effects} == set(KNOWN_LABELS)
    assert all(e.reason == reasons[e.rule] for e in effects)


def test_settings_count() -> None:
    off = VisibilitySettings(rules_off=("down_rank_post", "down_rank_author"))
    labels = {"p_abuse": 0.6}
    assert {e.level for e in effects_of(labels)} >= {"for_you_in", "for_you_out", "own"}
    assert {e.level for e in effects_of(labels, settings=off)} == {"own"}
