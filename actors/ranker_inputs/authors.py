"""Inputs of authors, and of what stands between them and the viewer, from the authors' shards."""

import numpy as np
import numpy.typing as npt

from actors.features.families import Family, Place, flag, number
from actors.features.inputs import Level
from actors.features.pair_scores import PAIR_SCORES, dense_pair_scores, sparse_pair_scores
from actors.features.reputation import TWEEPCRED
from actors.likeness import matrix_of, table_of
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.viewer import NEW_ACCOUNT_MS, Person, code_of
from actors.state import ShardState
from actors.stores.posts import COUNTERS
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.stores.words import Words
from actors.two_hop import HOME_PAIRS, EdgeType, LeftLists
from actors.vector_models import Float32s
from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS, HOUR_MS

Floats = npt.NDArray[np.float32]

_POSTS_MS, _MAX_POSTS = 7 * DAY_MS, 30
"""Of an author, the newest posts of a week that are looked at."""
_NO_POST_HOURS = _POSTS_MS / HOUR_MS
_AVERAGED = {
    "favourites": Kind.FAVOURITE,
    "reposts": Kind.REPOST,
    "replies": Kind.REPLY,
    "quotes": Kind.QUOTE,
    "clicks": Kind.CLICK,
    "negative": Kind.SHOW_LESS,
    "impressions": Kind.IMPRESSION,
}
AUTHOR = Family(
    "author",
    "author",
    Level.AUTHOR,
    Place.AUTHORS,
    (
        number("author.followers", "users who follow the author", laptop=True),
        number("author.follows", "users whom the author follows", laptop=True),
        number("author.followers_per_follow", "followers by follows", laptop=True),
        number("author.account_days", "days since the account was created", laptop=True),
        number("author.age_years", "age as the account says; 0 where it does not"),
        number("author.reputation", "Tweepcred's reputation, 0–100", laptop=True),
        number("author.blocked_by", "users who block the author", laptop=True),
        number("author.favourers", "users with a favourite of the author's posts", laptop=True),
        number("author.reposters", "users with a repost or quote of the author's posts"),
        number("author.repliers", "users with a reply to the author's posts"),
        number("author.favours", "authors whom the author favoured a post of"),
        number("author.posts_1d", "posts in the last 24 hours", laptop=True),
        number("author.posts_7d", "posts in the last 7 days, at most 30", laptop=True),
        number("author.reply_share", "share of replies among these posts", laptop=True),
        number("author.repost_share", "share of reposts among these posts"),
        number("author.media_share", "share of posts with image or video among these"),
        number("author.hours_since_post", "hours since the last post", default=_NO_POST_HOURS),
        *(
            number(
                f"author.{name}_per_post",
                f"{name} by post, of these posts",
                laptop=name in ("favourites", "replies"),
            )
            for name in _AVERAGED
        ),
        number("author.most_favourites", "favourites of the most favoured of these posts"),
        number("author.favourites_per_impression", "(favourites + 1) by (impressions + 10)"),
        number("author.communities", "SimClusters communities of the author's audience"),
        number("author.known_for", "the greatest score in a community the author is known for"),
        flag("author.verified", "verified", laptop=True),
        flag("author.new", "account created within 30 days", laptop=True),
        flag("author.same_language", "reads the viewer's language", laptop=True),
        flag("author.same_country", "is in the viewer's country", laptop=True),
        flag("author.has_vector", "TwHIN has a vector of the author"),
    ),
)
LIKENESS = Family(
    "author_likeness",
    "recommendation scores",
    Level.AUTHOR,
    Place.AUTHORS,
    (
        *(
            number(
                f"simclusters.viewer_author.{name}",
                f"{name} of the viewer's interests and the communities of the author's audience",
                laptop=name == "cosine",
            )
            for name in PAIR_SCORES
        ),
        *(
            number(
                f"twhin.{table}_author.{name}",
                f"{name} of the viewer's {words} vector and the author's follow vector",
                laptop=name == "cosine",
            )
            for table, words in (("follow", "follow"), ("engagement", "engagement"))
            for name in ("dot", "cosine")
        ),
    ),
)
_LAPTOP_PAIRS = (
    (EdgeType.FOLLOWING, EdgeType.FOLLOWED_BY),
    (EdgeType.FAVORITE, EdgeType.FAVORITED_BY),
    (EdgeType.MUTUAL_FOLLOW, EdgeType.FOLLOWED_BY),
)
_RIGHTS = tuple(dict.fromkeys(right for _, right in HOME_PAIRS))
TWO_HOP = Family(
    "two_hop",
    "two-hop graph",
    Level.AUTHOR,
    Place.AUTHORS,
    (
        *(
            number(
                f"two_hop.{left.name.lower()}.{right.name.lower()}",
                f"users in the viewer's list {left.name.lower()} and the author's "
                f"{right.name.lower()}",
                laptop=(left, right) in _LAPTOP_PAIRS,
            )
            for left, right in HOME_PAIRS
        ),
        *(
            number(
                f"two_hop.author.{right.name.lower()}",
                f"length of the author's list {right.name.lower()}",
            )
            for right in _RIGHTS
        ),
    ),
)


def authors(state: ShardState, asking: Asking, person: Person, author_ids: Ids) -> Floats:
    """The block of `AUTHOR`, (a, ·)."""
    users, graph, n = state.users, state.graph, len(author_ids)
    rows = users.rows_of(author_ids)
    known = rows >= 0

    def said(name: str) -> npt.NDArray[np.float64]:
        values = np.zeros(n)
        values[known] = users[name][rows[known]]
        return values

    created_ms = said("created_ms")
    age_ms = np.where(created_ms > 0, np.maximum(asking.now_ms - created_ms, 0), 0)
    followers = state.followers.degrees(author_ids).astype(np.float64)
    follows = graph.follows.degrees(author_ids).astype(np.float64)
    reputations = np.zeros(n)
    if version := asking.version(TWEEPCRED):
        reputations = state.models.reputations(version).of(author_ids).astype(np.float64)
    communities, known_for, has_vector = _representations(state, asking, author_ids)
    same = [
        (codes > 0) & (codes == users.words.find(word))
        for codes, word in ((said("language"), person.language), (said("country"), person.country))
    ]
    columns = (
        *(followers, follows, followers / np.maximum(follows, 1), age_ms / DAY_MS),
        *(said("age_years"), reputations, graph.blocked_by.degrees(author_ids)),
        *(graph.engaged_by.degrees(author_ids, column) for column in range(3)),
        graph.engaged.degrees(author_ids, 0),
        *_of_posts(state, author_ids, asking.now_ms),
        *(communities, known_for),
        said("verified"),
        (created_ms > 0) & (age_ms < NEW_ACCOUNT_MS),
        *(*same, has_vector),
    )
    return np.column_stack(columns).astype(np.float32)


def author_codes(state: ShardState, author_ids: Ids) -> Ids:
    """Author, language and country, as discrete inputs (a, 3)."""
    rows = state.users.rows_of(author_ids)
    codes = np.zeros((len(rows), 3), np.int64)
    codes[:, 0] = author_ids
    known = rows >= 0
    words = state.users.words
    for column, name in enumerate(("language", "country"), 1):
        codes[known, column] = ids_of_words(words, state.users[name][rows[known]])
    return codes


def ids_of_words(words: Words, codes: npt.NDArray[np.int16]) -> Ids:
    """The same number everywhere for the word of each code; 0 for none."""
    found, at = np.unique(codes, return_inverse=True)
    return np.array([code_of(words.word(code) or "") for code in found.tolist()], np.int64)[at]


def likeness(state: ShardState, asking: Asking, author_ids: Ids) -> Floats:
    """The block of `LIKENESS`, (a, ·)."""
    n = len(author_ids)
    values = np.zeros((n, len(LIKENESS.columns)), np.float32)
    models = asking.vector_models(state)
    if models is None or not n:
        return values
    viewer, producers = matrix_of(models, "interested_in"), matrix_of(models, "producers")
    mine = viewer.take(viewer.rows_of(asking.viewer))
    values[:, : len(PAIR_SCORES)] = one_to_many(mine, producers, producers.rows_of(author_ids))
    theirs, _ = table_of(models, "author_follow").of(author_ids)
    at = len(PAIR_SCORES)
    for name in ("user_follow", "user_engagement"):
        own, has = table_of(models, name).of(asking.viewer)
        if has[0] and own.shape[1] == theirs.shape[1]:
            values[:, at : at + 2] = dense_pair_scores(own, theirs)
        at += 2
    return values


def one_to_many(one: SparseEmbeddings, many: SparseEmbeddings, rows: Ids) -> Float32s:
    """Scores of one row with rows of a matrix (n,), −1 for none: (n, len(PAIR_SCORES))."""
    return sparse_pair_scores(one, np.zeros(len(rows), np.int64), many, rows)


def author_vectors(state: ShardState, asking: Asking, author_ids: Ids) -> Float32s:
    """TwHIN's follow vectors of authors, (a, dimensions); zeros where there is none."""
    return vectors_of(state, asking, "author_follow", author_ids)


def vectors_of(state: ShardState, asking: Asking, table: str, user_ids: Ids) -> Float32s:
    """Users' vectors of one table; zeros where there is none, or not of the model's length."""
    models = asking.vector_models(state)
    if models is not None:
        vectors, _ = table_of(models, table).of(user_ids)
        if vectors.shape[1] == asking.vector_dimensions:
            return vectors
    return np.zeros((len(user_ids), asking.vector_dimensions), np.float32)


def two_hop(state: ShardState, asking: Asking, left: LeftLists, author_ids: Ids) -> Floats:
    """The block of `TWO_HOP`, (a, ·)."""
    pairs = HOME_PAIRS if asking.selection == "twitter" else _LAPTOP_PAIRS
    found = state.graph.two_hop.counts(left, author_ids, pairs)
    values = np.zeros((len(author_ids), len(TWO_HOP.columns)), np.float32)
    for column, (pair_left, right) in enumerate(pairs):
        values[:, HOME_PAIRS.index((pair_left, right))] = found.counts[:, column]
        values[:, len(HOME_PAIRS) + _RIGHTS.index(right)] = found.right_degrees[:, column]
    return values


def _of_posts(state: ShardState, author_ids: Ids, now_ms: int) -> list[npt.NDArray[np.floating]]:
    """What is told of authors' newest posts of a week, column by column."""
    n, table = len(author_ids), state.posts.table
    rows = table.of_authors(author_ids, max(now_ms - _POSTS_MS, 0), now_ms + 1, _MAX_POSTS)
    # Rows come author by author, in the order asked, which is ascending.
    at = np.searchsorted(author_ids, table["author_ids"][rows])
    starts = np.flatnonzero(np.diff(at, prepend=-1))
    some = at[starts]
    counts = np.maximum(table["counts"].take(rows, 0), 0)
    age_ms = now_ms - table["created_ms"][rows]
    media = (table["image_count"][rows] > 0) | (table["video_duration_ms"][rows] > 0)
    replies, reposts = table["reply_to_id"][rows] > 0, table["repost_of_id"][rows] > 0
    marks = np.stack([age_ms < DAY_MS, np.ones(len(rows), bool), replies, reposts, media], axis=1)
    of_day, n_posts, n_replies, n_reposts, n_media = _by_author(marks, starts, some, n).T
    engaged = _by_author(counts, starts, some, n)
    hours, most = np.full(n, _NO_POST_HOURS), np.zeros(n)
    if len(starts):
        hours[some] = np.minimum.reduceat(age_ms, starts) / HOUR_MS
        most[some] = np.maximum.reduceat(counts[:, _FAVOURITES], starts)
    posts = np.maximum(n_posts, 1)
    rate = (engaged[:, _FAVOURITES] + 1) / (engaged[:, COUNTERS.index(Kind.IMPRESSION)] + 10)
    return [
        *(of_day, n_posts, n_replies / posts, n_reposts / posts, n_media / posts, hours),
        *(engaged[:, COUNTERS.index(kind)] / posts for kind in _AVERAGED.values()),
        *(most, rate),
    ]


_FAVOURITES = COUNTERS.index(Kind.FAVOURITE)


def _by_author(
    values: npt.NDArray[np.integer] | npt.NDArray[np.bool_], starts: Ids, some: Ids, n: int
) -> npt.NDArray[np.float64]:
    """Sums of rows (m, ·) that begin at `starts`, for the authors `some` of n."""
    sums = np.zeros((n, values.shape[1]))
    if len(starts):
        sums[some] = np.add.reduceat(values, starts, axis=0, dtype=np.int64)
    return sums


def _representations(
    state: ShardState, asking: Asking, author_ids: Ids
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How many communities an author's audience has, the best known-for score, has a vector."""
    n = len(author_ids)
    communities, best = np.zeros(n), np.zeros(n)
    models = asking.vector_models(state)
    if models is None:
        return communities, best, np.zeros(n, bool)
    for name, out in (("producers", communities), ("known_for", best)):
        matrix = matrix_of(models, name)
        rows = matrix.rows_of(author_ids)
        held = rows >= 0
        first, end = matrix.offsets[rows[held]], matrix.offsets[rows[held] + 1]
        # A row begins with its best score.
        out[held] = end - first if name == "producers" else matrix.scores[first]
    return communities, best, table_of(models, "author_follow").holds(author_ids)
