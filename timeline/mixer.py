"""Mixing: where modules and ads stand among the posts of a page.

Modules are inserted one after another at their own index, in the published order, so a prompt
at index 0 moves the earlier ones by one. Ads come last and fit themselves in between; the
original's rules for them are not public, and these are this project's own:

- posts, not modules, are what is counted between ads and before the first one, across the pages
  of one chain, so that no two ads are ever adjacent, nor have a module alone between them;
- both neighbours of an ad are known: it is neither first nor last on its page;
- neither neighbour is a post beside which nothing may be advertised, or one of a label or topic
  that the advertiser excludes;
- a page has at most a share of ads, and at most so many of one advertiser;
- an ad stands where it was bought, or at the next index after it where all of this holds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from actors.known_labels import label_bits
from actors.post_marks import Mark
from cluster.mixer_settings import AdsSettings
from timeline.ads import Ad
from timeline.candidates import Candidates, Mask
from timeline.modules import ACCOUNTS, CREATORS, PREVIEW, TOPICS, Module

P = TypeVar("P")

_INSERTED = (PREVIEW, ACCOUNTS, CREATORS, TOPICS, "prompt")
"""Kinds of modules in the published order."""


@dataclass(frozen=True)
class Neighbour:
    """What an ad beside an entry has to know of it."""

    avoid: bool = False
    """No ad may stand beside it."""
    labels: int = 0
    """Bits of `KNOWN_LABELS`, of the post and its author."""
    topic_ids: frozenset[int] = frozenset()
    is_post: bool = True


@dataclass(frozen=True)
class Around:
    """Ads that the viewer was served beside those of a page."""

    since_ad: int | None = None
    """Posts between the page and the last ad above it; None where a chain had none."""
    until_ad: int | None = None
    """Posts between the page and the first ad below it; None where nothing is below."""
    left_today: int | None = None
    """How many more ads the viewer may have; None for any number."""


NOTHING_AROUND = Around()
MODULE = Neighbour(is_post=False)
"""An entry that is not a post."""


def neighbours(candidates: Candidates, avoid: Mask) -> list[Neighbour]:
    """What ads have to know of posts; `avoid` (n,) is the verdict of visibility.

    What its author marked as sensitive is to be avoided as well. An entry of several posts is
    the `together` of theirs.
    """
    avoided = avoid | (candidates.marks & Mark.SENSITIVE > 0)
    labels = np.bitwise_or.reduce(candidates.labels, axis=1)
    columns = avoided.tolist(), labels.tolist(), candidates.topic_ids.tolist()
    return [
        Neighbour(avoided, bits, frozenset([topic] if topic else []))
        for avoided, bits, topic in zip(*columns, strict=True)
    ]


def together(posts: Sequence[Neighbour]) -> Neighbour:
    """One entry made of several posts, such as a conversation."""
    labels = np.bitwise_or.reduce([np.uint64(post.labels) for post in posts] or [np.uint64(0)])
    return Neighbour(
        any(post.avoid for post in posts),
        int(labels),
        frozenset().union(*(post.topic_ids for post in posts)),
    )


def mix(
    posts: Sequence[P],
    modules: Sequence[Module],
    ads: Sequence[Ad],
    beside: Sequence[Neighbour],
    rules: AdsSettings,
    around: Around = NOTHING_AROUND,
) -> list[P | Module | Ad]:
    """A page: its posts in their order, with modules and ads between them.

    `beside` says of each post what `place` has to know; `around` is `place`'s.
    """
    page: list[tuple[P | Module | Ad, Neighbour]] = list(zip(posts, beside, strict=True))
    for module in sorted(modules, key=lambda module: _INSERTED.index(module.kind)):
        page.insert(module.position, (module, MODULE))
    for index, ad in place(ads, [neighbour for _, neighbour in page], rules, around):
        page.insert(index, (ad, MODULE))
    return [entry for entry, _ in page]


def place(
    ads: Sequence[Ad],
    beside: Sequence[Neighbour],
    rules: AdsSettings,
    around: Around = NOTHING_AROUND,
) -> list[tuple[int, Ad]]:
    """At which indices of the finished page ads stand, ascending: to be inserted in this order.

    `beside` are all entries but ads, in order. Of several ads that fit, the one bought for the
    earliest index comes first, then those for any index in the order given.
    """
    n_posts = posts_left = sum(entry.is_post for entry in beside)
    most = int(rules.max_share * n_posts / (1 - rules.max_share) + 1e-9)
    if around.left_today is not None:
        most = min(most, around.left_today)
    by_index = sorted(ads, key=lambda ad: (ad.position is None, ad.position or 0))
    waiting = [(ad, int(label_bits(*ad.brand_safety))) for ad in by_index]
    by_advertiser: Counter[str] = Counter()
    placed: list[tuple[int, Ad]] = []
    # Before the first ad of a chain so many posts have to stand; before others, the spacing.
    since_ad, until_ad = around.since_ad, around.until_ad
    wait = rules.min_before if since_ad is None else rules.min_between - since_ad
    leave = 0 if until_ad is None else rules.min_between - until_ad
    for gap in range(1, len(beside)):
        wait -= beside[gap - 1].is_post
        posts_left -= beside[gap - 1].is_post
        if wait > 0 or posts_left < leave or len(placed) == most:
            continue
        index = gap + len(placed)
        sides = beside[gap - 1], beside[gap]
        for turn, (ad, excluded) in enumerate(waiting):
            if (
                (ad.position or 0) <= index
                and by_advertiser[ad.advertiser_id] < rules.max_per_advertiser
                and all(_agree(ad, excluded, side) for side in sides)
            ):
                placed.append((index, ad))
                by_advertiser[ad.advertiser_id] += 1
                del waiting[turn]
                wait = rules.min_between
                break
    return placed


def posts_since_ad(page: Sequence[object], before: int | None) -> int | None:
    """How many posts stand after the last ad, once `page` stands below what had `before`.

    As `Around.since_ad`.
    """
    since = before
    for entry in page:
        if isinstance(entry, Ad):
            since = 0
        elif since is not None and not isinstance(entry, Module):
            since += 1
    return since


def posts_until_ad(page: Sequence[object], below: int | None) -> int:
    """How many posts stand before the first ad, once `page` stands above what has `below`.

    As `Around.until_ad`; where none is known of, there may be one right below.
    """
    until = 0
    for entry in page:
        if isinstance(entry, Ad):
            return until
        until += not isinstance(entry, Module)
    return until + (below or 0)


def _agree(ad: Ad, excluded: int, side: Neighbour) -> bool:
    if side.avoid or side.labels & excluded:
        return False
    return ad.excluded_topic_ids.isdisjoint(side.topic_ids)
