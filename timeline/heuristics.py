"""Heuristics: the factors on a score that no model gives, in one table.

`python -m timeline.heuristics` writes `docs/heuristics.md`, which a test compares.
"""

import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.both_rankers import light_factor
from actors.features.light import positions_in
from actors.post_marks import Mark
from actors.posts import rank_within
from cluster.ids import Ids
from cluster.settings import Settings
from timeline.candidates import Candidates, Floats, Mask
from timeline.feedback_fatigue import fatigue
from timeline.late_filters import late_filters
from timeline.mixing import best_first
from timeline.query import Query


class Factor(NamedTuple):
    """A factor on the scores of candidates."""

    name: str
    source: str
    """Whence it is: what the original is known to do, or an idea of ours."""
    meaning: str
    settings: tuple[str, ...]
    """Paths of the settings that it follows."""
    of: Callable[[Query, Candidates], Floats]
    """Factors (n,), from the scores of the rankers."""


def rescore(
    query: Query, candidates: Candidates, more: Sequence[tuple[str, Floats]] = ()
) -> list[tuple[str, Floats]]:
    """Every factor by its name, each (n,); the product of all is what a score is multiplied by.

    `more` are factors that others found, such as what visibility down-ranks by. What ranks posts
    among others sees the scores of both rankers.
    """
    of_both = light_ranker_share(query, candidates)
    mixed = candidates.with_scores(candidates.scores * of_both)
    return [
        (LIGHT_RANKER_SHARE.name, of_both),
        *((one.name, one.of(query, mixed)) for one in FACTORS if one is not LIGHT_RANKER_SHARE),
        *more,
    ]


def product(factors: Sequence[tuple[str, Floats]], n: int) -> Floats:
    """What scores (n,) are multiplied by in all."""
    return reduce(np.multiply, (values for _, values in factors), np.ones(n, np.float32))


def light_ranker_share(query: Query, candidates: Candidates) -> Floats:
    """What makes of the heavy ranker's scores those of both rankers; 1 where only one scored.

    The light ranker scores every candidate of a request anew, those that the heavy ranker knows
    from a moment ago too, so that its scores are missing for none.
    """
    share, said = query.settings.heuristics.factors.light_ranker_share, query.light_scores
    if said is None or share == 0:
        return np.ones(len(candidates), np.float32)
    return light_factor(candidates.scores, said.of(candidates.post_ids), share)


def out_of_network(query: Query, candidates: Candidates) -> Floats:
    """Of authors whom the viewer does not follow; one who is not known is none of these."""
    settings = query.settings.heuristics.factors
    return _where(~_in_network(candidates), settings.out_of_network)


def reply(query: Query, candidates: Candidates) -> Floats:
    """Of replies, whatever they reply to."""
    return _where(candidates.is_reply, query.settings.heuristics.factors.reply)


def verified(query: Query, candidates: Candidates) -> Floats:
    """Of original posts by verified authors."""
    settings = query.settings.heuristics.factors
    marked = _original(candidates) & _has(candidates, Mark.AUTHOR_VERIFIED)
    by_side = (settings.verified_in_network, settings.verified_out_of_network)
    return _by_side(candidates, marked, *by_side)


def creator(query: Query, candidates: Candidates) -> Floats:
    """Of original posts by authors with subscribers."""
    settings = query.settings.heuristics.factors
    marked = _original(candidates) & _has(candidates, Mark.AUTHOR_CREATOR)
    by_side = (settings.creator_in_network, settings.creator_out_of_network)
    return _by_side(candidates, marked, *by_side)


def media(query: Query, candidates: Candidates) -> Floats:
    """Of posts with video, and of those with images alone."""
    settings = query.settings.heuristics.factors
    if settings.image == settings.video == 1:
        return np.ones(len(candidates), np.float32)
    has_video = _has(candidates, Mark.VIDEO)
    of_images = _where(~has_video & _has(candidates, Mark.IMAGE), settings.image)
    return of_images * _where(has_video, settings.video)


def author_diversity(query: Query, candidates: Candidates) -> Floats:
    """Factors (1 − floor)·decay^k + floor, k the rank of a post within its author's.

    The published heuristic with its values: 1, 0.625, 0.4375 … → 0.25. Whoever reposts counts
    as the author; a post of whom nobody knows the author keeps its score.
    """
    settings = query.settings.for_you
    factors = _falling(
        candidates, candidates.author_ids, settings.diversity_decay, settings.diversity_floor
    )
    return np.where(candidates.author_ids > 0, factors, np.float32(1))


def source_diversity(query: Query, candidates: Candidates) -> Floats:
    """The same, k the rank of a post within those that count under its source."""
    settings = query.settings.heuristics.factors
    if settings.source_decay == 1:
        return np.ones(len(candidates), np.float32)
    sources = candidates.source.astype(np.int64)
    return _falling(candidates, sources, settings.source_decay, settings.source_floor)


def impressed_author(query: Query, candidates: Candidates) -> Floats:
    """Factors of the same form, k how many of the author's posts the viewer saw lately.

    Of authors with whom the viewer engaged in the window of affinities k is 0.
    """
    settings, viewer = query.settings.heuristics.factors, query.viewer
    decay, floor = settings.impressed_author_decay, settings.impressed_author_floor
    if decay == 1 or not len(viewer.seen_author_ids):
        return np.ones(len(candidates), np.float32)
    author_ids, counts = np.unique(viewer.seen_author_ids, return_counts=True)
    at = positions_in(author_ids, candidates.author_ids)
    ignored = (at >= 0) & (candidates.author_ids > 0)
    ignored &= positions_in(viewer.affine_ids, candidates.author_ids) < 0
    seen = np.where(ignored, counts[at], 0)
    return _decayed(seen, decay, floor)


LIGHT_RANKER_SHARE = Factor(
    "light_ranker_share",
    "own; off under preset `twitter`",
    "scored by the heavy ranker: (light score / heavy score)^share, which makes the score"
    " heavy^(1 − share) · light^share",
    ("heuristics.factors.light_ranker_share",),
    light_ranker_share,
)
FACTORS = (
    LIGHT_RANKER_SHARE,
    Factor(
        "out_of_network",
        "§ rescoring; a missing author counts as out of network",
        "by an author whom the viewer does not follow",
        ("heuristics.factors.out_of_network",),
        out_of_network,
    ),
    Factor("reply", "§ rescoring", "a reply", ("heuristics.factors.reply",), reply),
    Factor(
        "verified",
        "§ rescoring: 4 in network and 2 out of it; off here",
        "an original post by a verified author",
        ("heuristics.factors.verified_in_network", "heuristics.factors.verified_out_of_network"),
        verified,
    ),
    Factor(
        "creator",
        "§ rescoring: 1.1 in network and 1.3 out of it; off here",
        "an original post by an author with subscribers",
        ("heuristics.factors.creator_in_network", "heuristics.factors.creator_out_of_network"),
        creator,
    ),
    Factor(
        "author_diversity",
        "§ rescoring",
        "(1 − floor)·decay^k + floor, k its rank by score among its author's posts",
        ("for_you.diversity_decay", "for_you.diversity_floor"),
        author_diversity,
    ),
    Factor(
        "feedback_fatigue",
        "§ rescoring, held to at most 1",
        "what is left, so many whole days after *see less of this*, of its author, its proof and"
        " its reposter, multiplied",
        (
            *("heuristics.fatigue.block_days", "heuristics.fatigue.ramp_days"),
            "heuristics.fatigue.start",
        ),
        fatigue,
    ),
    Factor(
        "source_diversity",
        "own; off",
        "as author diversity, k its rank among the posts of its source",
        ("heuristics.factors.source_decay", "heuristics.factors.source_floor"),
        source_diversity,
    ),
    Factor(
        "impressed_author",
        "own; off",
        "as author diversity, k how many posts of its author the viewer saw and passed over",
        (
            "heuristics.factors.impressed_author_decay",
            "heuristics.factors.impressed_author_floor",
        ),
        impressed_author,
    ),
    Factor(
        "media",
        "own; off",
        "with video, or with images",
        ("heuristics.factors.image", "heuristics.factors.video"),
        media,
    ),
)
"""All factors, in the order of their tracing; the order of multiplying does not matter."""


def _in_network(candidates: Candidates) -> Mask:
    return candidates.feature("is_followed") > 0


def _original(candidates: Candidates) -> Mask:
    original: Mask = ~candidates.is_reply & (candidates.repost_of_ids == 0)
    return original


def _has(candidates: Candidates, mark: Mark) -> Mask:
    marked: Mask = (candidates.marks & np.uint16(mark)) > 0
    return marked


def _where(mask: Mask, factor: float) -> Floats:
    if factor == 1:
        return np.ones(len(mask), np.float32)
    return np.where(mask, np.float32(factor), np.float32(1))


def _by_side(candidates: Candidates, mask: Mask, within: float, beyond: float) -> Floats:
    if within == beyond:
        return _where(mask, within)
    return np.where(_in_network(candidates), _where(mask, within), _where(mask, beyond))


def _falling(candidates: Candidates, groups: Ids, decay: float, floor: float) -> Floats:
    """Factors (n,) by the rank of each candidate among its group's, best first."""
    order = best_first(candidates)
    ranks = np.empty(len(candidates), np.int64)
    ranks[order] = rank_within(groups[order])
    return _decayed(ranks, decay, floor)


def _decayed(ranks: npt.NDArray[np.int64], decay: float, floor: float) -> Floats:
    factors: Floats = ((1 - floor) * decay**ranks + floor).astype(np.float32)
    return factors


def main(arguments: Sequence[str]) -> None:
    """Write the document to a path, `docs/heuristics.md` unless one is given."""
    path = Path(__file__).parents[1] / "docs" / "heuristics.md"
    (Path(arguments[0]) if arguments else path).write_text(document())


def document() -> str:
    """The factors and the late filters as Markdown, with the settings' defaults."""
    factors = [
        f"| {f.name} | {f.meaning} | {_defaults(f.settings)} | {f.source} |" for f in FACTORS
    ]
    filters = [
        f"| {f.name} | {f.meaning} | {_defaults(f.settings)} | {f.source} |" for f in late_filters()
    ]
    balance = [
        f"| {meaning} | {_defaults((path,))} | {source} |" for meaning, path, source in _BALANCE
    ]
    return _DOCUMENT.format(
        factors="\n".join(factors), filters="\n".join(filters), balance="\n".join(balance)
    )


def _defaults(paths: Sequence[str]) -> str:
    found = ((path, attrgetter(path)(Settings())) for path in paths)
    return "<br>".join(f"`{path}`: {_shown(value)}" for path, value in found)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


_BALANCE = (
    (
        "share of the page by authors whom the viewer follows",
        "heuristics.balance.in_network_share",
        "own; the original has one half on average and no explicit share",
    ),
    (
        "the least of it while no light ranker was trained",
        "heuristics.balance.untrained_in_network_share",
        "own",
    ),
    (
        "posts in a row by authors whom the viewer does not follow",
        "heuristics.balance.max_out_of_network_run",
        "§ debunching",
    ),
    ("posts in a row by one author", "heuristics.balance.max_author_run", "own"),
    ("posts by authors whom the viewer follows", "for_you.max_in_network", "§ selection"),
    ("posts by others", "for_you.max_out_of_network", "§ selection"),
    ("posts of the backfill, beside these", "sources.backfill.max_shown", "§ selection"),
    (
        "out-of-network posts that a request for newer ones keeps at its end, at least",
        "heuristics.balance.newer_tail",
        "§ debunching",
    ),
    ("or this share of them", "heuristics.balance.newer_tail_share", "§ debunching"),
)

_DOCUMENT = """# Heuristics

Made by `python -m timeline.heuristics`; a test compares. A *§* names the part of the original's
home timeline that is followed; *own* is not published.

## Factors

What ranks a post is the model's score times all of these. Each is traced with its name. The first
makes the score that both rankers have a share in, and ranks are by that, before any other factor.
What visibility down-ranks by is one factor more.

| Factor | Of a post that is … | Settings | Source |
|---|---|---|---|
{factors}

Feedback fatigue is ((days − 14) / 35) · 0.2 + 0.2: 0.12 on day 0 where that is not blocked, 0.2 on
day 14, 0.4 on day 49, 0.6 on day 84, 0.8 on day 119, 1 from day 154 on. Of several likers (whoever
engaged publicly, here) the least suppressed counts. Live posts and a normalisation by author have
no factor: events do not tell of the one, and the original's other is a constant 1.

## Late filters

They run on what is ranked, in this order. Some look at posts out of network alone, and say so.

| Filter | Drops | Settings | Source |
|---|---|---|---|
{filters}

## Balance of a page

| Limit | Setting | Source |
|---|---|---|
{balance}

A page is filled while there are posts within the caps. Its shares are exact where both sides have
enough, and what one side lacks the other fills in; a viewer's own share wins over the setting, and
over a cap that would forbid it. Of each side the best posts are taken, passing over an author with
so many that they could not be kept apart. They stand in the order of their scores, but for what
must come earlier so that no run grows too long now or later on the page. Where there are too few
in-network posts for that, the last ones out of network follow each other, as in the original; a
share that asks for few of them lengthens the runs by as much as it must.
"""


if __name__ == "__main__":
    main(sys.argv[1:])
