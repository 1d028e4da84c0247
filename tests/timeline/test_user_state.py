"""User states by the age of the account and by active days."""

import pytest
from pydantic import ValidationError

from actors.viewer_state import ViewerState
from cluster.user_state_settings import DAY_MS, UserStateSettings
from timeline.user_state import UserState, is_light, user_state

NOW_MS = 1_700_000_000_000
OLD_MS = NOW_MS - 400 * DAY_MS


@pytest.mark.parametrize(
    ("created_ms", "active_days", "expected"),
    [
        (0, 0, UserState.NEAR_ZERO),
        (0, 28, UserState.HEAVY),
        (NOW_MS, 28, UserState.NEW),
        (NOW_MS - 7 * DAY_MS + 1, 0, UserState.NEW),
        (NOW_MS - 7 * DAY_MS, 0, UserState.NEAR_ZERO),
        (OLD_MS, 1, UserState.NEAR_ZERO),
        (OLD_MS, 2, UserState.VERY_LIGHT),
        (OLD_MS, 4, UserState.VERY_LIGHT),
        (OLD_MS, 5, UserState.LIGHT),
        (OLD_MS, 10, UserState.LIGHT),
        (OLD_MS, 11, UserState.MEDIUM),
        (OLD_MS, 20, UserState.MEDIUM),
        (OLD_MS, 21, UserState.HEAVY),
        (OLD_MS, 28, UserState.HEAVY),
    ],
)
def test_states(created_ms: int, active_days: int, expected: UserState) -> None:
    viewer = ViewerState(created_ms=created_ms, active_days=active_days)
    assert user_state(viewer, NOW_MS, UserStateSettings()) is expected


def test_thresholds_are_settings() -> None:
    chosen = UserStateSettings(
        new_ms=0, near_zero_days=0, very_light_days=0, light_days=0, medium_days=1
    )
    found = [
        user_state(ViewerState(created_ms=NOW_MS, active_days=days), NOW_MS, chosen)
        for days in range(3)
    ]
    assert found == [UserState.NEAR_ZERO, UserState.MEDIUM, UserState.HEAVY]
    with pytest.raises(ValidationError, match="must not fall"):
        UserStateSettings(light_days=21)


def test_only_heavy_users_keep_the_ordinary_windows() -> None:
    assert [state.label for state in UserState if is_light(state)] == [
        *("new", "near_zero", "very_light", "light", "medium"),
    ]
    assert not is_light(UserState.HEAVY)
