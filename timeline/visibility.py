"""What a viewer may see of each post, on which surface, and by which rule (visibilitylib).

Rules are asked in their level's order and the first that holds is the verdict; what may hold
beside it (context, limits, a lower rank, no ads) is collected. Safety fails closed: a post of
which nothing is known is dropped, and a rule that raises drops what it was asked about.
"""

import logging
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from timeline.candidates import Candidates, Floats, Mask
from timeline.query import Query
from timeline.visibility_actions import COLLECTED, REMOVALS, Action, Level, Rule
from timeline.visibility_facts import Facts
from timeline.visibility_rules import POLICIES, RULES

_LOG = logging.getLogger(__name__)
_NONE = -1
_PLACE = {rule: place for place, rule in enumerate(RULES)}
_COLUMN = {action: column for column, action in enumerate(COLLECTED)}
FAILED = "failed"
"""What stands behind the name of a rule that raised."""

Levels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Verdicts:
    """The verdict on each post; arrays of shape (n,) unless said."""

    post_ids: Ids
    levels: Levels
    """The `Level` that each post was judged at."""
    action: npt.NDArray[np.uint8]
    """The `Action` of the first rule that holds; `ALLOW` where none does."""
    rule: Places
    """Its place in `RULES`; -1 for none."""
    collected: Places
    """Shape (n, len(COLLECTED)): the first rule that says each of `COLLECTED`; -1 for none."""
    failed: Mask
    """The rule raised, so the post is dropped."""
    down_rank: Floats
    """Factor on the score."""

    def __len__(self) -> int:
        return len(self.action)

    @cached_property
    def by_id(self) -> tuple[Ids, npt.NDArray[np.int64]]:
        """The posts' ids, sorted, and the row of each."""
        order = np.argsort(self.post_ids)
        return self.post_ids[order], order

    @property
    def removed(self) -> Mask:
        """Dropped, or a placeholder: nothing of the post may be shown."""
        removed: Mask = (self.action == Action.DROP) | (self.action == Action.TOMBSTONE)
        return removed

    @property
    def covered(self) -> Mask:
        """Shown when the viewer asks for it."""
        covered: Mask = self.action == Action.INTERSTITIAL
        return covered

    @property
    def avoid_ads(self) -> Mask:
        """No ad stands beside it."""
        return self._has(Action.AVOID_ADS)

    @property
    def limited(self) -> Mask:
        """Engagements are off."""
        return self._has(Action.LIMITED_ENGAGEMENT)

    @property
    def rule_names(self) -> list[str]:
        """The name of the rule of each verdict; empty where no rule holds."""
        names = ["" if place < 0 else RULES[place].name for place in self.rule.tolist()]
        failed = self.failed.tolist()
        return [
            f"{name} ({FAILED})" if bad else name for name, bad in zip(names, failed, strict=True)
        ]

    def told(self, row: int) -> list[tuple[Action, Rule]]:
        """All that is said of one post: its verdict, then what is collected beside it."""
        first = int(self.rule[row])
        if first < 0:
            return []
        said = [(Action(int(self.action[row])), RULES[first])]
        others = (place for place in self.collected[row].tolist() if place not in (_NONE, first))
        return said + [(RULES[place].action, RULES[place]) for place in others]

    def _has(self, action: Action) -> Mask:
        has: Mask = self.collected[:, _COLUMN[action]] >= 0
        return has


def judge(levels: Level | Levels, query: Query, candidates: Candidates) -> Verdicts:
    """The verdicts on candidates, at one level or at the level of each, (n,) codes.

    The viewer's own posts are judged at `Level.OWN` whichever is given. A rule that raises is
    noted in the query as `visibility`. Raises `ValueError` for a code that is no level.
    """
    settings = query.settings.visibility
    facts = Facts(query.viewer_id, query.context, query.state, settings, candidates)
    verdicts = judge_facts(levels, facts)
    if verdicts.failed.any():
        query.note("visibility")
    return verdicts


def judge_facts(levels: Level | Levels, facts: Facts) -> Verdicts:
    """As `judge`, of facts about all the candidates they come with."""
    n = len(facts)
    at = np.full(n, levels, np.uint8) if isinstance(levels, Level) else levels.copy()
    at[facts.own] = Level.OWN
    verdicts = _nothing_said(facts.candidates.post_ids, at)
    try:
        asked = facts.remarkable()
    except Exception:  # whatever is missing, the rule that needs it says so
        asked = np.arange(n)
    of_asked, said = replace(facts, rows=asked), _Said()
    for code in np.flatnonzero(np.bincount(at)).tolist():
        level = Level(code)
        here = np.flatnonzero(at[asked] == code)
        if len(here):
            _judge_level(level, of_asked, here, said, verdicts)
    verdicts.collected[verdicts.removed] = _NONE
    down = verdicts.collected[:, _COLUMN[Action.DOWN_RANK]] >= 0
    verdicts.down_rank[down] = facts.settings.down_rank
    return verdicts


def for_you_levels(candidates: Candidates) -> Levels:
    """For You's level of each candidate: in-network or out-of-network."""
    followed = candidates.feature("is_followed") > 0
    return np.where(followed, Level.FOR_YOU_IN, Level.FOR_YOU_OUT).astype(np.uint8)


def all_at(level: Level, candidates: Candidates) -> Levels:
    """One level for every candidate."""
    return np.full(len(candidates), level, np.uint8)


def _nothing_said(post_ids: Ids, levels: Levels) -> Verdicts:
    n = len(post_ids)
    return Verdicts(
        post_ids,
        levels,
        action=np.zeros(n, np.uint8),
        rule=np.full(n, _NONE, np.int16),
        collected=np.full((n, len(COLLECTED)), _NONE, np.int16),
        failed=np.zeros(n, bool),
        down_rank=np.ones(n, np.float32),
    )


class _Said(dict[int, Mask | None]):
    """Whom rules hold for among the posts asked about, by place; None for nobody."""

    def of(self, place: int, line: Rule, facts: Facts) -> Mask | None:
        """What a rule says, asked once for all levels. Raises whatever it raises."""
        if place not in self:
            holds = line.when(facts)
            if holds.shape != facts.none.shape:
                raise ValueError(f"{holds.shape} verdicts on {facts.none.shape} posts")
            self[place] = holds if holds is not facts.none and holds.any() else None
        return self[place]


def _judge_level(
    level: Level, facts: Facts, here: npt.NDArray[np.int64], said: _Said, verdicts: Verdicts
) -> None:
    """Write the verdicts on those of the posts of `facts` that are `here`, all of one level."""
    rows = facts.rows[here] if isinstance(facts.rows, np.ndarray) else here
    action, rule = verdicts.action[rows], verdicts.rule[rows]
    collected, failed = verdicts.collected[rows], verdicts.failed[rows]
    for place, line, bits in _table(level, facts.settings.rules_off):
        try:
            if bits and not bits & facts.present:
                continue
            of_all = said.of(place, line, facts)
        except Exception as error:
            # Nobody knows for whom it would have held, and what it guards comes first.
            _LOG.error("visibility rule %s failed: %r", line.name, error)
            left = ~np.isin(action, REMOVALS)
            action[left], rule[left], failed[left] = Action.DROP, place, True
            break
        if of_all is None:
            continue
        holds = of_all[here]
        first = holds & (rule < 0)
        np.putmask(action, first, line.action)
        np.putmask(rule, first, place)
        if line.action in _COLUMN:
            column = collected[:, _COLUMN[line.action]]
            np.putmask(column, holds & (column < 0), place)
    verdicts.action[rows], verdicts.rule[rows] = action, rule
    verdicts.collected[rows], verdicts.failed[rows] = collected, failed


@lru_cache(maxsize=256)
def _table(level: Level, off: tuple[str, ...]) -> tuple[tuple[int, Rule, int], ...]:
    """The rules of a level that apply, with their places and `Condition.bits`."""
    rules = (rule for rule in POLICIES[level] if rule.hard or rule.name not in off)
    return tuple((_PLACE[rule], rule, rule.when.bits) for rule in rules)
