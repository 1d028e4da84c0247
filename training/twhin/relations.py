"""The network's node tables and relations: which kind of edge joins which two tables.

Users have separate vectors for following and for engaging, and authors one as who is followed,
as the original's rankers read them. All tables have the same number of dimensions.

`author_of` joins an author as who is followed (`author_follow`), and not as who engages, with
the post: it is the one relation that ties the graph of follows to that of engagements, so that
a post lies near what the followers of its author follow.
"""

from dataclasses import dataclass

from cluster.events import Kind

USER_FOLLOW = "user_follow"
USER_ENGAGEMENT = "user_engagement"
AUTHOR_FOLLOW = "author_follow"
POSTS = "posts"
TABLES = (USER_FOLLOW, USER_ENGAGEMENT, AUTHOR_FOLLOW, POSTS)
"""Names of the node tables, in the order in which lookups are laid out."""


@dataclass(frozen=True)
class Relation:
    """A kind of directed edge, from a row of one table to a row of another."""

    name: str
    lhs: str
    rhs: str


RELATIONS = (
    Relation("follow", USER_FOLLOW, AUTHOR_FOLLOW),
    Relation("favourite", USER_ENGAGEMENT, POSTS),
    Relation("reply", USER_ENGAGEMENT, POSTS),
    Relation("repost", USER_ENGAGEMENT, POSTS),
    Relation("quote", USER_ENGAGEMENT, POSTS),
    Relation("author_of", AUTHOR_FOLLOW, POSTS),
)
"""An edge's `rel` is a place in this tuple."""
FOLLOW, AUTHOR_OF = 0, 5
ENGAGEMENT_RELATIONS = {Kind.FAVOURITE: 1, Kind.REPLY: 2, Kind.REPOST: 3, Kind.QUOTE: 4}
"""Kind of engagement → its relation."""
