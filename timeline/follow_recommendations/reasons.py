"""Why an account is recommended, in words and in data."""

from dataclasses import dataclass

from timeline.follow_recommendations.flow import Recommended
from timeline.follow_recommendations.ranking import evidence

MAX_REASONS = 5


@dataclass(frozen=True)
class Because:
    """One reason: its kind, a sentence for people, the users it names, and what was measured."""

    kind: str
    text: str
    user_ids: tuple[int, ...] = ()
    value: float | None = None
    """A count or a score, by the kind."""


_CONNECTED = {
    "online_stp": ("mutual_with", "follow one another with"),
    "recent_following_similar_users": ("similar_to", "similar to"),
    "recent_engagement_similar_users": ("similar_to", "similar to"),
    "recent_strong_engagement_similar_users": ("similar_to", "similar to"),
    "salsa_expansion": ("similar_to", "similar to"),
    "similar_user_expander": ("similar_to", "similar to"),
}
"""Source → kind and words of a reason that names those who led to the account."""

_PLAIN = {
    "triangular_loops": ("follows_you", "follows you"),
    "repeated_profile_visits": ("visited", "you visited the profile {value:.0f} times lately"),
    "recent_engagement_non_direct": ("engaged", "you engaged with their posts lately"),
    # Whom somebody is close to is known from what they alone may see: nobody is named.
    "real_graph_expansion": ("may_know", "close to people who are close to you"),
    "real_graph_oon": ("likely", "you are likely to interact with them"),
    "sims": ("like_you", "followed from the same communities as you"),
    "follow2vec": ("for_you", "followed by people who follow what you follow"),
    "topic_accounts": ("topic", "writes about topics that you follow"),
    "pop_country": ("popular_in_country", "popular in your country"),
    "ppmi_locale_follow": ("popular_in_language", "popular with people who read your language"),
    "tweet_authors": ("popular_posts", "wrote a post that is popular at the moment"),
    "top_organic_follows": ("popular", "followed by many lately"),
    "pop_country_backfill": ("popular", "followed by many lately"),
}
"""Source → kind and words of a reason that names nobody."""

FOLLOWED_BY, CANDIDATE = "followed_by", "candidate"
KINDS = tuple(
    dict.fromkeys(
        [FOLLOWED_BY, *(k for k, _ in (_CONNECTED | _PLAIN).values()), CANDIDATE],
    )
)


def reasons_of(told: Recommended) -> tuple[list[list[str]], list[list[Because]]]:
    """For each account the sources that found it, and the reasons, the strongest first."""
    pool = told.found.pool
    sources: list[list[str]] = []
    reasons: list[list[Because]] = []
    rows = zip(
        evidence(pool, told.user_ids.tolist()),
        told.between.tolist(),
        told.named_ids.tolist(),
        strict=True,
    )
    for found, between, named in rows:
        mine: dict[str, Because] = {}
        if between:
            users = tuple(user for user in named if user)
            text = f"followed by {_people(users, between)}, whom you follow"
            mine[FOLLOWED_BY] = Because(FOLLOWED_BY, text, users, float(between))
        for source, row in found:
            because = _because(
                source,
                float(pool.accounts.scores[row]),
                [user for user in pool.accounts.proof_ids[row].tolist() if user],
                int(pool.accounts.proof_counts[row]),
            )
            if because is not None:
                mine.setdefault(because.kind, because)
        sources.append([source for source, _ in found])
        otherwise = Because(CANDIDATE, f"found by {', '.join(sources[-1])}")
        reasons.append(list(mine.values())[:MAX_REASONS] or [otherwise])
    return sources, reasons


def _because(source: str, score: float, proofs: list[int], count: int) -> Because | None:
    if source in _PLAIN:
        kind, text = _PLAIN[source]
        return Because(kind, text.format(value=score), (), score)
    if source not in _CONNECTED or not proofs:
        return None
    kind, words = _CONNECTED[source]
    users = tuple(proofs[:2])
    people = _people(users, count)
    if kind == "mutual_with":
        return Because(kind, f"{words} {people}, whom you follow", users, float(count))
    return Because(kind, f"{words} {people}", users, score)


def _people(users: tuple[int, ...], count: int) -> str:
    """`A and B and 3 more` of the users named, out of so many."""
    shown = users[:2]
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return " and ".join(str(user) for user in shown) + more
