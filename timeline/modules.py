"""What a page may hold beside posts and ads: whom and what to follow, creators, prompts, the pill.

A module is due when every gate is open to it (`timeline.gates`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import IdMap
from actors.viewer_state import ViewerState
from cluster.mixer_settings import (
    MixerSettings,
    NewPostsSettings,
    PostPreviewSettings,
    PromptSettings,
    TopicsSettings,
    WhoToFollowSettings,
    WhoToSubscribeSettings,
)
from timeline.candidates import Candidates
from timeline.creators import Creators, find_creators, preview
from timeline.cursors import CursorKind
from timeline.findings import Finding, Shared, ask_together, in_time
from timeline.follow_recommendations.flow import WHO_TO_FOLLOW, explore, recommend
from timeline.follow_recommendations.reasons import reasons_of
from timeline.follow_recommendations.service import Recommendation
from timeline.gates import Moment, closed_gate
from timeline.query import Query

ModuleKind = Literal["who_to_follow", "who_to_subscribe", "post_preview", "topics", "prompt"]

ACCOUNTS: Literal["who_to_follow"] = "who_to_follow"
CREATORS: Literal["who_to_subscribe"] = "who_to_subscribe"
PREVIEW: Literal["post_preview"] = "post_preview"
TOPICS: Literal["topics"] = "topics"
_SOUGHT = "creators"
"""What `Query.beside` and a degraded answer call the search that both modules of creators share."""
_SHARE = 0.6
"""Of the time left, for each wave that finds accounts."""
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Module:
    """One entry of a page that is not a post."""

    kind: ModuleKind
    name: str
    """What `dismiss` and `module_served` events call it."""
    position: int
    """Index at which it is inserted, from 0."""
    text: str
    user_ids: tuple[int, ...] = ()
    topic_ids: tuple[int, ...] = ()
    post_ids: tuple[int, ...] = ()
    """Of a preview: the post, whose author is the user named."""
    because: tuple[str, ...] = ()
    """Beside the users or topics: why each."""


@dataclass(frozen=True)
class Pill:
    """There are new posts; stands beside the entries of a page, not among them."""

    n_posts: int
    user_ids: tuple[int, ...]
    """Authors to show."""
    delay_ms: int
    """How long the client waits before it shows the pill."""


@dataclass(frozen=True)
class Prompt:
    """Something that a new user may be asked to do."""

    name: str
    text: str
    is_due: Callable[[Moment, PromptSettings], bool]


PROMPTS: tuple[Prompt, ...] = (
    Prompt(
        "prompt_accounts",
        "Follow accounts, and their posts are here",
        lambda moment, rules: moment.n_follows < rules.few_follows,
    ),
    Prompt(
        "prompt_topics",
        "Follow topics that you want to hear of",
        lambda moment, _: not len(moment.state.followed_topics),
    ),
    Prompt(
        "prompt_languages",
        "Say which languages you read",
        lambda moment, _: not moment.state.languages,
    ),
)
"""In the order of their urgency; a page has the first that is due and whose gates are open."""

NAMES = (ACCOUNTS, CREATORS, PREVIEW, TOPICS, *(prompt.name for prompt in PROMPTS))
"""Every module by the name that events give it."""


def modules_for(
    query: Query, product: str, candidates: Candidates, *, first_page: bool
) -> list[Module]:
    """The modules of a page, in the order in which they are inserted.

    `candidates` are posts that the viewer might be shown: their topics are what may be
    recommended. Shards are asked for accounts only where these are due; where they do not answer,
    the query notes `who_to_follow` or `creators`. Without the viewer's context there are none.
    """
    if query.context is None:
        return []
    moment = Moment.of(query, product, first_page=first_page)
    rules = query.settings.mixer
    made: list[Module | None] = []
    if not closed_gate(moment, ACCOUNTS, rules.who_to_follow, rules.dismissals):
        found = find_accounts(query, rules.who_to_follow)
        made.append(accounts_to_follow(found, rules.who_to_follow))
    made += modules_of_creators(query, moment)
    if not closed_gate(moment, TOPICS, rules.topics, rules.dismissals):
        made.append(topics_to_follow(candidates, moment.state, rules.topics))
    made.append(prompt_for(moment, rules))
    return [module for module in made if module is not None]


def ahead_of_modules(product: str, query: Query) -> dict[str, Finding[Any]]:
    """What the modules of a page ask of shards, to be asked beside its candidates.

    Accounts to follow, where they are due; whoever seeks accounts for their posts finds them in
    the same search. Creators, where a module of theirs is due.
    """
    rules = query.settings.mixer
    if query.posts_only or query.context is None:
        return {}
    moment = Moment.of(query, product, first_page=is_first_page(query))
    accounts_due = not closed_gate(moment, ACCOUNTS, rules.who_to_follow, rules.dismissals)
    if accounts_due:
        # Before the query is copied: the copy is to share the search.
        query.explored = Shared(explore(query))
    asking = _asking(query, rules.who_to_follow)
    wanted: dict[str, Finding[Any]] = {}
    if accounts_due:
        finding = recommend(asking, WHO_TO_FOLLOW, rules.who_to_follow.max_items)
        wanted[ACCOUNTS] = in_time(asking, finding)
    if due := _of_creators(moment, rules):
        previews = rules.post_preview if PREVIEW in due else None
        wanted[_SOUGHT] = in_time(asking, find_creators(query, previews))
    return wanted


def is_first_page(query: Query) -> bool:
    """Whether nothing of the chain of pages stands above this one."""
    return query.walk.kind in (None, CursorKind.NEWER)


def find_accounts(query: Query, rules: WhoToFollowSettings) -> list[Recommendation]:
    """Accounts to follow as `GET …/follow-recommendations` tells them, as of the query's time.

    Asks nothing where they were asked for beside the candidates.
    """
    if ACCOUNTS in query.beside:
        told = query.beside[ACCOUNTS]
    else:
        asking = _asking(query, rules)
        finding = recommend(asking, WHO_TO_FOLLOW, rules.max_items)
        told = ask_together(asking, {ACCOUNTS: finding}, _SHARE)[ACCOUNTS]
    if told is None:
        query.note(ACCOUNTS)
        return []
    columns = told.user_ids.tolist(), told.scores.tolist(), *reasons_of(told)
    return [Recommendation(*row) for row in zip(*columns, strict=True)]


def _asking(query: Query, rules: WhoToFollowSettings) -> Query:
    """The query as it asks for accounts: the same within an hour, and for so long."""
    # What an exact request answers must not depend on how fast the shards are.
    by_s = time.monotonic() + rules.budget_ms / 1000 if query.recorded else query.deadline_s
    return replace(
        query,
        seed=query.now_ms // _HOUR_MS,
        deadline_s=min(query.deadline_s, by_s),
        ahead=None,
    )


def accounts_to_follow(
    found: Sequence[Recommendation], rules: WhoToFollowSettings
) -> Module | None:
    """The best accounts; None where there are too few."""
    if len(found) < rules.min_items:
        return None
    chosen = found[: rules.max_items]
    return Module(
        kind=ACCOUNTS,
        name=ACCOUNTS,
        position=rules.position,
        text="Who to follow",
        user_ids=tuple(account.user_id for account in chosen),
        because=tuple(account.reasons[0].text if account.reasons else "" for account in chosen),
    )


def modules_of_creators(query: Query, moment: Moment) -> list[Module]:
    """A preview, and creators to subscribe to; of each that is due and of which there is enough.

    Asks nothing where creators were asked for beside the candidates.
    """
    rules = query.settings.mixer
    due = _of_creators(moment, rules)
    if not due:
        return []
    if _SOUGHT not in query.beside:
        finding = find_creators(query, rules.post_preview if PREVIEW in due else None)
        query.beside |= ask_together(
            _asking(query, rules.who_to_follow), {_SOUGHT: finding}, _SHARE
        )
    found = query.beside[_SOUGHT]
    if found is None:
        query.note(_SOUGHT)
        return []
    made: list[Module | None] = []
    if PREVIEW in due:
        made.append(post_preview(preview(query, found), rules.post_preview))
    if CREATORS in due:
        made.append(creators_to_subscribe_to(found, rules.who_to_subscribe))
    return [module for module in made if module is not None]


def _of_creators(moment: Moment, rules: MixerSettings) -> list[str]:
    """Which of their modules are due."""
    modules = {PREVIEW: rules.post_preview, CREATORS: rules.who_to_subscribe}
    return [
        name
        for name, its in modules.items()
        if not closed_gate(moment, name, its, rules.dismissals)
    ]


def post_preview(post: tuple[int, int] | None, rules: PostPreviewSettings) -> Module | None:
    """The beginning of a post for subscribers; None where there is none."""
    if post is None:
        return None
    return Module(
        kind=PREVIEW,
        name=PREVIEW,
        position=rules.position,
        text="For subscribers",
        user_ids=post[1:],
        post_ids=post[:1],
        because=("you follow its author",),
    )


def creators_to_subscribe_to(found: Creators, rules: WhoToSubscribeSettings) -> Module | None:
    """The creators closest to the viewer; None where there are too few."""
    if len(found.user_ids) < rules.min_items:
        return None
    return Module(
        kind=CREATORS,
        name=CREATORS,
        position=rules.position,
        text="Creators to subscribe to",
        user_ids=tuple(found.user_ids[: rules.max_items].tolist()),
        because=tuple(
            "you engage with their posts" if close else "you follow them"
            for close in (found.affinities[: rules.max_items] > 0).tolist()
        ),
    )


def topics_to_follow(
    candidates: Candidates, state: ViewerState, rules: TopicsSettings
) -> Module | None:
    """Topics of candidates that the viewer neither follows nor muted; None where too few.

    First those on which most different authors wrote to whom the viewer's own engagement led,
    then those whose posts have more favourites (the sum of ln(1 + count)), then by id.
    """
    known = np.concatenate([state.followed_topics, state.muted_topics, [0]])
    rows = np.flatnonzero(~np.isin(candidates.topic_ids, known))
    topic_ids, at = np.unique(candidates.topic_ids[rows], return_inverse=True)
    if len(topic_ids) < rules.min_items:
        return None
    engaged = (candidates.feature("author_affinity") > 0) | (candidates.signals >= 0)
    authors = IdMap(len(rows)).get_or_insert(candidates.author_ids[rows])
    pairs = np.unique((at * len(rows) + authors)[engaged[rows]])
    n_authors = np.bincount(pairs // len(rows), minlength=len(topic_ids))
    # Sums of so few float32 are exact in float64: the order of the candidates does not matter.
    favourites = np.bincount(at, candidates.feature("favourites")[rows], len(topic_ids))
    best: npt.NDArray[np.int64] = np.lexsort((topic_ids, -favourites, -n_authors))
    best = best[: rules.max_items]
    return Module(
        kind=TOPICS,
        name=TOPICS,
        position=rules.position,
        text="Topics to follow",
        topic_ids=tuple(topic_ids[best].tolist()),
        because=tuple(
            "close to what you engage with" if n else "popular" for n in n_authors[best].tolist()
        ),
    )


def prompt_for(moment: Moment, settings: MixerSettings) -> Module | None:
    """The most urgent prompt that is due for a new user; None for others."""
    rules = settings.prompt
    if not moment.is_new:
        return None
    for prompt in PROMPTS:
        gate = closed_gate(moment, prompt.name, rules, settings.dismissals)
        if gate is None and prompt.is_due(moment, rules):
            return Module("prompt", prompt.name, rules.position, prompt.text)
    return None


def new_posts_pill(
    viewer_id: int, author_ids: Sequence[int], rules: NewPostsSettings, *, asked: bool = False
) -> Pill | None:
    """The pill over a page of newer posts by these authors, in its order; None without posts.

    It waits, unless the viewer `asked` to refresh or wrote all of the posts.
    """
    if not rules.on or not author_ids:
        return None
    authors = tuple(dict.fromkeys(author_ids))
    at_once = asked or authors == (viewer_id,)
    return Pill(len(author_ids), authors[: rules.max_avatars], 0 if at_once else rules.delay_ms)
