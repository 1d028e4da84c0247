"""Page facts: what has to be known of the best candidates before any of them is shown.

Facts of the posts that they link to, muted words in their texts, and what was edited since the
last visit come in one wave for as many candidates as a page may need; filters then read them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from actors.features.light import positions_in
from actors.post_marks import Mark
from actors.router import shards_of
from cluster.ids import Ids
from timeline.balance import wanted_of_sides
from timeline.candidates import NONE, Candidates, Floats, Mask, concatenate
from timeline.conversation import (
    ConversationModules,
    conversation_modules,
    valid_conversations,
)
from timeline.edits import (
    NOTHING_REPLACED,
    Replacements,
    edit_questions,
    replacements,
)
from timeline.filters import not_served
from timeline.heuristics import rescore
from timeline.hidden import learn_hidden_authors
from timeline.late_filters import has_social_context, not_ancestor
from timeline.linked import (
    Link,
    Linked,
    barred,
    gone,
    keep_quotes,
    keep_reposts,
    linked_posts,
    may_see,
    without_muted_words,
)
from timeline.mixing import Rows, best_first
from timeline.query import Query
from timeline.stages import Filter, Judged, Refine
from timeline.visibility import Levels, Verdicts, judge
from timeline.visibility_actions import Level
from timeline.visibility_rules import RULES

_RULE_NAMES = tuple(rule.name for rule in RULES)

_ALL = 2**31
_RESERVE = 10
"""Fewest posts of either side that facts are fetched of beyond those that a page wants."""

OF_A_PAGE = ("social_context", "duplicate_conversation")
"""Late filters that need the facts of a page, or that nothing found in network needs."""

LevelsOf = Callable[[Candidates], Levels]
"""At which level of visibility a product shows each of its posts, (n,)."""


@dataclass(frozen=True)
class PageFacts:
    """What was fetched for n candidates."""

    post_ids: Ids
    """(n,): whom it is about."""
    linked: Linked
    hidden: Mask
    """(m,) linked posts that must not be shown, whatever links to them (`barred`)."""
    not_above: Mask
    """(m,): nor above a reply, where neither what was shown before may stand nor a repost."""
    not_reposted: Mask
    """(m,): nor in a repost, where the same holds."""
    quoted_removed: Mask
    """(m,): in whose place visibility wants a tombstone inside a quote."""
    context: Verdicts
    """(m,): what visibility says of them as the posts above a reply."""
    replaced: Replacements
    _asked: list[tuple[Candidates, Linked]] = field(default_factory=list, compare=False)
    """Whose links were asked for last: several filters ask about the same."""

    def of(self, candidates: Candidates) -> Linked:
        """What candidates link to; each must be one of those asked about."""
        if self._asked and self._asked[0][0] is candidates:
            return self._asked[0][1]
        order = np.argsort(self.post_ids)
        rows = order[positions_in(self.post_ids[order], candidates.post_ids)]
        linked = self.linked.take(rows)
        self._asked[:] = [(candidates, linked)]
        return linked

    def buried(self) -> Mask:
        """Linked posts (m,) in whose place a tombstone stands inside a quote."""
        return gone(self.linked) | self.quoted_removed

    def modules(self, candidates: Candidates) -> ConversationModules:
        """The entries that candidates make."""
        linked = self.of(candidates)
        return conversation_modules(_by_newest(candidates, linked), linked, self.not_above)


def visible(levels: LevelsOf, query: Query, candidates: Candidates) -> Judged:
    """A filter of safety: what visibility does not remove; its verdicts stay with the query."""
    verdicts = query.verdicts = judge(levels(candidates), query, candidates)
    return Judged(~verdicts.removed, verdicts.rule, _RULE_NAMES)


def factors(query: Query, candidates: Candidates) -> list[tuple[str, Floats]]:
    """All heuristics, and the factor by which visibility lowers scores, where it lowers any."""
    verdicts = query.verdicts
    if verdicts is None or (verdicts.down_rank == 1).all():
        return rescore(query, candidates)
    down = verdicts.down_rank[rows_of(verdicts, candidates)]
    return rescore(query, candidates, [("visibility", down)])


def rows_of(verdicts: Verdicts, candidates: Candidates) -> Rows:
    """Where the verdict on each candidate stands."""
    ids, order = verdicts.by_id
    at: Rows = order[positions_in(ids, candidates.post_ids)]
    return at


def page_facts(levels: LevelsOf, more: Sequence[Filter] = ()) -> Refine:
    """The stage that fetches them, for more candidates until a page can be filled.

    Filters of a product's own (`more`) come before conversations are made.
    """
    return replace(
        page_facts_of_all(levels),
        filters=[
            *_safe(),
            *more,
            Filter("conversations", _conversations, safety=True),
            Filter("duplicate_conversation", not_ancestor),
        ],
        enough=_enough,
        width=_width,
        order=_sides_by_turns,
    )


def page_facts_of_all(levels: LevelsOf, more: Sequence[Filter] = ()) -> Refine:
    """The same for all candidates at once, of a timeline ordered by time."""

    def prepare(query: Query, candidates: Candidates) -> Candidates:
        return _fetch(levels, query, candidates)

    return Refine(
        "page_facts",
        prepare=prepare,
        filters=[*_safe(), *more],
        enough=lambda _, __: True,
        width=lambda _: _ALL,
    )


def _safe() -> list[Filter]:
    return [
        Filter("muted_words", _muted_words, safety=True),
        Filter("reposts", _reposts, safety=True),
        Filter("quotes", _quotes, safety=True),
    ]


def explained(source_names: tuple[str, ...], query: Query, candidates: Candidates) -> Mask:
    """A filter for `page_facts`: of strangers only what somebody or something leads to.

    As `has_social_context`, with who of the viewer's people follow the author and which topics
    may be named, and replies only in conversations that can be shown.
    """
    facts = _facts(query)
    linked = facts.of(candidates)
    in_module = candidates.is_reply & valid_conversations(candidates, linked, facts.not_above)
    followed_by: Mask = np.any(linked.follower_ids > 0, axis=1)
    return has_social_context(
        *(source_names, query, candidates),
        in_module=in_module,
        followed_by=followed_by,
        on_topic=np.any(linked.topic_ids > 0, axis=1),
    )


def reposts_in(
    languages: Callable[[Query, Candidates, Ids], Mask], query: Query, candidates: Candidates
) -> Mask:
    """A filter for `page_facts`: reposts judged by the language of what they show."""
    rows = _facts(query).of(candidates).rows[:, Link.REPOSTED]
    posts = _facts(query).linked.posts
    return languages(query, candidates, np.append(posts.languages, 0)[rows])


def _fetch(levels: LevelsOf, query: Query, candidates: Candidates) -> Candidates:
    """Ask for the facts of candidates, beside those of the rounds before."""
    asked = edit_questions(query) if query.page_facts is None else {}
    linked = linked_posts(query, candidates, asked)
    learn_hidden_authors(query, linked.posts)
    hidden = barred(query, linked)
    unheard = _unheard(query, linked)
    context, reposted_removed, quoted_removed = _judged(levels, query, linked, unheard)
    not_reposted = hidden
    if unheard.any():
        # What cannot be shown above a reply may still be what somebody reposted.
        not_reposted = np.where(unheard, ~may_see(query, linked.posts) | context.removed, hidden)
    not_reposted = not_reposted | linked.linked_hold_muted | reposted_removed
    # A repost has nothing of its own to be reposted or answered.
    unfit = ~not_served(query, linked.posts) | (linked.posts.repost_of_ids > 0)
    fresh = PageFacts(
        *(candidates.post_ids, linked, hidden),
        not_above=hidden | context.removed | unfit,
        not_reposted=not_reposted | unfit,
        quoted_removed=quoted_removed,
        context=context,
        replaced=_replaced(levels, query, replacements(query, asked, linked.beside)),
    )
    query.page_facts = fresh if query.page_facts is None else _joined(query.page_facts, fresh)
    return candidates


def _judged(
    levels: LevelsOf, query: Query, linked: Linked, unheard: Mask
) -> tuple[Verdicts, Mask, Mask]:
    """What visibility says of linked posts (m,) above a reply, and which it removes, where they
    stand there, from reposts and from quotes.

    Those that are `unheard` of are judged by what is known of them; whether their authors marked
    them as sensitive is not, so they are covered as if they had.
    """
    posts = linked.posts
    if unheard.any():
        posts = replace(posts, created_ms=np.where(unheard, 1, posts.created_ms))
    above = np.arange(len(posts))
    reposted = np.flatnonzero(linked.used_as(Link.REPOSTED))
    quoted = np.flatnonzero(linked.used_as(Link.QUOTED))
    rows = np.concatenate([above, reposted, quoted])
    at = np.concatenate(
        [
            np.full(len(above), Level.CONVERSATION, np.uint8),
            levels(posts)[reposted],
            np.full(len(quoted), Level.QUOTED, np.uint8),
        ]
    )
    judged = posts.take(rows)
    judged.marks[: len(above)][unheard] |= np.uint16(Mark.SENSITIVE)
    verdicts = judge(at, query, judged)
    of_reposts, of_quotes = np.split(verdicts.removed[len(above) :], [len(reposted)])
    removed = np.zeros((2, len(posts)), bool)
    removed[0, reposted], removed[1, quoted] = of_reposts, of_quotes
    context = Verdicts(**{name: values[: len(above)] for name, values in vars(verdicts).items()})
    return context, removed[0], removed[1]


def _replaced(levels: LevelsOf, query: Query, found: Replacements) -> Replacements:
    if not len(found):
        return NOTHING_REPLACED
    return found.take(~judge(levels(found.posts), query, found.posts).removed)


def _by_newest(candidates: Candidates, linked: Linked) -> Candidates:
    """Candidates whose reposts name the newest version, which is what they show."""
    rows = linked.rows[:, Link.REPOSTED]
    if not (rows >= 0).any():
        return candidates
    newest_ids = np.append(linked.posts.post_ids, 0)[rows]
    return replace(
        candidates, repost_of_ids=np.where(rows >= 0, newest_ids, candidates.repost_of_ids)
    )


def _joined(before: PageFacts, more: PageFacts) -> PageFacts:
    """The facts of two rounds, which may know one linked post twice."""
    first, then = before.linked, more.linked
    moved = np.where(then.rows >= 0, then.rows + len(first.posts), -1)
    linked = Linked(
        concatenate([part.posts for part in (first, then) if len(part.posts)] or [NONE]),
        np.concatenate([first.rows, moved]),
        np.concatenate([first.holds_muted, then.holds_muted]),
        np.concatenate([first.linked_hold_muted, then.linked_hold_muted]),
        np.concatenate([first.follower_ids, then.follower_ids]),
        np.concatenate([first.topic_ids, then.topic_ids]),
        first.beside,
    )
    return PageFacts(
        np.concatenate([before.post_ids, more.post_ids]),
        linked,
        np.concatenate([before.hidden, more.hidden]),
        np.concatenate([before.not_above, more.not_above]),
        np.concatenate([before.not_reposted, more.not_reposted]),
        np.concatenate([before.quoted_removed, more.quoted_removed]),
        _verdicts_of_both(before.context, more.context),
        before.replaced,
    )


def _verdicts_of_both(first: Verdicts, then: Verdicts) -> Verdicts:
    names = [column.name for column in fields(Verdicts)]
    return Verdicts(
        **{name: np.concatenate([getattr(first, name), getattr(then, name)]) for name in names}
    )


def _facts(query: Query) -> PageFacts:
    if query.page_facts is None:
        raise LookupError("the facts of a page were not fetched")
    return query.page_facts


def _muted_words(query: Query, candidates: Candidates) -> Mask:
    return without_muted_words(candidates, _facts(query).of(candidates))


def _reposts(query: Query, candidates: Candidates) -> Mask:
    facts = _facts(query)
    return keep_reposts(candidates, facts.of(candidates), facts.not_reposted)


def _unheard(query: Query, linked: Linked) -> Mask:
    """Posts (m,) that never arrived, as shards say that did answer: such as what is older than
    all events. They may be reposted where nothing that is known speaks against them."""
    posts = linked.posts
    silent = [s for s in range(query.router.n_shards) if f"shard_{s}" in query.degraded]
    homes = shards_of(posts.author_ids, query.router.n_shards)
    unheard: Mask = (posts.created_ms == 0) & ~np.isin(homes, silent)
    return unheard


def _quotes(query: Query, candidates: Candidates) -> Mask:
    facts = _facts(query)
    return keep_quotes(candidates, facts.of(candidates), facts.hidden)


def _conversations(query: Query, candidates: Candidates) -> Mask:
    kept = np.zeros(len(candidates), bool)
    kept[_facts(query).modules(candidates).rows] = True
    return kept


def _sides_by_turns(query: Query, candidates: Candidates) -> Rows:
    """The best of both sides of the network by turns, so that any share of either is there."""
    order = best_first(candidates)
    followed = candidates.feature("is_followed")[order] > 0
    place = np.where(followed, np.cumsum(followed), np.cumsum(~followed))
    turned: Rows = order[np.argsort(place, kind="stable")]
    return turned


def _width(query: Query) -> int:
    """As many of either side as a page wants, and half a page more of each, or `_RESERVE`."""
    return 2 * (max(wanted_of_sides(query)) + max(query.limit // 2, _RESERVE))


def _enough(query: Query, candidates: Candidates) -> bool:
    """Whether a page has what it wants of either side, or of one side all that there is."""
    n, n_asked = len(candidates), len(_facts(query).post_ids)
    if n >= 2 * query.limit:
        return True
    n_followed = int(np.count_nonzero(candidates.feature("is_followed") > 0))
    # Sides take turns: less than half are of one only where it has no more.
    least = n_asked // 2 - (n_asked - n)
    sides = zip((n_followed, n - n_followed), wanted_of_sides(query), strict=True)
    return n >= query.limit and all(
        of_side >= wanted or of_side < least for of_side, wanted in sides
    )
