"""What a page may hold beside posts and ads: accounts and topics to follow, prompts, the pill.

A module is due when every gate is open to it. The gates are the published ones: on, the page,
the interval since it was served last, and dismissal fatigue.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import IdMap
from actors.viewer_state import ViewerState
from cluster.mixer_settings import (
    DismissalSettings,
    MixerSettings,
    ModuleSettings,
    NewPostsSettings,
    PromptSettings,
    TopicsSettings,
    WhoToFollowSettings,
)
from timeline.candidates import Candidates
from timeline.findings import ask_together
from timeline.follow_recommendations.flow import WHO_TO_FOLLOW, recommend
from timeline.follow_recommendations.reasons import reasons_of
from timeline.follow_recommendations.service import Recommendation
from timeline.query import Query
from timeline.user_state import UserState, user_state

ModuleKind = Literal["who_to_follow", "topics", "prompt"]

ACCOUNTS: Literal["who_to_follow"] = "who_to_follow"
TOPICS: Literal["topics"] = "topics"
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
class Moment:
    """What decides which modules a page may have."""

    product: str
    now_ms: int
    state: ViewerState
    n_follows: int
    is_new: bool
    """The viewer is new here, or as good as: new, or active on next to no day."""
    first_page: bool = True

    @staticmethod
    def of(query: Query, product: str, *, first_page: bool) -> "Moment":
        """The moment of a request whose viewer's context was fetched."""
        state = user_state(query.state, query.now_ms, query.settings.user_states)
        return Moment(
            *(product, query.now_ms, query.state, len(query.viewer.follows)),
            is_new=state <= UserState.NEAR_ZERO,
            first_page=first_page,
        )


@dataclass(frozen=True)
class Gate:
    """A condition of every module."""

    name: str
    is_open: Callable[[Moment, str, ModuleSettings, DismissalSettings], bool]
    """Of a moment, a module by name, its settings, and those of dismissals."""


def _interval_over(moment: Moment, name: str, rules: ModuleSettings, _: DismissalSettings) -> bool:
    last_ms = moment.state.modules_ms.get(name)
    return last_ms is None or moment.now_ms - last_ms >= rules.interval_ms


def _fatigue_over(moment: Moment, name: str, _: ModuleSettings, rules: DismissalSettings) -> bool:
    count, last_ms = moment.state.dismissals.get(name, (0, 0))
    return moment.now_ms - last_ms >= rules.fatigue_ms * min(count, rules.max_count)


GATES: tuple[Gate, ...] = (
    Gate("on", lambda moment, _, rules, __: rules.on and moment.product in rules.products),
    Gate("page", lambda moment, _, rules, __: moment.first_page or rules.pages == "all"),
    Gate("interval", _interval_over),
    Gate("dismissals", _fatigue_over),
)
"""In the order in which they are asked."""


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

NAMES = (ACCOUNTS, TOPICS, *(prompt.name for prompt in PROMPTS))
"""Every module by the name that events give it."""


def closed_gate(
    moment: Moment, name: str, rules: ModuleSettings, dismissals: DismissalSettings
) -> str | None:
    """The first gate that is closed to a module; None where it may stand."""
    return next((g.name for g in GATES if not g.is_open(moment, name, rules, dismissals)), None)


def modules_for(
    query: Query, product: str, candidates: Candidates, *, first_page: bool
) -> list[Module]:
    """The modules of a page, in the order in which they are inserted.

    `candidates` are posts that the viewer might be shown: their topics are what may be
    recommended. Shards are asked for accounts to follow only where these are due; where they do
    not answer, the query notes `who_to_follow`. Without the viewer's context there are none.
    """
    if query.context is None:
        return []
    moment = Moment.of(query, product, first_page=first_page)
    rules = query.settings.mixer
    made: list[Module | None] = []
    if not closed_gate(moment, ACCOUNTS, rules.who_to_follow, rules.dismissals):
        found = find_accounts(query, rules.who_to_follow)
        made.append(accounts_to_follow(found, rules.who_to_follow))
    if not closed_gate(moment, TOPICS, rules.topics, rules.dismissals):
        made.append(topics_to_follow(candidates, moment.state, rules.topics))
    made.append(prompt_for(moment, rules))
    return [module for module in made if module is not None]


def find_accounts(query: Query, rules: WhoToFollowSettings) -> list[Recommendation]:
    """Accounts to follow as `GET …/follow-recommendations` tells them, as of the query's time."""
    # What an exact request answers must not depend on how fast the shards are.
    by_s = time.monotonic() + rules.budget_ms / 1000 if query.recorded else query.deadline_s
    asking = replace(
        query,
        seed=query.now_ms // _HOUR_MS,
        deadline_s=min(query.deadline_s, by_s),
        ahead=None,
    )
    finding = recommend(asking, WHO_TO_FOLLOW, rules.max_items)
    told = ask_together(asking, {ACCOUNTS: finding}, _SHARE)[ACCOUNTS]
    if told is None:
        query.note(ACCOUNTS)
        return []
    columns = told.user_ids.tolist(), told.scores.tolist(), *reasons_of(told)
    return [Recommendation(*row) for row in zip(*columns, strict=True)]


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
