"""Settings of what happens to candidates once they are ranked; published values unless said."""

from pydantic import Field

from cluster.setting_group import Group

_MOST = 100.0
"""Bound of every multiplier that is a feature switch in the original."""


class FactorSettings(Group):
    """Multipliers of a score; 1 is off."""

    light_ranker_share: float = Field(0.5, ge=0, le=1)
    """Of the light ranker in the score of both, their geometric mean with this weight; the rest is
    the heavy ranker's. 0 is off: the heavy ranker ranks alone (published)."""
    out_of_network: float = Field(1.0, ge=0, le=_MOST)
    """Of authors whom the viewer does not follow."""
    reply: float = Field(0.75, ge=0, le=_MOST)
    verified_in_network: float = Field(1.0, ge=0, le=_MOST)
    """Of original posts (no reply, no repost) by verified authors (published: 4, which dwarfs
    everything else here)."""
    verified_out_of_network: float = Field(1.0, ge=0, le=_MOST)
    """The same of those the viewer does not follow (published: 2)."""
    creator_in_network: float = Field(1.0, ge=0, le=_MOST)
    """Of original posts by authors who have subscribers (published: 1.1)."""
    creator_out_of_network: float = Field(1.0, ge=0, le=_MOST)
    """The same of those the viewer does not follow (published: 1.3)."""
    image: float = Field(1.0, ge=0, le=_MOST)
    """Of posts with images and no video. Not published."""
    video: float = Field(1.0, ge=0, le=_MOST)
    """Of posts with video. Not published."""
    source_decay: float = Field(1.0, gt=0, le=1)
    """From one post of a candidate source to its next best. Not published."""
    source_floor: float = Field(0.25, ge=0, le=1)
    """What remains of the score of a source's last posts."""
    impressed_author_decay: float = Field(1.0, gt=0, le=1)
    """For each post of an author that the viewer saw lately, if the viewer engaged with none.
    Not published."""
    impressed_author_floor: float = Field(0.25, ge=0, le=1)


class FatigueSettings(Group):
    """What *see less of this* does to the posts of whom it was said about, in whole days."""

    block_days: int = Field(14, ge=0)
    """For so long they are not shown at all."""
    ramp_days: int = Field(140, ge=1)
    """Then their scores grow back to what they were, in a straight line,"""
    start: float = Field(0.2, ge=0, le=1)
    """from this multiplier on. Where nothing is blocked the line begins at day 0, below it."""


class LateFilterSettings(Group):
    """What the filters after scoring let pass."""

    own_proof_sources: tuple[str, ...] = ("lists", "popular_videos", "popular")
    """Sources that need no second-degree connection: they are a reason themselves (published:
    ranked lists, recommended trends, media). `popular` is what a viewer without a network has."""
    verified_need_no_proof: bool = False
    """Whether verified authors need none, either (published: true)."""
    support_author_ids: tuple[int, ...] = ()
    """Accounts that answer customers, beside those with the label below."""
    support_label: str = "support_account"
    """Safety label of an account that makes it one, where it is among the known labels."""
    support_reply_ms: int = Field(60_000, ge=0)
    """Their replies sooner than this after what they reply to are not shown."""
    competitor_author_ids: tuple[int, ...] = ()
    """Authors whose posts are not recommended."""
    competitor_linked_ids: tuple[int, ...] = ()
    """Authors of whom no quote and no repost is recommended. (The original looks for parts of
    URLs, of which events tell nothing.)"""


class BalanceSettings(Group):
    """How a page is put together."""

    in_network_share: float | None = Field(0.5, ge=0, le=1)
    """Of the posts on a page by authors whom the viewer follows, where there are enough of both;
    a viewer's own choice wins. None leaves it to the scores (published: no explicit share, but
    one of one half on average)."""
    untrained_in_network_share: float = Field(0.8, ge=0, le=1)
    """The least of a share that is set, while no light ranker was trained: until then a stranger's
    post is a guess, and whom the viewer follows is none. Not published."""
    max_out_of_network_run: int = Field(2, ge=1)
    """Posts in a row by authors whom the viewer does not follow."""
    max_author_run: int = Field(2, ge=1)
    """Posts in a row by one author. Not published (Earlybird's searches: 2)."""
    newer_tail: int = Field(5, ge=0)
    """What a request for newer posts keeps of those out of network after the last other one,"""
    newer_tail_share: float = Field(0.1, ge=0, le=1)
    """or this share of them, where that is more."""


class HeuristicsSettings(Group):
    """Factors on scores, late filters, and the balance of a page."""

    factors: FactorSettings = FactorSettings()
    fatigue: FatigueSettings = FatigueSettings()
    filters: LateFilterSettings = LateFilterSettings()
    balance: BalanceSettings = BalanceSettings()
