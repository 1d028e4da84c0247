"""The base of every group of settings: frozen, and strict about names."""

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """Settings that belong together; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
