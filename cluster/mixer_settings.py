"""Settings of what stands between the posts of a timeline; published values unless said."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from cluster.setting_group import Group

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

MixedProduct = Literal["for_you", "following"]
"""Timelines that have anything but posts; lists have not (published)."""

_BOTH: tuple[MixedProduct, ...] = ("for_you", "following")


class ModuleSettings(Group):
    """One sort of module; each sort has its own defaults."""

    on: bool = True
    products: tuple[MixedProduct, ...] = _BOTH
    pages: Literal["first", "all"] = "first"
    """Whether it may stand on later pages of a cursor chain too. Not published."""
    position: int = Field(0, ge=0, le=1_000)
    """Index on the page, from 0; a shorter page has it at its end."""
    interval_ms: int = Field(0, ge=0)
    """Least time between two of them."""
    min_items: int = Field(1, ge=1)
    """With fewer the module is left out."""
    max_items: int = Field(1, ge=1, le=100)

    @model_validator(mode="after")
    def _least_is_not_most(self) -> "ModuleSettings":
        if self.min_items > self.max_items:
            raise ValueError(f"min_items {self.min_items} is more than max_items {self.max_items}")
        return self


class WhoToFollowSettings(ModuleSettings):
    """Accounts to follow."""

    position: int = Field(5, ge=0, le=1_000)
    interval_ms: int = Field(1_800 * 60_000, ge=0, le=6_000 * 60_000)
    min_items: int = Field(3, ge=1)
    max_items: int = Field(20, ge=1, le=100)
    budget_ms: int = Field(800, ge=1)
    """For finding the accounts."""


class WhoToSubscribeSettings(ModuleSettings):
    """Creators to subscribe to; it shares the budget of `who_to_follow`."""

    products: tuple[MixedProduct, ...] = ("for_you",)
    position: int = Field(7, ge=0, le=1_000)
    interval_ms: int = Field(1_800 * 60_000, ge=0, le=6_000 * 60_000)
    min_items: int = Field(3, ge=1)
    max_items: int = Field(20, ge=1, le=100)


class PostPreviewSettings(ModuleSettings):
    """The beginning of one post for subscribers, by a creator to whom the viewer is none."""

    products: tuple[MixedProduct, ...] = ("for_you",)
    position: int = Field(3, ge=0, le=1_000)
    interval_ms: int = Field(2 * HOUR_MS, ge=0, le=600 * 60_000)
    max_items: int = Field(1, ge=1, le=1)
    window_ms: int = Field(7 * DAY_MS, ge=1)
    """Older posts are not previewed."""
    max_found: int = Field(200, ge=1)
    """The newest posts among which one is chosen."""


class TopicsSettings(ModuleSettings):
    """Topics to follow. Nothing of it is published; interval and sizes are those of
    `who_to_follow`."""

    position: int = Field(9, ge=0, le=1_000)
    interval_ms: int = Field(1_800 * 60_000, ge=0, le=6_000 * 60_000)
    min_items: int = Field(3, ge=1)
    max_items: int = Field(20, ge=1, le=100)


class PromptSettings(ModuleSettings):
    """A prompt that helps new users to begin; one a page at most. The interval and what makes
    a prompt due are not published."""

    position: int = Field(0, ge=0, le=1_000)
    interval_ms: int = Field(DAY_MS, ge=0)
    """Between two of the same prompt."""
    few_follows: int = Field(10, ge=0)
    """Who follows fewer is prompted to follow accounts."""


class NewPostsSettings(Group):
    """The pill that tells of new posts."""

    on: bool = True
    max_avatars: int = Field(3, ge=1, le=10)
    """Authors shown on it."""
    delay_ms: int = Field(4 * 60_000, ge=0)
    """The client waits so long before it shows the pill; not where the viewer refreshed."""


class DismissalSettings(Group):
    """How long a dismissed module stays away: so long times the dismissals, up to the most."""

    fatigue_ms: int = Field(7 * DAY_MS, ge=0)
    max_count: int = Field(4, ge=1)


class AdsSettings(Group):
    """Where ads come from and where they may stand. The original's spacing is not public; the
    rules are this project's own (`docs/mixing.md`)."""

    source: Literal["none", "file", "http"] = "none"
    file: Path | None = None
    """Of source `file`: JSON, read again when it changes."""
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Of source `http`: where to POST."""
    token_file: Path | None = None
    """Of source `http`: holds the bearer token to send; read at start."""
    timeout_ms: int = Field(1_200, ge=1)
    """For one answer, less where less of the request's time is left (published)."""
    max_bytes: int = Field(256 * 1024, ge=64)
    """Of an answer, or of the file."""
    max_offered: int = Field(20, ge=1, le=100)
    """Ads asked for; more are refused."""
    max_organic: int = Field(35, ge=1)
    """Posts that the ad server is told of (published)."""
    failures_to_pause: int = Field(5, ge=1)
    """After so many failures in a row nobody is asked for `pause_ms`."""
    pause_ms: int = Field(5_000, ge=0)
    products: tuple[MixedProduct, ...] = _BOTH
    min_before: int = Field(1, ge=1)
    """Posts before the first ad of a chain of pages, so that none is at index 0."""
    min_between: int = Field(4, ge=1, le=200)
    """Posts between two ads, on one page or across two."""
    max_share: float = Field(0.2, ge=0, le=0.5)
    """Of ads among the ads and posts of a page."""
    max_per_advertiser: int = Field(1, ge=1)
    """On a page."""
    max_per_day: int = Field(50, ge=0, le=1_000)
    """Ads that a viewer is served in 24 hours, whatever the timeline."""
    adult_age: int = Field(18, ge=0)
    """Ads for adults need a viewer known to be as old in years."""

    @model_validator(mode="after")
    def _source_is_named(self) -> "AdsSettings":
        if self.source == "file" and self.file is None:
            raise ValueError("source 'file' needs the setting 'file'")
        if self.source == "http" and not self.url:
            raise ValueError("source 'http' needs the setting 'url'")
        return self


class MixerSettings(Group):
    """Everything on a page that is not a post."""

    who_to_follow: WhoToFollowSettings = WhoToFollowSettings()
    who_to_subscribe: WhoToSubscribeSettings = WhoToSubscribeSettings()
    post_preview: PostPreviewSettings = PostPreviewSettings()
    topics: TopicsSettings = TopicsSettings()
    prompt: PromptSettings = PromptSettings()
    new_posts: NewPostsSettings = NewPostsSettings()
    dismissals: DismissalSettings = DismissalSettings()
    ads: AdsSettings = AdsSettings()
