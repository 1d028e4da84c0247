"""What every training job is given beside its data, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[str, float], None]
"""Gets what is being done, and the share of it that is."""


class TrainingError(ValueError):
    """There is not enough to learn from; the message says what is missing."""


class NothingNew(TrainingError):
    """What there is was learnt from already."""


@dataclass(frozen=True)
class Trained:
    """The artifact that a job wrote."""

    name: str
    version: str
    metrics: dict[str, Any]
    """As in the artifact's manifest."""
    seconds: dict[str, float] = field(compare=False)
    """Wall clock of each part."""


def silent(what: str, share: float) -> None:
    """A `Progress` that tells nobody."""
