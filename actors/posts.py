"""The kind `posts`: posts with their counters, and what is publicly known of their authors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.analytics import Analytics
from actors.features.age_decay import AgeDecay
from actors.features.binned import BinnedModel
from actors.features.light import (
    AuthorFacts,
    Languages,
    PostFacts,
    positions_in,
    post_features,
    viewer_features,
)
from actors.features.reputation import Reputations
from actors.label_bits import KnownLabels
from actors.post_labels import PostLabels
from actors.post_languages import LanguageKeys
from actors.post_marks import Mark
from actors.rows import Engagements, Rows
from actors.stores.columns import Array
from actors.stores.labels import Labels
from actors.stores.popularity import Popularity
from actors.stores.posts import COUNTERS, PostTable
from actors.stores.relations import Relations
from actors.stores.users import UserTable
from actors.stores.versions import versions_of
from cluster.analytics_settings import AnalyticsSettings
from cluster.events import Kind
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

_LINKS = ("reply_to_id", "quote_of_id", "root_id")
_LINKED = ("reply_to_author_id", "quote_of_author_id", "repost_of_author_id", "root_author_id")

USER_KINDS = (
    *(Kind.USER_CREATE, Kind.USER_UPDATE, Kind.USER_DEACTIVATE, Kind.USER_REACTIVATE),
    *(Kind.USER_SUSPEND, Kind.USER_UNSUSPEND, Kind.USER_DELETE),
)


@dataclass(frozen=True)
class FoundPosts:
    """Posts and what their shard knows of them; arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    created_ms: Ids
    """0 for a post that never arrived."""
    newest_ids: Ids
    """The edit that replaces this version, or 0."""
    repost_of_ids: Ids
    links: npt.NDArray[np.int64]
    """Shape (n, 3): the post that this one replies to, the one that it quotes, and the root
    of its conversation; 0 for none."""
    linked_author_ids: npt.NDArray[np.int64]
    """Shape (n, 4): authors of the posts that this one replies to, quotes and reposts, and of
    the root of its conversation; 0 for none."""
    topic_ids: Ids
    """The first topic of each post; 0 for none."""
    languages: Ids
    """The `language_key` of each post; 0 where its event named no language."""
    labels: npt.NDArray[np.uint64]
    """Shape (n, 2): which of `KNOWN_LABELS` the post has, and which its author."""
    marks: npt.NDArray[np.uint16]
    """Flags of `Mark`."""
    deleted: npt.NDArray[np.bool_]
    author_gone: npt.NDArray[np.bool_]
    """The author is deactivated, suspended or deleted."""
    author_protected: npt.NDArray[np.bool_]
    is_reply: npt.NDArray[np.bool_]
    has_uri: npt.NDArray[np.bool_]
    """The post came with an external name."""
    features: Floats
    """Shape (n, len(POST_FEATURES))."""
    ranks: Floats
    """What the shard ranked by, where it ranked: higher is better."""


@dataclass(frozen=True)
class FoundInNetwork:
    """What a search among followed authors found."""

    posts: FoundPosts
    reply_to_ids: Ids
    """The posts that they reply to, (n,); 0 for none."""


class PostsKind:
    """The posts of the users of one shard."""

    def __init__(
        self, users: UserTable, followers: Relations, analytics: AnalyticsSettings
    ) -> None:
        """`users` and `followers` are written by the shard, whose kinds share them."""
        self.table = PostTable()
        self._languages = LanguageKeys(self.table.languages)
        self.popularity = Popularity(self.table, _POPULARITY_TENTHS, videos=False)
        self.videos = Popularity(self.table, _POPULARITY_TENTHS, videos=True)
        self.users = users
        self.post_labels, self.author_labels = PostLabels(self.table), KnownLabels()
        self.analytics = Analytics(analytics)
        self._followers = followers

    @property
    def memory_bytes(self) -> int:
        """Memory held by all stores of this kind."""
        labels = self.post_labels.memory_bytes + self.author_labels.memory_bytes
        ranked = self.popularity.memory_bytes + self.videos.memory_bytes
        return self.table.memory_bytes + ranked + labels + self.analytics.memory_bytes

    def apply(self, rows: Rows, engagements: Engagements) -> None:
        """Apply admitted rows."""
        posts = rows.of(Kind.POST_CREATE, Kind.POST_EDIT)
        posts = posts.where(posts.concern("author_id"))
        if len(posts):
            self.table.write(posts.batch, versions_of(posts["time_ms"], posts["event_id"]))
        gone = rows.of(Kind.POST_DELETE)
        gone = gone.where(gone.concern("author_id"))
        if len(gone):
            self.table.delete(gone["post_id"], gone["author_id"])
        labels = rows.of(Kind.SAFETY_LABEL, Kind.SAFETY_UNLABEL)
        labels = labels.where(labels.concern("author_id"))
        if len(labels):
            of_post = labels["post_id"] > 0
            _write_labels(labels.where(of_post), "post_id", self.post_labels)
            _write_labels(labels.where(~of_post), "author_id", self.author_labels)
        self.analytics.apply(rows, engagements)
        theirs = engagements.where(engagements.of_author)
        self.table.count(theirs.post_ids, theirs.author_ids, theirs.kinds, theirs.times_ms)
        changed = np.concatenate([posts["post_id"], theirs.post_ids])
        self.popularity.touch(changed)
        self.videos.touch(changed)

    def in_network(
        self,
        author_ids: Ids,
        affinities: Floats,
        real_graph: Floats,
        *,
        viewer_id: int,
        language: str,
        since_ms: int,
        until_ms: int,
        now_ms: int,
        max_hits: int,
        max_results: int,
        excluded_ids: Ids,
        model: BinnedModel,
        reputations: Reputations | None = None,
        decay: AgeDecay | None = None,
    ) -> FoundInNetwork:
        """The best recent posts of followed authors, by the light ranker (Earlybird's role).

        Looks at the `max_hits` newest posts of the authors together, less `excluded_ids`
        (sorted) and reposts of them; ranks them by what this shard and the viewer's ties to
        the authors (`affinities` and `real_graph`, beside `author_ids`, sorted by id) say,
        and returns the first `max_results`: the best of all shards are among the best of
        each. Ranks are logits or, with `decay`, probabilities times its factors.
        """
        table = self.table
        rows = table.of_authors(author_ids, since_ms, until_ms, max_hits + len(excluded_ids))
        if len(excluded_ids):
            excluded = positions_in(excluded_ids, table["post_ids"][rows]) >= 0
            excluded |= positions_in(excluded_ids, table["repost_of_id"][rows]) >= 0
            rows = rows[~excluded]
        if len(rows) > max_hits:
            created, post_ids = table["created_ms"][rows], table["post_ids"][rows]
            rows = rows[np.lexsort((-post_ids, -created))[:max_hits]]
        features = self._features(rows, language, now_ms, reputations)
        authors = table["author_ids"][rows]
        ties = (author_ids, author_ids, affinities, author_ids, real_graph)
        tie = viewer_features(authors, viewer_id, *ties)
        ranks = model.logits(np.concatenate([features, tie], axis=1))
        if decay:
            minutes = np.maximum(now_ms - table["created_ms"][rows], 0) // 60_000
            ranks = (decay.factors(minutes) / (1 + np.exp(-ranks))).astype(np.float32)
        best = np.lexsort((table["post_ids"][rows], -ranks))[:max_results]
        rows = rows[best]
        return FoundInNetwork(
            self._found(rows, features[best], ranks[best]), table["reply_to_id"][rows]
        )

    def roots(self, post_ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether anybody may read each post, and it begins a conversation of its own.

        It was created, not deleted, is neither reply nor repost, and its author is there and
        not protected.
        """
        rows = self.table.rows_of(post_ids)
        roots = rows >= 0
        rows, table = rows[roots], self.table
        authors = table["author_ids"][rows]
        begins = (table["reply_to_id"][rows] == 0) & (table["repost_of_id"][rows] == 0)
        begins &= (table["created_ms"][rows] > 0) & ~table["deleted"][rows]
        begins &= ~self._of_authors("protected", self.users.rows_of(authors))
        roots[roots] = begins & ~self.users.gone(authors)
        return roots

    def popular(
        self,
        language: str,
        since_ms: int,
        now_ms: int,
        limit: int,
        reputations: Reputations | None = None,
    ) -> FoundPosts:
        """Recent posts that many engaged with, at most two of an author.

        Ordered as `Popularity` says; exact, so that the best of all shards are the best of all.
        """
        most = 2 * limit
        while True:
            rows, scores = self.popularity.best(
                since_ms=since_ms, now_ms=now_ms, language="", most=most
            )
            n_found = len(rows)
            kept = np.flatnonzero(rank_within(self.table["author_ids"][rows]) < 2)[:limit]
            # Those left out may have taken the places of others further down.
            if len(kept) == limit or n_found < most:
                break
            most *= 4
        rows, scores = rows[kept], scores[kept]
        features = self._features(rows, language, now_ms, reputations)
        return self._found(rows, features, scores)

    def hydrate(
        self,
        post_ids: Ids,
        language: str,
        now_ms: int,
        reputations: Reputations | None = None,
        author_ids: Ids | None = None,
        *,
        with_features: bool = True,
    ) -> FoundPosts:
        """What is known of given posts, in order; unknown ones have `created_ms` 0.

        A post that was replaced by an edit is answered by its newest version. Of one that never
        arrived labels and deletion are told, and, where its supposed author is given (n,), whether
        that one is gone or protected, and labelled.
        """
        rows = self.table.newest_versions(self.table.rows_of(post_ids))
        known = rows >= 0
        features = np.zeros((int(np.count_nonzero(known)), 0), np.float32)
        ranks = np.zeros(len(features), np.float32)
        if with_features:
            features = self._features(rows[known], language, now_ms, reputations)
            ranks = features[:, 0]
        found = self._found(rows[known], features, ranks)
        columns = dict(vars(found))
        if not known.all():
            for name, values in vars(found).items():
                columns[name] = np.zeros((len(rows), *values.shape[1:]), values.dtype)
                columns[name][known] = values
            columns["post_ids"][~known] = post_ids[~known]
        if author_ids is not None:
            self._suppose(columns, author_ids)
        return FoundPosts(**columns)

    def gone(self, post_ids: Ids, author_ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether each post was deleted or its author is gone; not so where none is known."""
        rows = self.table.rows_of(post_ids)
        gone = self.users.gone(author_ids)
        known = rows >= 0
        gone[known] |= self.table["deleted"][rows[known]]
        return gone

    def uris(self, post_ids: Ids) -> list[str | None]:
        """The names that posts came with."""
        rows = self.table.rows_of(post_ids).astype(np.int64)
        uris: list[str | None] = [None] * len(post_ids)
        known = np.flatnonzero(rows >= 0)
        for at, uri in zip(known.tolist(), self.table.uris(rows[known]).to_pylist(), strict=True):
            uris[at] = uri
        return uris

    def _features(
        self,
        rows: npt.NDArray[np.int64],
        language: str,
        now_ms: int,
        reputations: Reputations | None,
    ) -> Floats:
        table, words = self.table, self.users.words
        authors = table["author_ids"][rows]
        author_rows = self.users.rows_of(authors)
        spoken = self._of_authors("language", author_rows)
        about_authors = AuthorFacts(
            followers=self._followers.degrees(authors),
            verified=self._of_authors("verified", author_rows),
            known=author_rows >= 0,
            reputations=reputations.of(authors) if reputations else np.zeros(len(rows), np.float32),
            same_language=(spoken > 0) & (spoken == words.find(language)),
        )
        find = table.languages.find
        languages = Languages(find(language) if language else 0, find("en"), language == "en")
        facts = PostFacts(*(table[name] for name in PostFacts._fields))
        return post_features(facts, rows, about_authors, languages, now_ms)

    def _of_authors(self, name: str, rows: npt.NDArray[np.int32]) -> Array:
        """A column of the user table in rows (n,), zero where a row is −1."""
        column, known = self.users[name], rows >= 0
        values = np.zeros(len(rows), column.dtype)
        values[known] = column[rows[known]]
        return values

    def _found(self, rows: npt.NDArray[np.int64], features: Floats, ranks: Floats) -> FoundPosts:
        table = self.table
        authors = table["author_ids"][rows]
        author_rows = self.users.rows_of(authors)
        post_ids = table["post_ids"][rows]
        return FoundPosts(
            post_ids=post_ids,
            author_ids=authors,
            created_ms=table["created_ms"][rows],
            newest_ids=table["newest_ids"][rows],
            repost_of_ids=table["repost_of_id"][rows],
            links=np.stack([table[name][rows] for name in _LINKS], axis=1),
            linked_author_ids=np.stack([table[name][rows] for name in _LINKED], axis=1),
            topic_ids=table["topic_id"][rows],
            languages=self._languages.of(table["language"][rows]),
            labels=np.stack(
                [self.post_labels.bits_of(post_ids), self.author_labels.bits_of(authors)], axis=1
            ),
            marks=self._marks(rows, author_rows),
            deleted=table["deleted"][rows],
            author_gone=self.users.gone(authors),
            author_protected=self._of_authors("protected", author_rows),
            is_reply=table["reply_to_id"][rows] > 0,
            has_uri=table["uri_bytes"][rows] > 0,
            features=features,
            ranks=ranks,
        )

    def _suppose(self, columns: dict[str, Array], author_ids: Ids) -> None:
        """Write what is known of the supposed authors (n,) of posts that never arrived.

        The author in the table is only whom the first event about the post named.
        """
        rows = np.flatnonzero(columns["created_ms"] == 0)
        if not len(rows):
            return
        authors = author_ids[rows]
        columns["author_ids"][rows] = authors
        columns["author_gone"][rows] = self.users.gone(authors)
        columns["author_protected"][rows] = self._of_authors(
            "protected", self.users.rows_of(authors)
        )
        columns["labels"][rows, 1] = self.author_labels.bits_of(authors)

    def _marks(
        self, rows: npt.NDArray[np.int64], author_rows: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.uint16]:
        table = self.table
        marks = np.zeros(len(rows), np.uint16)
        for mark, on in (
            (Mark.SENSITIVE, table["sensitive"][rows]),
            (Mark.EXCLUSIVE, table["exclusive"][rows]),
            (Mark.IMAGE, table["image_count"][rows] > 0),
            (Mark.VIDEO, table["video_duration_ms"][rows] > 0),
            (Mark.AUTHOR_VERIFIED, self._of_authors("verified", author_rows)),
            (Mark.AUTHOR_CREATOR, self._of_authors("creator", author_rows)),
        ):
            marks |= np.where(on, np.uint16(mark), np.uint16(0))
        return marks


def _write_labels(rows: Rows, subject: str, labels: Labels) -> None:
    names = rows.column("label")
    if len(rows) and names is not None:
        versions = versions_of(rows["time_ms"], rows["event_id"])
        on = rows["kind"] == Kind.SAFETY_LABEL
        labels.write(rows[subject], rows["author_id"], names, rows["value"], versions, on)


def rank_within(group_ids: Ids) -> npt.NDArray[np.int64]:
    """For each element, how many earlier ones share its group: 0, 1, 2, …"""
    order = np.argsort(group_ids, kind="stable")
    ordered = group_ids[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    ranks = np.empty(len(group_ids), np.int64)
    ranks[order] = np.arange(len(ordered)) - np.repeat(starts, lengths)
    return ranks


# Integers, whose sums do not depend on their order.
_POPULARITY_TENTHS = np.zeros(len(COUNTERS), np.int64)
for _kind, _weight in (
    (Kind.FAVOURITE, 10),
    (Kind.REPOST, 20),
    (Kind.REPLY, 10),
    (Kind.QUOTE, 20),
    (Kind.CLICK, 3),
    (Kind.SHOW_LESS, -20),
    (Kind.NOT_INTERESTED, -20),
    (Kind.REPORT, -50),
):
    _POPULARITY_TENTHS[COUNTERS.index(_kind)] = _weight
