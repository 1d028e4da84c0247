"""Settings of the products beside For You."""

from pydantic import Field

from cluster.setting_group import Group

HOUR_MS = 3_600_000


class TopPostsSettings(Group):
    """The best of what came since the viewer left. Nothing of it is published."""

    limit: int = Field(10, ge=1, le=100)
    """Posts, unless the request says how many."""
    window_ms: int = Field(14 * 24 * HOUR_MS, ge=1)
    """Older posts are not shown, however long the viewer was away."""
    unknown_ms: int = Field(24 * HOUR_MS, ge=1)
    """How far back to look where nobody knows when the viewer left."""
    visit_gap_ms: int = Field(HOUR_MS // 2, ge=0)
    """Requests closer together than this belong to one visit."""


class ProductSettings(Group):
    """Following, lists, and top posts since the last visit."""

    max_followed: int = Field(10_000, ge=1, le=50_000)
    """Newest follows of a viewer, whose posts Following holds and who count as followed wherever
    a post is found; those of whom For You looks for the best are in `for_you`."""
    following_own_posts: bool = True
    """Whether Following holds the viewer's own posts, too (published)."""
    list_members: int = Field(5_000, ge=1)
    """Members of a list whose posts are read, those added last; no list of the original may
    have more."""
    top_posts: TopPostsSettings = TopPostsSettings()
