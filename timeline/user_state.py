"""How active a user is: new, or from near zero to heavy by the days of the last four weeks."""

from enum import IntEnum

from actors.viewer_state import ViewerState
from cluster.user_state_settings import UserStateSettings


class UserState(IntEnum):
    """The original's states, without its split of medium users by whether they post."""

    NEW = 1
    NEAR_ZERO = 2
    VERY_LIGHT = 3
    LIGHT = 4
    MEDIUM = 5
    HEAVY = 6

    @property
    def label(self) -> str:
        """The name in JSON: `near_zero`."""
        return self.name.lower()


def user_state(viewer: ViewerState, now_ms: int, settings: UserStateSettings) -> UserState:
    """New by the age of the account, where that is known; else by active days."""
    if viewer.created_ms and now_ms - viewer.created_ms < settings.new_ms:
        return UserState.NEW
    for state, days in (
        (UserState.NEAR_ZERO, settings.near_zero_days),
        (UserState.VERY_LIGHT, settings.very_light_days),
        (UserState.LIGHT, settings.light_days),
        (UserState.MEDIUM, settings.medium_days),
    ):
        if viewer.active_days <= days:
            return state
    return UserState.HEAVY


def is_light(state: UserState) -> bool:
    """Whether windows are widened: all but heavy users, as the original's in-network source."""
    return state is not UserState.HEAVY
