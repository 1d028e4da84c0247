"""The words of visibility: what becomes of a post, which surface asks, and what a rule is."""

from dataclasses import dataclass, replace
from enum import IntEnum

from timeline.visibility_facts import Condition


class Action(IntEnum):
    """What becomes of a post; the numbers are the original's severities."""

    ALLOW = 0
    AVOID_ADS = 1
    """Stays, but no ad stands beside it."""
    LIMITED_ENGAGEMENT = 6
    """Like, reply, repost, quote, share, bookmark, pin, copy of the link and sending are off."""
    SOFT_INTERVENTION = 7
    """Stays with a sentence of context."""
    DOWN_RANK = 9
    INTERSTITIAL = 10
    """Covered until the viewer asks for it."""
    TOMBSTONE = 15
    """A placeholder without any of the content."""
    DROP = 16
    NOTICE = 17
    """The author sees the post as ever, told that it has labels."""


class Level(IntEnum):
    """The surface that asks."""

    FOR_YOU_IN = 0
    """For You, by or reposted by an account that the viewer follows."""
    FOR_YOU_OUT = 1
    FOLLOWING = 2
    LISTS = 3
    CONVERSATION = 4
    """The posts above the one shown, in its module."""
    QUOTED = 5
    """The post inside a quote; what is dropped there is not shown inside, the quote may be."""
    TOP_POSTS = 6
    """Top posts since the viewer left, as notifications have them."""
    ADS = 7
    """A post beside an ad."""
    OWN = 8
    """The viewer's own posts, whichever surface asks."""


COLLECTED = (
    *(Action.SOFT_INTERVENTION, Action.LIMITED_ENGAGEMENT),
    *(Action.DOWN_RANK, Action.AVOID_ADS),
)
"""Actions that hold beside the first match: of each the first rule that says it."""
REMOVALS = (Action.DROP, Action.TOMBSTONE)


@dataclass(frozen=True)
class Rule:
    """One line of a table."""

    name: str
    action: Action
    when: Condition
    reason: str
    """For the people who ask why."""
    own: bool = False
    """Whether the rule is this project's; the others are the original's."""
    hard: bool = False
    """Whether no setting turns it off."""

    @property
    def needs(self) -> frozenset[str]:
        """The facts that it reads."""
        return self.when.needs

    def as_(self, action: Action) -> "Rule":
        """The same rule with another action, which its name says."""
        return replace(self, name=f"{self.name}_{action.name.lower()}", action=action)
