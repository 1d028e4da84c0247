"""The rules of visibility as Markdown: what is asked on each surface, in which order."""

import sys
from collections.abc import Sequence
from pathlib import Path

from actors.features.safety import MODEL_PREFIX
from actors.known_labels import KNOWN_LABELS, WRITTEN
from cluster.visibility_settings import VisibilitySettings
from timeline.visibility_actions import Action, Level, Rule
from timeline.visibility_rules import POLICIES, RULES

_HEAD = """# Visibility

Made by `python -m timeline.visibility_document`; a test compares.

Each surface asks its rules in the order below. The first that holds is the verdict. Context,
limits, a lower rank and *no ads* may hold beside it: of each of these the first rule that says it
counts. What is removed has nothing beside it. A post of which nothing is known is dropped, and a
rule that fails drops every post that it was asked about. A repost of a post that never arrived is
judged by what is known of that post and its author, and covered as if marked as sensitive.
Whichever surface asks, viewers have their own posts judged by the rules of `own`.

What covers a post for the followers of its author removes it where posts are recommended.

A rule in **bold** cannot be turned off; the others can, by their names in the setting
`visibility.rules_off`. A rule with ° is this project's own; the others are of the original.
Muted keywords, feedback and topics are filters of their own and not in these tables.

Not here, for want of what they would read: posts in communities and for trusted friends,
takedowns by country, and toxicity thresholds by language, which the original did not publish.
"""
_ACTIONS = {
    Action.DROP: "removed",
    Action.TOMBSTONE: "a placeholder stands where the post was, without any of its content",
    Action.NOTICE: "nothing changes; the author is told of the label",
    Action.INTERSTITIAL: "covered until the viewer asks for the post",
    Action.SOFT_INTERVENTION: "shown with a sentence of context",
    Action.LIMITED_ENGAGEMENT: "shown; like, reply, repost, quote, share, bookmark, pin, copying"
    " the link and sending are off",
    Action.DOWN_RANK: "the score is multiplied by `visibility.down_rank`; in a conversation the"
    " post stands in the last section",
    Action.AVOID_ADS: "no ad stands beside the post",
    Action.ALLOW: "no rule holds",
}
_LEVELS = {
    Level.FOR_YOU_IN: "For You: posts by or reposted by accounts that the viewer follows.",
    Level.FOR_YOU_OUT: "For You: all other posts.",
    Level.FOLLOWING: "The Following timeline.",
    Level.LISTS: "Timelines of lists.",
    Level.CONVERSATION: "Posts above the one shown, in its conversation.",
    Level.QUOTED: "The post inside a quote: what is dropped is not shown inside, the quote may be.",
    Level.TOP_POSTS: "Top posts since the viewer left.",
    Level.ADS: "Posts beside an ad.",
    Level.OWN: "The viewer's own posts.",
}


def document() -> str:
    """The document."""
    return "\n".join([_HEAD, *_actions(), *_labels(), *_settings(), *_policies()])


def _actions() -> list[str]:
    rows = [f"| `{action.name.lower()}` | {words} |" for action, words in _ACTIONS.items()]
    return ["## Actions", "", "| Action | Meaning |", "|---|---|", *rows, ""]


def _labels() -> list[str]:
    rows = []
    for label in KNOWN_LABELS:
        people = [
            f"`{told.name}`"
            for told in WRITTEN
            if told.label == label and not told.name.startswith(MODEL_PREFIX)
        ]
        models = [
            f"`{told.name}` ≥ {told.least:g}"
            for told in WRITTEN
            if told.label == label and told.name.startswith(MODEL_PREFIX)
        ]
        used = sum(f"`{label}`" in rule.when.words for rule in RULES)
        rows.append(f"| `{label}` | {', '.join(people)} | {', '.join(models)} | {used} |")
    return [
        *(
            "## Labels",
            "",
            "A label that a model gave has a prefix and its probability as value.",
            "",
        ),
        *("| Label | As people write it | As models do | Rules |", "|---|---|---|---|"),
        *(*rows, ""),
    ]


def _settings() -> list[str]:
    rows = [f"| `{name}` | `{value!r}` |" for name, value in VisibilitySettings()]
    head = ["## Settings", "", "Group `visibility`; see `cluster/visibility_settings.py`.", ""]
    return [*head, "| Setting | Default |", "|---|---|", *rows, ""]


def _policies() -> list[str]:
    lines = []
    for level, rules in POLICIES.items():
        lines += [f"## `{level.name.lower()}`", "", _LEVELS[level], ""]
        lines += ["| | Rule | Action | When | Reason given |", "|---|---|---|---|---|"]
        lines += [_line(number, rule) for number, rule in enumerate(rules, 1)]
        lines.append("")
    return lines


def _line(number: int, rule: Rule) -> str:
    name = f"**`{rule.name}`**" if rule.hard else f"`{rule.name}`"
    name += "°" if rule.own else ""
    action = f"`{rule.action.name.lower()}`"
    return f"| {number} | {name} | {action} | {rule.when.words} | {rule.reason} |"


def main(arguments: Sequence[str]) -> None:
    """Write the document to a path, `docs/visibility.md` unless one is given."""
    default = Path(__file__).parents[1] / "docs" / "visibility.md"
    path = Path(arguments[0]) if arguments else default
    path.write_text(document())


if __name__ == "__main__":
    main(sys.argv[1:])
