"""The rules of visibility: for every level an ordered table, of which the first match wins.

Removals stand before covers, covers before what is only said, limited or ranked down, so no
post escapes a removal by having a milder label, too. The groups and their order follow
visibilitylib's policies (`TimelineHome`, `TimelineHomeLatest`, `TimelineHomeRecommendations`,
`Recommendations`, quoted posts, freedom of speech, not reach). `docs/visibility.md` shows the
tables as a reader wants them.
"""

from actors.known_labels import KNOWN_LABELS
from timeline.visibility_actions import Action, Level, Rule
from timeline.visibility_facts import Condition, author_has, fact, of_viewer, post_has

_FOLLOWED = fact("followed", "the viewer follows the author")
_ALLOWS = of_viewer(
    lambda f: f.is_adult and f.state.allow_sensitive,
    "the viewer is an adult who allows sensitive posts",
    *("is_adult", "state"),
)
_RECOMMENDED_SENSITIVE = of_viewer(
    lambda f: f.settings.recommend_sensitive and f.is_adult and f.state.allow_sensitive,
    "`recommend_sensitive` is on and the viewer is an adult who allows sensitive posts",
    *("settings", "is_adult", "state"),
)
_MARKED = fact("sensitive", "the author marked the post as sensitive")


def _drop(name: str, when: Condition, reason: str, *, own: bool = False, hard: bool = True) -> Rule:
    return Rule(name, Action.DROP, when, reason, own, hard)


def _label_drop(label: str) -> Rule:
    return _drop(label, post_has(label), f"labelled {label}")


_UNKNOWN = _drop(
    "facts_unknown", ~fact("known", "something is known of the post"), "nothing is known of it"
)
_GONE = (
    _drop("post_deleted", fact("deleted", "the post, or what it reposts, is deleted"), "deleted"),
    _drop(
        "author_gone",
        fact("author_gone", "the author is deactivated, suspended or deleted"),
        "by an account that is not there",
    ),
)
_PDNA, _SPAM, _BOUNCE = _label_drop("pdna"), _label_drop("spam"), _label_drop("bounce")
_EXCLUSIVE = _drop(
    "exclusive",
    fact("exclusive", "the post is for subscribers")
    & ~fact("subscribed", "the viewer subscribes to the author"),
    "for subscribers of its author",
)
_EPISODIC, _EMERGENCY = _label_drop("abuse_episodic"), _label_drop("emergency_drop")
_CRISIS_4 = _label_drop("safety_crisis_4")
_RELATIONS = (
    _drop(
        "author_muted",
        fact("muted", "the viewer muted the author or the reposted"),
        "by somebody whom you muted",
    ),
    _drop(
        "author_blocked", fact("blocked", "the viewer blocked them"), "by somebody whom you blocked"
    ),
    _drop(
        "blocked_by_author", fact("blocked_by", "they blocked the viewer"), "not available to you"
    ),
    _drop(
        "author_protected",
        fact("author_protected", "the author is protected") & ~_FOLLOWED,
        "for followers of its author",
    ),
)
_LINKED = _drop(
    "linked_author_hidden",
    fact("hidden_linked", "a block or mute lies between the viewer and an author it links to"),
    "linked to somebody whom you hide",
    own=True,
)
_BASE = (_UNKNOWN, *_GONE, _PDNA, _SPAM, _BOUNCE, _EXCLUSIVE)


def _tombstones(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(rule.as_(Action.TOMBSTONE) for rule in rules)


# Sensitive posts: covered for whom the viewer follows, removed from whom the viewer does not.

SENSITIVE_LABELS = (
    *("nsfw_high_precision", "gore_high_precision", "reported_sensitive", "nsfw_card_image"),
    "nsfw_admin",
)
"""In-network they cover a post, out-of-network they remove it."""
_MINORS = _drop(
    "sensitive_for_minors",
    of_viewer(
        lambda f: f.settings.minors_in_network == "drop" and not f.is_adult,
        "`minors_in_network` is `drop` and the viewer is no adult",
        *("settings", "is_adult"),
    )
    & (post_has(*SENSITIVE_LABELS) | _MARKED),
    "sensitive",
    hard=False,
)


def _of_sensitive(prefix: str, action: Action) -> tuple[Rule, ...]:
    labels = (
        Rule(f"{prefix}_{label}", action, post_has(label) & ~_ALLOWS, f"sensitive: {label}")
        for label in SENSITIVE_LABELS
    )
    marked = Rule(f"{prefix}_marked", action, _MARKED & ~_ALLOWS, "sensitive, as its author says")
    return (*labels, marked)


_COVERS = _of_sensitive("cover", Action.INTERSTITIAL)
_QUOTED_SENSITIVE = _of_sensitive("quoted", Action.DROP)

# What is not recommended.

_UNLESS_RECOMMENDED = (
    *("nsfw_high_precision", "gore_high_precision", "reported_sensitive", "nsfw_card_image"),
    *("nsfw_video", "nsfw_text", "gore", "nsfw_high_recall", "nsfw_admin", "nsfw_near_perfect"),
    *("nsfw_banner_image", "nsfw_avatar_image"),
)
_UNLESS_FOLLOWED = ("do_not_amplify", "safety_crisis_3", "not_graduated", "likely_ivs")
_POST_LABELS = (
    *("abusive", "low_quality", "nsfw_high_precision", "gore_high_precision"),
    *("reported_sensitive", "nsfw_card_image", "nsfw_video", "nsfw_text", "spam_high_recall"),
    *("duplicate_content", "gore", "bystander_abusive", "do_not_amplify", "safety_crisis_3"),
    *("automated_spam", "safety_crisis_2", "high_proactive_tos", "nsfw_high_recall"),
)
_POST_LABELS_OWN = ("nsfw_admin", "nsfw_near_perfect", "hidden_reply")
_AUTHOR_LABELS = (
    *("nsfw_admin", "abusive", "low_quality", "read_only", "compromised"),
    *("recommendations_blacklist", "spam_high_recall", "duplicate_content"),
    *("nsfw_high_precision", "nsfw_near_perfect", "nsfw_banner_image", "nsfw_avatar_image"),
    *("engagement_spammer", "abusive_high_recall", "do_not_amplify", "not_graduated"),
    *("likely_ivs", "nsfw_text"),
)
_AUTHOR_LABELS_OWN = ("spam", "automated_spam")


def _not_recommended(labels: tuple[str, ...], of_author: bool, own: bool) -> tuple[Rule, ...]:
    rules = []
    for label in labels:
        when = author_has(label) if of_author else post_has(label)
        if label in _UNLESS_RECOMMENDED:
            when &= ~_RECOMMENDED_SENSITIVE
        elif label in _UNLESS_FOLLOWED:
            when &= ~_FOLLOWED
        name = f"not_recommended_{'author_' if of_author else ''}{label}"
        reason = f"not recommended: {'its author is ' if of_author else ''}labelled {label}"
        rules.append(_drop(name, when, reason, own=own, hard=False))
    return tuple(rules)


_UNRECOMMENDED_POSTS = (
    *_not_recommended(_POST_LABELS, of_author=False, own=False),
    *_not_recommended(_POST_LABELS_OWN, of_author=False, own=True),
    _drop(
        "not_recommended_marked",
        _MARKED & ~_ALLOWS,
        "not recommended: sensitive, as its author says",
        hard=False,
    ),
)
_UNRECOMMENDED_AUTHORS = (
    *_not_recommended(_AUTHOR_LABELS, of_author=True, own=False),
    *_not_recommended(_AUTHOR_LABELS_OWN, of_author=True, own=True),
)

# Freedom of speech, not reach: level 3 is hateful conduct, level 1 a slur of low severity.

_LEVEL_3, _LEVEL_1 = post_has("hateful_conduct"), post_has("slur")
_NO_REACH_3 = _drop("no_reach_3", _LEVEL_3, "hateful conduct", hard=False)
_NO_REACH_1 = _drop("no_reach_1", _LEVEL_1, "a slur", hard=False)
_NO_REACH_1_STRANGER = _drop("no_reach_1_stranger", _LEVEL_1 & ~_FOLLOWED, "a slur", hard=False)
_CONTEXT_1 = Rule("no_reach_1_context", Action.SOFT_INTERVENTION, _LEVEL_1, "its reach is limited")
_COVER_3 = Rule(
    *("no_reach_3_cover", Action.INTERSTITIAL, _LEVEL_3 & ~_FOLLOWED, "may be hateful conduct")
)
_CONTEXT_3 = Rule(
    *("no_reach_3_context", Action.SOFT_INTERVENTION, _LEVEL_3 & _FOLLOWED, "its reach is limited")
)
_LIMITED_3 = Rule(
    *("no_reach_3_limited", Action.LIMITED_ENGAGEMENT, _LEVEL_3, "its reach is limited")
)
_SECTION_1 = Rule(
    *("no_reach_1_section", Action.DOWN_RANK, _LEVEL_1 & ~_FOLLOWED, "its reach is limited")
)

# What holds beside the first match.

_MISLEADING = Rule(
    *("misleading", Action.SOFT_INTERVENTION, post_has("misleading"), "may be misleading", True)
)
_LIMITED = (
    Rule(
        "outdated",
        Action.LIMITED_ENGAGEMENT,
        fact("outdated", "a newer version replaces the post"),
        "there is a newer version",
    ),
    Rule(
        "limited_reply",
        Action.LIMITED_ENGAGEMENT,
        post_has("limited_reply"),
        "its author limits who may reply",
    ),
)
_LOW = (
    *("abusive", "abusive_high_recall", "bystander_abusive", "low_quality"),
    *("spam_high_recall", "duplicate_content"),
)
_DOWN_RANKS = (
    Rule(
        *("down_rank_post", Action.DOWN_RANK, post_has(*_LOW), "of low quality, or abusive", True)
    ),
    Rule(
        "down_rank_author",
        Action.DOWN_RANK,
        author_has("spam", "spam_high_recall", "abusive", "low_quality", "engagement_spammer"),
        "its author is labelled for low quality or abuse",
        True,
    ),
)
_UNSAFE_PUBLISHED = (
    *("nsfw_high_precision", "nsfw_high_recall", "nsfw_text", "nsfw_video"),
    *("gore", "gore_high_precision", "reported_sensitive", "do_not_amplify"),
)
_UNSAFE_OWN = (
    *("nsfw_card_image", "nsfw_near_perfect", "nsfw_admin", "abusive", "misleading"),
    *("bystander_abusive", "safety_crisis_2", "safety_crisis_3", "abuse_episodic"),
    *("emergency_drop", "high_proactive_tos"),
)
_AVOIDS = (
    Rule("unsafe_for_ads", Action.AVOID_ADS, post_has(*_UNSAFE_PUBLISHED), "no place for an ad"),
    Rule(*("no_reach_ads", Action.AVOID_ADS, post_has("hateful_conduct", "slur"), "limited reach")),
    Rule("delicate_for_ads", Action.AVOID_ADS, post_has(*_UNSAFE_OWN), "no place for an ad", True),
    Rule("marked_for_ads", Action.AVOID_ADS, _MARKED, "sensitive, as its author says", True),
    Rule(
        "author_unsafe_for_ads",
        Action.AVOID_ADS,
        author_has("nsfw_admin", "nsfw_high_precision", "nsfw_near_perfect", "do_not_amplify"),
        "by an account no ad stands beside",
        True,
    ),
)
_HIDDEN_REPLY = _drop(
    "reply_hidden_from_viewer",
    post_has("hidden_reply") & fact("begun_by_viewer", "the viewer began the conversation"),
    "a reply that is hidden from you",
    hard=False,
)
_EVERY_LABEL = tuple(label for label in KNOWN_LABELS if label != "limited_reply")
_NOTICES = (
    Rule("notice_3", Action.NOTICE, _LEVEL_3, "labelled as hateful conduct; you may appeal"),
    Rule("notice_1", Action.NOTICE, _LEVEL_1, "labelled as a slur; you may appeal"),
    Rule("notice", Action.NOTICE, post_has(*_EVERY_LABEL), "your post has a label", True),
    Rule(
        "notice_account", Action.NOTICE, author_has(*_EVERY_LABEL), "your account has a label", True
    ),
)

_HOME_REMOVALS = (*_BASE, _EPISODIC, _EMERGENCY, _CRISIS_4, *_RELATIONS, _LINKED)
_SAID = (_CONTEXT_1, _MISLEADING, *_LIMITED)
_LATEST = (
    *(*_BASE, _CRISIS_4, *_RELATIONS, _LINKED, _NO_REACH_3, _NO_REACH_1_STRANGER, _MINORS),
    *(*_COVERS, _EPISODIC.as_(Action.INTERSTITIAL), _EMERGENCY.as_(Action.INTERSTITIAL)),
    *(*_SAID, *_AVOIDS),
)
_BEHIND_TOMBSTONES = (*_tombstones(*_GONE), _PDNA, _SPAM, *_tombstones(_BOUNCE, _EXCLUSIVE))

POLICIES: dict[Level, tuple[Rule, ...]] = {
    Level.FOR_YOU_IN: (
        *(*_HOME_REMOVALS, _NO_REACH_3, _NO_REACH_1_STRANGER, _MINORS),
        *(*_COVERS, *_SAID, *_DOWN_RANKS, *_AVOIDS),
    ),
    Level.FOR_YOU_OUT: (
        *(*_HOME_REMOVALS, *_UNRECOMMENDED_POSTS, *_UNRECOMMENDED_AUTHORS),
        *(_NO_REACH_3, _NO_REACH_1, _MISLEADING, *_LIMITED, *_DOWN_RANKS, *_AVOIDS),
    ),
    Level.FOLLOWING: _LATEST,
    Level.LISTS: _LATEST,
    Level.CONVERSATION: (
        *(_UNKNOWN, *_BEHIND_TOMBSTONES, *_tombstones(_EMERGENCY, _CRISIS_4, *_RELATIONS)),
        *(*_tombstones(_HIDDEN_REPLY), _MINORS, *_COVERS, _EPISODIC.as_(Action.INTERSTITIAL)),
        *(_COVER_3, _CONTEXT_3, *_SAID, _LIMITED_3, _SECTION_1, *_DOWN_RANKS, *_AVOIDS),
    ),
    Level.QUOTED: (
        *(_UNKNOWN, *_BEHIND_TOMBSTONES, _EPISODIC, _EMERGENCY, _CRISIS_4),
        *(*_tombstones(*_RELATIONS), _NO_REACH_3, _NO_REACH_1_STRANGER, _MINORS),
        *(*_QUOTED_SENSITIVE, *_SAID, *_AVOIDS),
    ),
    Level.TOP_POSTS: (
        *(*_HOME_REMOVALS, _HIDDEN_REPLY, *_UNRECOMMENDED_POSTS, _NO_REACH_3, _NO_REACH_1),
        *(_MISLEADING, *_LIMITED, *_DOWN_RANKS, *_AVOIDS),
    ),
    Level.ADS: (*_HOME_REMOVALS, _NO_REACH_3, _NO_REACH_1_STRANGER, *_AVOIDS),
    Level.OWN: (_UNKNOWN, _GONE[0], *_NOTICES, _LIMITED_3, _LIMITED[0], *_AVOIDS),
}
"""Level → its rules, in order."""

RULES: tuple[Rule, ...] = tuple(dict.fromkeys(r for rules in POLICIES.values() for r in rules))
"""Every rule once; verdicts name a rule by its place here."""
