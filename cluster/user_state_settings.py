"""Settings of how active users are told apart."""

from pydantic import Field, model_validator

from cluster.setting_group import Group

DAY_MS = 86_400_000


class UserStateSettings(Group):
    """Up to where each user state goes, by active days of the last 28.

    The original's thresholds are not public; these are ours.
    """

    new_ms: int = Field(7 * DAY_MS, ge=0)
    """An account younger than this is new, however active."""
    near_zero_days: int = Field(1, ge=0, le=28)
    """Near zero up to so many active days,"""
    very_light_days: int = Field(4, ge=0, le=28)
    """very light up to these,"""
    light_days: int = Field(10, ge=0, le=28)
    """light up to these,"""
    medium_days: int = Field(20, ge=0, le=28)
    """medium up to these, and heavy above."""

    @model_validator(mode="after")
    def _in_order(self) -> "UserStateSettings":
        days = (self.near_zero_days, self.very_light_days, self.light_days, self.medium_days)
        if list(days) != sorted(days):
            raise ValueError(f"active days of user states must not fall, got {days}")
        return self
