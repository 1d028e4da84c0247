"""The ten labels of what was shown: what the viewer did with it, as far as one can know.

| Label | Is set where the viewer, within the window, … |
|---|---|
| `is_favorited`, `is_replied` | favoured it; replied to it |
| `is_reposted` | reposted or quoted it |
| `is_reply_engaged_by_author` | replied, and the author favoured, reposted or answered the reply |
| `is_good_clicked` | opened the conversation, then favoured or answered a post of it |
| `is_good_clicked_v2` | opened the conversation, and stayed for two minutes |
| `is_profile_clicked` | visited the author, then followed, or engaged with another post of theirs |
| `is_negative_feedback` | asked for less of it, or muted or blocked the author |
| `is_reported` | reported it |
| `is_video_watched` | watched half of its video at a time |

What was taken back within the window does not count. The window is that of the original's
label rectification: so long after serving, both for coming on screen and for everything else.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.tasks import TASK_NAMES
from cluster.events import Kind
from cluster.ids import Ids
from training.facts import MIN_WATCHED, pair_keys
from training.heavy_ranker.actions import Actions, Posts, Timeline

Bits = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

GOOD_STAY_MS = 120_000
"""In an opened conversation; the two minutes are published."""

UNWANTED = ("is_negative_feedback", "is_reported")
"""Labels of what nobody hopes for; the others are engagements."""

_SAID = (Kind.FAVOURITE, Kind.REPLY)
_PUBLIC = (Kind.FAVOURITE, Kind.REPLY, Kind.REPOST, Kind.QUOTE)
_SIMPLE: dict[str, tuple[Kind, ...]] = {
    "is_favorited": (Kind.FAVOURITE,),
    "is_negative_feedback": (Kind.SHOW_LESS, Kind.NOT_INTERESTED),
    "is_replied": (Kind.REPLY,),
    "is_reported": (Kind.REPORT,),
    "is_reposted": (Kind.REPOST, Kind.QUOTE),
}


@dataclass(frozen=True)
class Shown:
    """Posts that came on screen; arrays of shape (n,)."""

    viewer_ids: Ids
    post_ids: Ids
    author_ids: Ids
    asked_ms: Ids
    """When the request was served, as of which features are."""
    shown_ms: Ids
    """When the post first came on screen for this request."""
    request_ids: pa.Array
    """Strings; null where no request is known."""
    sources: pa.Array
    """Strings: the candidate source; null where nobody said."""

    def __len__(self) -> int:
        return len(self.viewer_ids)

    def take(self, rows: Rows) -> "Shown":
        """Those at given places."""
        chosen = pa.array(rows)
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return Shown(
            **{
                name: column.take(chosen) if isinstance(column, pa.Array) else column[rows]
                for name, column in columns.items()
            }
        )


@dataclass(frozen=True)
class Labels:
    """Of n examples: shape (n, len(TASK_NAMES)), in the order of `TASK_NAMES`."""

    values: Bits
    known: Bits
    """0 where a label cannot be known; its value is 0 then."""

    def take(self, rows: Rows) -> "Labels":
        """Those at given places."""
        return Labels(self.values[rows], self.known[rows])


def labels_of(
    shown: Shown, actions: Actions, posts: Posts, attribution_ms: int, until_ms: int
) -> Labels:
    """The labels of what was shown, from all actions up to `until_ms`.

    What a viewer does to a post (or to its author) belongs to the last time that the post (or
    one of the author's) was shown before, and counts within `attribution_ms` of serving. Nothing
    is known of an example whose window is not over at `until_ms`, or which came on screen
    after it; nothing of the video of a post without one; and not whether the author engaged
    with a reply of which it is not known which post it is.
    """
    ends_ms = shown.asked_ms + attribution_ms
    found = _Found(shown, actions, posts, ends_ms)
    values = np.zeros((len(shown), len(TASK_NAMES)), np.uint8)
    known = np.ones_like(values)
    for name, kinds in _SIMPLE.items():
        values[found.given(*kinds)[0], TASK_NAMES.index(name)] = 1
    values[found.hidden_authors(), TASK_NAMES.index("is_negative_feedback")] = 1
    values[found.good_clicks(), TASK_NAMES.index("is_good_clicked")] = 1
    values[found.long_stays(), TASK_NAMES.index("is_good_clicked_v2")] = 1
    values[found.profile_visits(), TASK_NAMES.index("is_profile_clicked")] = 1
    answered, unknown = found.answered_replies()
    values[answered, TASK_NAMES.index("is_reply_engaged_by_author")] = 1
    known[unknown, TASK_NAMES.index("is_reply_engaged_by_author")] = 0
    durations_ms = posts.video_ms(shown.post_ids)
    values[found.watched(durations_ms), TASK_NAMES.index("is_video_watched")] = 1
    known[:, TASK_NAMES.index("is_video_watched")] &= durations_ms > 0
    known[(ends_ms > until_ms) | (shown.shown_ms >= ends_ms)] = 0
    return Labels(values * known, known)


class _Found:
    """Looks up what belongs to which example."""

    def __init__(self, shown: Shown, actions: Actions, posts: Posts, ends_ms: Ids) -> None:
        self._shown, self._actions, self._posts, self._ends_ms = shown, actions, posts, ends_ms
        viewers = shown.viewer_ids
        self._of_posts = Timeline(pair_keys(viewers, shown.post_ids), shown.shown_ms)
        self._of_authors = Timeline(pair_keys(viewers, shown.author_ids), shown.shown_ms)

    def given(self, *kinds: Kind) -> tuple[Rows, Actions]:
        """(examples, actions of kinds on their posts that stand and belong to them)."""
        done = self._actions.of(*kinds)
        keys = pair_keys(done.actor_ids, done.post_ids)
        return self._that_stand(self._of_posts.last_until(keys, done.times_ms), done)

    def hidden_authors(self) -> Rows:
        """Examples whose author the viewer muted or blocked."""
        return self._on_authors(self._actions.of(Kind.MUTE, Kind.BLOCK))[0]

    def good_clicks(self) -> Rows:
        """Examples whose conversation the viewer opened, to favour or answer a post of it."""
        examples, clicks = self.given(Kind.CLICK)
        said = self._actions.of(*_SAID)
        of_viewer = Timeline(said.actor_ids, said.times_ms)
        at, rows = of_viewer.between(clicks.actor_ids, clicks.times_ms, self._ends_ms[examples])
        stand = said.undone_ms[rows] >= self._ends_ms[examples[at]]
        at, rows = at[stand], rows[stand]
        there = self._posts.are_under(said.post_ids[rows], clicks.post_ids[at])
        return examples[at[there]]

    def long_stays(self) -> Rows:
        """Examples whose conversation was open for long: by clicks, which say how long (ms), or
        by dwelling from the first click on, for apps that tell that apart."""
        n = len(self._shown)
        examples, clicks = self.given(Kind.CLICK)
        opened_ms = np.full(n, np.iinfo(np.int64).max)
        np.minimum.at(opened_ms, examples, clicks.times_ms)
        stays_ms = np.bincount(examples, _durations_ms(clicks), n)
        examples, dwells = self.given(Kind.DWELL)
        inside = dwells.times_ms >= opened_ms[examples]
        dwelt_ms = np.bincount(examples[inside], _durations_ms(dwells)[inside], n)
        return np.flatnonzero(np.maximum(stays_ms, dwelt_ms) >= GOOD_STAY_MS)

    def profile_visits(self) -> Rows:
        """Examples whose author the viewer visited, and then engaged with elsewhere."""
        visits = self._actions.of(Kind.PROFILE_CLICK)
        named = visits.post_ids != 0
        on_posts = visits.where(named)
        examples = self._of_posts.last_until(
            pair_keys(on_posts.actor_ids, on_posts.post_ids), on_posts.times_ms
        )
        parts = [self._that_stand(examples, on_posts), self._on_authors(visits.where(~named))]
        done = self._actions.of(Kind.FOLLOW, *_PUBLIC)
        with_authors = Timeline(pair_keys(done.actor_ids, done.author_ids), done.times_ms)
        found = []
        for examples, visits in parts:
            authors = self._shown.author_ids[examples]
            ends_ms = self._ends_ms[examples]
            at, rows = with_authors.between(
                pair_keys(visits.actor_ids, authors), visits.times_ms, ends_ms
            )
            counts = done.undone_ms[rows] >= ends_ms[at]
            counts &= done.post_ids[rows] != self._shown.post_ids[examples[at]]
            found.append(examples[at[counts]])
        return np.concatenate(found)

    def answered_replies(self) -> tuple[Rows, Rows]:
        """(examples where the author engaged with the reply, those where nobody can say)."""
        examples, replies = self.given(Kind.REPLY)
        named = replies.made_ids != 0
        nameless = np.setdiff1d(examples[~named], examples[named])
        examples, replies = examples[named], replies.where(named)
        done = self._actions.of(*_PUBLIC)
        on_posts = Timeline(pair_keys(done.actor_ids, done.post_ids), done.times_ms)
        authors, ends_ms = self._shown.author_ids[examples], self._ends_ms[examples]
        keys = pair_keys(authors, replies.made_ids)
        at, rows = on_posts.between(keys, replies.times_ms, ends_ms)
        return examples[at[done.undone_ms[rows] >= ends_ms[at]]], nameless

    def watched(self, durations_ms: Ids) -> Rows:
        """Examples of whose video the viewer saw half at a time."""
        examples, watches = self.given(Kind.VIDEO_WATCH)
        least_ms = MIN_WATCHED * durations_ms[examples]
        return examples[(durations_ms[examples] > 0) & (watches.values >= least_ms)]

    def _on_authors(self, done: Actions) -> tuple[Rows, Actions]:
        """(examples, actions on their authors): of whom a post was shown last before."""
        keys = pair_keys(done.actor_ids, done.author_ids)
        return self._that_stand(self._of_authors.last_until(keys, done.times_ms), done)

    def _that_stand(self, examples: Rows, done: Actions) -> tuple[Rows, Actions]:
        """Those that belong to an example, within its window, and not taken back in it."""
        ends_ms = self._ends_ms[examples] if len(self._shown) else np.zeros(len(done), np.int64)
        stand = (examples >= 0) & (done.times_ms < ends_ms) & (done.undone_ms >= ends_ms)
        return examples[stand], done.where(stand)


def _durations_ms(actions: Actions) -> npt.NDArray[np.float64]:
    """Values as milliseconds; what is no duration counts as none."""
    values = actions.values.astype(np.float64)
    return np.where(values > 0, values, 0.0)
