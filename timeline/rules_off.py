"""Names of rules that settings turn off: one that turns nothing off is refused, not passed over."""

import difflib

from cluster.settings import Settings, SettingsError
from cluster.switches import Switches
from cluster.visibility_settings import VisibilitySettings
from timeline.visibility_rules import RULES

_FREE = tuple(rule.name for rule in RULES if not rule.hard)
_HARD = frozenset(rule.name for rule in RULES if rule.hard)


def check_rules_off(settings: Settings) -> None:
    """Raise `SettingsError` for a name in `rules_off`, or in an experiment's, of no rule that can
    be turned off: the message names the path and the rule that may be meant."""
    _refuse("", settings.visibility)
    switches = Switches(settings, settings.switches)
    for experiment in settings.switches.experiments:
        for arm in experiment.arms:
            chosen = switches.in_arms([f"{experiment.name}:{arm.name}"]).settings
            where = f"switches: experiment {experiment.name!r}, arm {arm.name!r}: "
            _refuse(where, chosen.visibility)


def wrong_rules(settings: VisibilitySettings) -> list[str]:
    """What is wrong with each name in `rules_off` that turns nothing off."""
    return [_wrong(name) for name in settings.rules_off if name not in _FREE]


def _refuse(where: str, settings: VisibilitySettings) -> None:
    wrong = wrong_rules(settings)
    if wrong:
        raise SettingsError(f"{where}visibility.rules_off: {'; '.join(wrong)}")


def _wrong(name: str) -> str:
    if name in _HARD:
        return f"the rule {name!r} cannot be turned off"
    near = difflib.get_close_matches(name, _FREE, n=1)
    return f"no such rule {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
