"""Settings of feature switches: experiments, their arms, and who may be in them."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, model_validator

from cluster.setting_group import Group

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,60}$")]
"""Of experiments, arms and layers: written into served events as `experiment:arm`."""


class Cohort(Group):
    """Whom an experiment is for: every condition given has to hold."""

    countries: tuple[str, ...] = ()
    """Any of them; none given for all. As in user events."""
    languages: tuple[str, ...] = ()
    """Any of them; none given for all. As in user events."""
    account_age_days_below: float | None = Field(None, gt=0)
    """New users: those whose account is younger. One of unknown age is not in."""
    user_ids: tuple[int, ...] = ()
    """Any of them; none given for all."""


class ArmSettings(Group):
    """One of the ways an experiment treats a viewer."""

    name: Name
    percent: float = Field(ge=0, le=100)
    """Of the experiment's viewers; an arm of 0 is prepared and off."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted path of a setting → its value in this arm; none for a control."""


class ExperimentSettings(Group):
    """One experiment: its arms share its viewers; whom no arm takes is not in it."""

    name: Name
    salt: str = ""
    """Decides, with a viewer's id, the viewer's arm; default the name. Another salt draws anew,
    and two experiments of one salt draw alike."""
    layer: Name | None = None
    """Experiments of one layer never meet in one viewer: each has slots of its own."""
    slots: tuple[float, float] = (0.0, 100.0)
    """Which part of the layer's viewers, from and until, in per cent. What other experiments
    of the layer do moves nobody."""
    cohort: Cohort = Cohort()
    arms: tuple[ArmSettings, ...]

    @model_validator(mode="after")
    def _arms_fit(self) -> "ExperimentSettings":
        if not self.arms:
            raise ValueError(f"{self.name!r} has no arms")
        _distinct((arm.name for arm in self.arms), f"arms of {self.name!r}")
        total = sum(arm.percent for arm in self.arms)
        # Thirds do not add up exactly.
        if total > 100 + 1e-6:
            raise ValueError(f"arms of {self.name!r} take {total:g} per cent, at most 100")
        low, high = self.slots
        if not 0 <= low < high <= 100:
            raise ValueError(f"slots of {self.name!r} must rise within 0 … 100")
        if self.layer is None and self.slots != (0.0, 100.0):
            raise ValueError(f"slots of {self.name!r} are those of a layer, and none is named")
        return self


class SwitchSettings(Group):
    """Feature switches: what is tried out on whom."""

    experiments: tuple[ExperimentSettings, ...] = ()

    @model_validator(mode="after")
    def _experiments_fit(self) -> "SwitchSettings":
        _distinct((one.name for one in self.experiments), "experiments")
        for layer in {one.layer for one in self.experiments} - {None}:
            inside = [one for one in self.experiments if one.layer == layer]
            for before, after in pairwise(sorted(inside, key=lambda one: one.slots)):
                if after.slots[0] < before.slots[1]:
                    raise ValueError(
                        f"{before.name!r} and {after.name!r} share slots of the layer {layer!r}"
                    )
        return self


def _distinct(names: Iterable[str], of_what: str) -> None:
    listed = list(names)
    for name in listed:
        if listed.count(name) > 1:
            raise ValueError(f"two {of_what} are named {name!r}")
