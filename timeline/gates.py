"""Gates: when a module may stand on a page.

They are the published ones: on, the page, the interval since it was served last, and dismissal
fatigue.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actors.viewer_state import ViewerState
from cluster.mixer_settings import DismissalSettings, ModuleSettings
from timeline.query import Query
from timeline.user_state import UserState, user_state


@dataclass(frozen=True)
class Moment:
    """What decides which modules a page may have."""

    product: str
    now_ms: int
    state: ViewerState
    n_follows: int
    is_new: bool
    """The viewer is new here, or as good as: new, or active on next to no day."""
    first_page: bool = True

    @staticmethod
    def of(query: Query, product: str, *, first_page: bool) -> "Moment":
        """The moment of a request whose viewer's context was fetched."""
        state = user_state(query.state, query.now_ms, query.settings.user_states)
        return Moment(
            *(product, query.now_ms, query.state, len(query.viewer.follows)),
            is_new=state <= UserState.NEAR_ZERO,
            first_page=first_page,
        )


def closed_gate(
    moment: Moment, name: str, rules: ModuleSettings, dismissals: DismissalSettings
) -> str | None:
    """The first gate that is closed to a module; None where it may stand."""
    return next((g.name for g in GATES if not g.is_open(moment, name, rules, dismissals)), None)


@dataclass(frozen=True)
class Gate:
    """A condition of every module."""

    name: str
    is_open: Callable[[Moment, str, ModuleSettings, DismissalSettings], bool]
    """Of a moment, a module by name, its settings, and those of dismissals."""


def _interval_over(moment: Moment, name: str, rules: ModuleSettings, _: DismissalSettings) -> bool:
    last_ms = moment.state.modules_ms.get(name)
    return last_ms is None or moment.now_ms - last_ms >= rules.interval_ms


def _fatigue_over(moment: Moment, name: str, _: ModuleSettings, rules: DismissalSettings) -> bool:
    count, last_ms = moment.state.dismissals.get(name, (0, 0))
    return moment.now_ms - last_ms >= rules.fatigue_ms * min(count, rules.max_count)


GATES: tuple[Gate, ...] = (
    Gate("on", lambda moment, _, rules, __: rules.on and moment.product in rules.products),
    Gate("page", lambda moment, _, rules, __: moment.first_page or rules.pages == "all"),
    Gate("interval", _interval_over),
    Gate("dismissals", _fatigue_over),
)
"""In the order in which they are asked."""
