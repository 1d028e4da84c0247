"""Settings of creator analytics: how much of what happened to authors is kept by day."""

from pydantic import Field

from cluster.setting_group import Group

MAX_DAYS = 90


class AnalyticsSettings(Group):
    """Daily counts of each author; none of these was published."""

    days: int = Field(28, ge=1, le=MAX_DAYS)
    """That are kept, UTC, today included."""
    max_rows: int = Field(400_000, ge=100)
    """Pairs of an author and a day that one shard holds of each sort, about 350 bytes in all;
    beyond them the oldest days go first."""
