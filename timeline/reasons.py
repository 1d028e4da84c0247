"""Why a post is shown, in words and in data."""

from dataclasses import dataclass

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
    popular = 1 << source_names.index("popular") if "popular" in source_names else 0
    columns = zip(
        shown.author_ids.tolist(),
        (shown.feature("is_followed") > 0).tolist(),
        (shown.feature("author_affinity") > 0).tolist(),
        shown.sources.tolist(),
        shown.source.tolist(),
        shown.proof_ids.tolist(),
        shown.proof_kinds.tolist(),
        strict=True,
    )
    found: list[list[Reason]] = []
    for author, followed, affine, sources, source, users, kinds in columns:
        mine: list[Reason] = []
        if followed:
            mine.append(Reason("followed_author", (author,), "you follow the author"))
        mine += _proof_reasons(users, kinds)
        if affine and not followed:
            text = "you engaged with the author's posts before"
            mine.append(Reason("engaged_author", (author,), text))
        if sources & popular:
            mine.append(Reason("popular", (), "popular at the moment"))
        by_source = Reason("candidate", (), f"found by {source_names[source]}")
        found.append(mine or [by_source])
    return found


def _proof_reasons(users: list[int], kinds: list[int]) -> list[Reason]:
    """The reasons of one post's proofs; users are 0 where there is no more proof."""
    by_kind: dict[int, list[int]] = {code: [] for code in _KIND_OF_CODE}
    for user, kind in zip(users, kinds, strict=True):
        if user and kind in by_kind:
            by_kind[kind].append(user)
    reasons = []
    for code, who in by_kind.items():
        if who:
            name, words = _WORDS[_KIND_OF_CODE[code]]
            others = f" and {len(who) - 2} more" if len(who) > 2 else ""
            people = " and ".join(str(user) for user in who[:2])
            text = f"{words} {people}{others}, whom you follow"
            reasons.append(Reason(name, tuple(who), text))
    return reasons
