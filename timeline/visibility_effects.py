"""What the labels of a post and of its author do, surface by surface, for the author to read."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from actors.graph import ViewerContext
from actors.known_labels import counts_as, label_bits
from actors.viewer_state import ViewerState
from cluster.ids import Ids
from cluster.visibility_settings import VisibilitySettings
from timeline.candidates import unhydrated
from timeline.visibility import judge_facts
from timeline.visibility_actions import Level
from timeline.visibility_facts import Facts

_AUTHOR, _FOLLOWER, _STRANGER = 1, 2, 3
_VIEWERS = {
    Level.FOR_YOU_IN: _FOLLOWER,
    Level.FOLLOWING: _FOLLOWER,
    Level.OWN: _AUTHOR,
}
"""Who asks at a level; a stranger at the others."""


class Effect(NamedTuple):
    """One thing that one label does on one surface."""

    label: str
    """As it is written in the `safety_label` event."""
    subject: str
    """`post` or `author`: what has it."""
    level: str
    action: str
    rule: str
    reason: str


def effects_of(
    post_labels: Mapping[str, float],
    author_labels: Mapping[str, float] | None = None,
    settings: VisibilitySettings | None = None,
) -> list[Effect]:
    """What each label, by itself, does on every surface; labels by name with their values.

    Judged by the rules themselves, for a viewer who allows no sensitive posts: a follower on
    the surfaces that show whom one follows, the author at `own`, a stranger elsewhere. A label
    that does nothing anywhere has no line.
    """
    named = [("post", name, value) for name, value in post_labels.items()]
    named += [("author", name, value) for name, value in (author_labels or {}).items()]
    n = len(named)
    posts = unhydrated(np.arange(1, n + 1), np.full(n, _AUTHOR), np.zeros(n, np.float32))
    posts.created_ms[:] = 1
    for row, (subject, name, value) in enumerate(named):
        posts.labels[row, int(subject == "author")] = label_bits(*counts_as(name, value))
    by_row: list[list[Effect]] = [[] for _ in named]
    for level in Level:
        viewer = _VIEWERS.get(level, _STRANGER)
        facts = Facts(
            *(viewer, _context(viewer), ViewerState(), settings or VisibilitySettings(), posts)
        )
        verdicts = judge_facts(level, facts)
        for row, (subject, name, _) in enumerate(named):
            by_row[row] += [
                Effect(
                    name, subject, level.name.lower(), action.name.lower(), rule.name, rule.reason
                )
                for action, rule in verdicts.told(row)
            ]
    return [effect for effects in by_row for effect in effects]


def _context(viewer: int) -> ViewerContext:
    nobody: Ids = np.empty(0, np.int64)
    follows = np.array([_AUTHOR] if viewer == _FOLLOWER else [], np.int64)
    return ViewerContext(
        known=True,
        gone=False,
        language="",
        follows=follows,
        blocks=nobody,
        blocked_by=nobody,
        mutes=nobody,
        seen_ids=nobody,
        served_ids=nobody,
        hidden_post_ids=nobody,
        seen_author_ids=nobody,
        hidden_author_ids=nobody,
        affine_ids=nobody,
        affinities=np.empty(0, np.float32),
    )
