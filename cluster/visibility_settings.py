"""Settings of visibility: who may see sensitive posts, and what a down-ranked post keeps."""

from typing import Literal

from pydantic import Field

from cluster.setting_group import Group


class VisibilitySettings(Group):
    """What the rules of visibility leave to whoever runs the system."""

    adult_age_years: int = Field(18, ge=0, le=150)
    """Younger viewers do not see sensitive posts uncovered, whatever they allow (published)."""
    unknown_age: Literal["minor", "adult"] = "minor"
    """What viewers count as whose age is not known. The published default is not known."""
    minors_in_network: Literal["cover", "drop"] = "cover"
    """What becomes of sensitive posts of accounts that a minor follows. Own; the original has a
    rule for either."""
    recommend_sensitive: bool = False
    """Whether adults who allow sensitive posts are recommended posts with such a label, too
    (published: nobody is). What an author marks as sensitive they are recommended anyway."""
    down_rank: float = Field(0.5, ge=0, le=1)
    """Factor on the score of a down-ranked post. Not published."""
    rules_off: tuple[str, ...] = ()
    """Names of rules that do not apply; those of `docs/visibility.md`. A name that turns nothing
    off is refused at start."""
