"""Why a post is shown, in words and in data."""

from dataclasses import dataclass

import numpy as np

from actors.graph import PUBLIC_CODES
from cluster.events import Kind
from timeline.candidates import Candidates
from timeline.query import Query

_WORDS = {
    Kind.FAVOURITE: ("favourited_by", "favourited by"),
    Kind.REPOST: ("reposted_by", "reposted by"),
    Kind.REPLY: ("replied_to_by", "replied to by"),
    Kind.QUOTE: ("quoted_by", "quoted by"),
}
_KIND_OF_CODE = {PUBLIC_CODES[kind]: kind for kind in _WORDS}


@dataclass(frozen=True)
class Reason:
    """One reason: its kind, the users it names, and a sentence for people."""

    kind: str
    user_ids: tuple[int, ...]
    text: str


def reasons_of(query: Query, shown: Candidates, source_names: list[str]) -> list[list[Reason]]:
    """The reasons of each candidate shown, the strongest first; never empty."""
    followed = shown.feature("is_followed") > 0
    affinity = shown.feature("author_affinity")
    popular = 1 << source_names.index("popular") if "popular" in source_names else 0
    found: list[list[Reason]] = []
    for row in range(len(shown)):
        mine: list[Reason] = []
        author = int(shown.author_ids[row])
        if followed[row]:
            mine.append(Reason("followed_author", (author,), "you follow the author"))
        mine += _proof_reasons(shown, row)
        if not followed[row] and affinity[row] > 0:
            text = "you engaged with the author's posts before"
            mine.append(Reason("engaged_author", (author,), text))
        if int(shown.sources[row]) & popular:
            mine.append(Reason("popular", (), "popular at the moment"))
        by_source = Reason("candidate", (), f"found by {source_names[shown.source[row]]}")
        found.append(mine or [by_source])
    return found


def _proof_reasons(shown: Candidates, row: int) -> list[Reason]:
    users = shown.proof_ids[row]
    reasons = []
    for code, kind in _KIND_OF_CODE.items():
        mine = users[(shown.proof_kinds[row] == code) & (users > 0)]
        if len(mine):
            name, words = _WORDS[kind]
            who = tuple(int(user) for user in np.asarray(mine))
            others = f" and {len(who) - 2} more" if len(who) > 2 else ""
            people = " and ".join(str(user) for user in who[:2])
            text = f"{words} {people}{others}, whom you follow"
            reasons.append(Reason(name, who, text))
    return reasons
