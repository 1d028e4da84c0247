"""The posts of the world: their latent traits, and the events that create them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import Kind
from cluster.ids import Ids
from simulation.pictures import embeddings_of
from simulation.population import Population
from simulation.recorder import NEVER_MS, Recorder
from simulation.text import compose
from simulation.vocabulary import LANGUAGES

TEXT, IMAGE, VIDEO, LINK = range(4)
_MEDIA_SHARES = (0.50, 0.28, 0.10, 0.12)
_TOPICS_TOLD = 0.85
"""Share of posts whose topics the events name; the rest must be read from the text."""
_SEQUENCE_BITS = 20

POST = np.dtype(
    [
        ("id", np.int64),
        ("author", np.int64),
        ("created_ms", np.int64),
        ("deleted_ms", np.int64),
        ("reply_to", np.int64),
        ("quote_of", np.int64),
        ("root", np.int64),
        ("topic", np.int64),
        ("second_topic", np.int64),
        ("second_share", np.float32),
        ("language", np.int64),
        ("media", np.int64),
        ("image_count", np.int16),
        ("video_duration_ms", np.int64),
        ("link_count", np.int16),
        ("quality", np.float32),
        ("question", np.bool_),
        ("toxic", np.bool_),
        ("adult", np.bool_),
        ("popularity", np.float32),
    ]
)
"""One post. `author`, `reply_to`, `quote_of`, `root` are rows (-1 for none); topics are
positions in the vocabulary; `popularity` grows with engagement."""

PostRows = npt.NDArray[np.void]
"""Structured array of `POST`."""


class PostTable:
    """All posts so far, in the order in which they were drawn."""

    def __init__(self) -> None:
        self._rows: PostRows = np.empty(1024, POST)
        self._n = 0
        self._order: Ids = np.empty(0, np.int64)
        self._older = 0

    def __len__(self) -> int:
        return self._n

    @property
    def rows(self) -> PostRows:
        """A view of all posts; writing to its fields changes the table."""
        return self._rows[: self._n]

    def append(self, posts: PostRows) -> Ids:
        """Add posts, give them ids, and return their rows.

        An id is the creation time in ms, shifted left by 20 bits, plus a running number, so
        ids sort by time as those of Snowflake do.
        """
        end = self._n + len(posts)
        if end > len(self._rows):
            grown = np.empty(max(end, 2 * len(self._rows)), POST)
            grown[: self._n] = self.rows
            self._rows = grown
        rows = np.arange(self._n, end)
        posts["id"] = (posts["created_ms"] << _SEQUENCE_BITS) | (rows % (1 << _SEQUENCE_BITS))
        self._rows[self._n : end] = posts
        self._n = end
        return rows

    def since(self, time_ms: int) -> Ids:
        """Rows of posts created at `time_ms` or later; not to be asked for earlier times later.

        Posts come nearly in order of time, so all before the first recent one stay behind.
        """
        recent = self.rows["created_ms"][self._older :] >= time_ms
        first = int(recent.argmax()) if recent.any() else len(recent)
        found: Ids = self._older + np.flatnonzero(recent)
        self._older += first
        return found

    def rows_of(self, post_ids: npt.ArrayLike) -> Ids:
        """Rows of post ids; raises `KeyError` naming an unknown one."""
        wanted = np.asarray(post_ids, np.int64)
        ids = self.rows["id"]
        if len(self._order) != self._n:
            self._order = np.argsort(ids)
        at = np.searchsorted(ids, wanted, sorter=self._order)
        rows = self._order[np.minimum(at, self._n - 1)] if self._n else np.zeros_like(at)
        unknown = ids[rows] != wanted if self._n else np.ones(wanted.shape, bool)
        if unknown.any():
            raise KeyError(f"post {int(wanted[unknown].flat[0])} is unknown to the world")
        return rows


def draw_posts(
    population: Population,
    authors: Ids,
    times_ms: Ids,
    rng: np.random.Generator,
    parents: PostRows | None = None,
) -> PostRows:
    """Draw the traits of new posts, without ids.

    `parents` (one per post) are what the posts reply to or quote: their topics carry over.
    """
    n_posts = len(authors)
    posts = np.zeros(n_posts, POST)
    posts["author"] = authors
    posts["created_ms"] = times_ms
    posts["deleted_ms"] = NEVER_MS
    for link in ("reply_to", "quote_of", "root"):
        posts[link] = -1
    posts["topic"], other = population.draw_topics(authors, 2, rng).T
    mixed = (rng.random(n_posts) < 0.35) & (other != posts["topic"])
    posts["second_topic"] = np.where(mixed, other, -1)
    posts["second_share"] = np.where(mixed, rng.uniform(0.2, 0.5, n_posts), 0)
    if parents is not None:
        for field in ("topic", "second_topic", "second_share"):
            posts[field] = parents[field]
        in_their_language = population.reads[authors, parents["language"]]
        posts["language"] = np.where(
            in_their_language, parents["language"], population.languages[authors]
        )
    else:
        posts["language"] = population.languages[authors]
    _draw_media(posts, with_media=parents is None, rng=rng)
    posts["quality"] = population.quality[authors] + 0.8 * rng.standard_normal(n_posts)
    posts["question"] = rng.random(n_posts) < 0.15
    posts["toxic"] = rng.random(n_posts) < population.toxicity[authors]
    posts["adult"] = rng.random(n_posts) < population.adult[authors]
    return posts


def record_posts(
    population: Population,
    table: PostTable,
    rows: Ids,
    recorder: Recorder,
    rng: np.random.Generator,
) -> None:
    """Record the `post_create` events of `rows`."""
    if not len(rows):
        return
    posts = table.rows[rows]
    links = {}
    for link, name in (("reply_to", "reply_to"), ("quote_of", "quote_of")):
        linked = posts[link] >= 0
        if linked.any():
            target = table.rows[np.maximum(posts[link], 0)]
            authors = population.user_ids[target["author"]]
            links[f"{name}_id"] = pa.array(target["id"], mask=~linked)
            links[f"{name}_author_id"] = pa.array(authors, mask=~linked)
    if (posts["root"] >= 0).any():
        roots = table.rows[np.maximum(posts["root"], 0)]
        authors = population.user_ids[roots["author"]]
        links["root_id"] = pa.array(roots["id"], mask=posts["root"] < 0)
        links["root_author_id"] = pa.array(authors, mask=posts["root"] < 0)
    recorder.add(
        Kind.POST_CREATE,
        posts["created_ms"],
        post_id=posts["id"],
        author_id=population.user_ids[posts["author"]],
        text=texts_of(posts, rng),
        language=[LANGUAGES[row] for row in posts["language"].tolist()],
        topics=_told_topics(posts, rng),
        image_count=pa.array(posts["image_count"], mask=posts["image_count"] == 0),
        video_duration_ms=pa.array(
            posts["video_duration_ms"], mask=posts["video_duration_ms"] == 0
        ),
        link_count=pa.array(posts["link_count"], mask=posts["link_count"] == 0),
        # Drawn by a generator of its own: the rest of the world is as it would be without.
        media_embedding=embeddings_of(
            posts["topic"], posts["adult"], has_picture(posts), rng.spawn(1)[0]
        ),
        # Authors mark most of their adult posts themselves.
        sensitive=posts["adult"] & (rng.random(len(posts)) < 0.8),
        **links,
    )


def has_picture(posts: PostRows) -> npt.NDArray[np.bool_]:
    """Which posts have an image or a video, (n,)."""
    return np.isin(posts["media"], (IMAGE, VIDEO))


def texts_of(posts: PostRows, rng: np.random.Generator) -> list[str]:
    """A text for each post; another one at each call."""
    return compose(
        posts["language"],
        posts["topic"],
        posts["second_topic"],
        posts["quality"],
        posts["question"],
        posts["toxic"],
        posts["adult"],
        rng,
    )


def _draw_media(posts: PostRows, with_media: bool, rng: np.random.Generator) -> None:
    n_posts = len(posts)
    media = rng.choice(len(_MEDIA_SHARES), n_posts, p=_MEDIA_SHARES)
    if not with_media:
        media[rng.random(n_posts) < 0.8] = TEXT
    posts["media"] = media
    posts["image_count"] = np.where(media == IMAGE, rng.integers(1, 5, n_posts), 0)
    durations_ms = np.minimum(rng.lognormal(np.log(28_000), 0.9, n_posts), 600_000)
    posts["video_duration_ms"] = np.where(media == VIDEO, durations_ms, 0)
    posts["link_count"] = media == LINK


def _told_topics(posts: PostRows, rng: np.random.Generator) -> list[list[int] | None]:
    told = (rng.random(len(posts)) < _TOPICS_TOLD).tolist()
    firsts, seconds = posts["topic"].tolist(), posts["second_topic"].tolist()
    return [
        ([first + 1, second + 1] if second >= 0 else [first + 1]) if known else None
        for first, second, known in zip(firsts, seconds, told, strict=True)
    ]
