"""Dressing: chosen posts become items with what stands above, inside and between them."""

from collections.abc import Sequence

import numpy as np

from actors.questions import AskUris
from actors.router import shards_of
from actors.state import Failed
from cluster.ids import Ids
from timeline.ads import (
    Ad,
    AdsSource,
    context_of,
    for_viewer,
    left_today,
    names_of_next,
    wanted,
)
from timeline.candidates import NONE, Candidates, Mask
from timeline.conversation import ConversationModules
from timeline.cursors import CursorKind
from timeline.linked import Linked
from timeline.mixer import MODULE, Around, Neighbour, mix, neighbours, together
from timeline.modules import Module, is_first_page, modules_for
from timeline.page_facts import rows_of
from timeline.pages import Between, Item
from timeline.presented import NO_FLAGS, Entry, Flags, entries
from timeline.query import Query
from timeline.reasons import reasons_of
from timeline.social_context import social_contexts
from timeline.threads import threads
from timeline.visibility import Verdicts
from timeline.visibility_actions import Action

_URI_BUDGET_S = 0.2


def dressed(
    query: Query, shown: Candidates, source_names: list[str], *, ordered: bool
) -> list[Item]:
    """The items of chosen posts, in order, replies below what they answer.

    `ordered`: of a timeline ordered by time.
    """
    if not len(shown):
        return []
    facts = query.page_facts
    linked = facts.of(shown) if facts else _nothing_linked(len(shown))
    reasons = reasons_of(query, shown, source_names, linked.topic_ids)
    modules = _alone(shown)
    if facts:
        modules = threads(query, shown) if ordered else facts.modules(shown)
    contexts = social_contexts(query, shown, source_names, reasons, modules=modules, linked=linked)
    made = entries(
        shown,
        linked,
        modules,
        contexts,
        flags=_flags(query.verdicts, shown),
        linked_flags=_flags(facts.context, linked.posts) if facts else NO_FLAGS,
        buried=facts.buried() if facts else None,
    )
    columns = zip(
        shown.post_ids.tolist(),
        shown.author_ids.tolist(),
        shown.created_ms.tolist(),
        shown.scores.tolist(),
        shown.source.tolist(),
        *(reasons, _uris(query, shown), made),
        strict=True,
    )
    return [
        Item(post, author, created, score, source_names[source], why, uri, entry)
        for post, author, created, score, source, why, uri, entry in columns
    ]


def ancestors_of(items: Sequence[Item]) -> Ids:
    """Posts that stand above others on the page, and newest versions reposted, (k,)."""
    found = [post.post_id for item in items for post in item.entry.posts[:-1]]
    found += [item.entry.focal.reposted.post_id for item in items if item.entry.focal.reposted]
    return np.array(found, np.int64)


def between(
    query: Query, product: str, shown: Candidates, items: Sequence[Item], ads: AdsSource | None
) -> list[Between]:
    """The modules and ads of a page, each at its index."""
    if query.context is None:
        return []
    first_page = is_first_page(query)
    rules = query.settings.mixer.ads
    modules = modules_for(query, product, shown, first_page=first_page)
    offered = _offered(query, product, shown, ads)
    # Nobody but an ad has to know what stands beside it.
    beside = _beside(query, shown, items) if offered else [MODULE] * len(items)
    left = left_today(query.state, query.now_ms, rules)
    around = Around(
        None if first_page else query.walk.since_ad,
        None if query.walk.kind is CursorKind.OLDER else query.walk.until_ad,
        left,
    )
    page = mix(items, modules, offered, beside, rules, around)
    names = iter(names_of_next(left, query.state, query.now_ms) if offered else [])
    return [
        Between(index, content, next(names) if isinstance(content, Ad) else content.name)
        for index, content in enumerate(page)
        if isinstance(content, Module | Ad)
    ]


def laid_out(items: Sequence[Item], mixed: Sequence[Between]) -> list[Item | Module | Ad]:
    """The whole page in order."""
    page: list[Item | Module | Ad] = list(items)
    for one in mixed:
        page.insert(one.index, one.content)
    return page


def _offered(query: Query, product: str, shown: Candidates, ads: AdsSource | None) -> list[Ad]:
    rules = query.settings.mixer.ads
    # A request that is to be repeatable gets no ads: they would not repeat.
    if ads is None or not query.recorded or not wanted(product, query.state, len(shown), rules):
        return []
    if not left_today(query.state, query.now_ms, rules):
        return []
    offer = ads.fetch(context_of(query, product, shown))
    if offer.problem:
        query.note("ads")
    return for_viewer(offer.ads, query.state, query.now_ms, rules)


def _beside(query: Query, shown: Candidates, items: Sequence[Item]) -> list[Neighbour]:
    """What ads have to know of each item, what stands above it included."""
    if not len(shown):
        return []
    beside = neighbours(shown, _avoid_ads(query.verdicts, shown))
    facts = query.page_facts
    if facts is None:
        return beside
    posts = facts.linked.posts
    of_linked = dict(
        zip(posts.post_ids.tolist(), neighbours(posts, facts.context.avoid_ads), strict=True)
    )
    return [
        together([own, *(of_linked[post] for post in _others(item.entry) if post in of_linked)])
        for own, item in zip(beside, items, strict=True)
    ]


def _others(entry: Entry) -> list[int]:
    return [post for post in entry.post_ids if post != entry.focal.post_id]


def _avoid_ads(verdicts: Verdicts | None, shown: Candidates) -> Mask:
    if verdicts is None:
        return np.zeros(len(shown), bool)
    return verdicts.avoid_ads[rows_of(verdicts, shown)]


def _flags(verdicts: Verdicts | None, posts: Candidates) -> Flags:
    if verdicts is None or not len(posts):
        return NO_FLAGS
    rows = rows_of(verdicts, posts)
    judged = np.flatnonzero(verdicts.rule[rows] >= 0)
    if not len(judged):
        return NO_FLAGS
    covered, limited = [""] * len(rows), [""] * len(rows)
    for place in judged.tolist():
        told = {action: rule.name for action, rule in verdicts.told(int(rows[place]))}
        covered[place] = told.get(Action.INTERSTITIAL, "")
        limited[place] = told.get(Action.LIMITED_ENGAGEMENT, "")
    return Flags(covered, limited)


def _alone(shown: Candidates) -> ConversationModules:
    n = len(shown)
    post_ids = np.zeros((n, 3), np.int64)
    post_ids[:, 2] = shown.post_ids
    return ConversationModules(np.arange(n), np.full((n, 2), -1, np.int64), post_ids)


def _nothing_linked(n: int) -> Linked:
    none, nobody = np.zeros(n, bool), np.zeros((n, 0), np.int64)
    return Linked(NONE, np.full((n, 4), -1, np.int64), none, none[:0], nobody, nobody)


def _uris(query: Query, shown: Candidates) -> list[str | None]:
    """External names; only systems whose posts have them pay for this wave."""
    uris: list[str | None] = [None] * len(shown)
    if not shown.has_uri.any():
        return uris
    homes = shards_of(shown.author_ids, query.router.n_shards)
    wave = {shard: [AskUris(shown.post_ids[homes == shard])] for shard in np.unique(homes).tolist()}
    gathered = query.router.ask(wave, min(query.left_s(), _URI_BUDGET_S))
    for shard, answer in gathered.answers(0).items():
        if not isinstance(answer, Failed):
            for at, uri in zip(np.flatnonzero(homes == shard).tolist(), answer, strict=True):
                uris[at] = uri
    return uris
