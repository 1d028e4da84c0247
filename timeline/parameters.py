"""What a request may ask for: ids, limits and switches, read exactly or refused by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from cluster.ids import MAX_ID

MAX_LIMIT = 100


@dataclass(frozen=True)
class Exactly:
    """What makes a request repeatable: the same again gives the same timeline."""

    now_ms: int | None = None
    seed: int | None = None
    record: bool = True
    """Whether the page leaves anything behind."""

    @property
    def asked(self) -> bool:
        """Whether anything is asked for that an ordinary request may not ask."""
        return self.now_ms is not None or self.seed is not None or not self.record


def integer(low: int, high: int) -> Callable[[Any], int]:
    """A reader of decimal integers: no sign, space, point or digit of another script."""

    def read(value: Any) -> int:
        text = str(value)
        if text.isascii() and text.isdecimal() and len(text) <= 19 and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be an integer between {low} and {high}")

    return read


def switch(value: Any) -> bool:
    """Reads `true` or `false`."""
    words = {"true": True, "false": False}
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise ValueError("must be true or false")


def _documented(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": low, "maximum": high}


Id = Annotated[int, BeforeValidator(integer(1, MAX_ID)), WithJsonSchema(_documented(1, MAX_ID))]
Limit = Annotated[
    int, BeforeValidator(integer(1, MAX_LIMIT)), WithJsonSchema(_documented(1, MAX_LIMIT))
]
TimeMs = Annotated[int, BeforeValidator(integer(1, 2**53)), WithJsonSchema(_documented(1, 2**53))]
Seed = Annotated[int, BeforeValidator(integer(0, MAX_ID)), WithJsonSchema(_documented(0, MAX_ID))]
Switch = Annotated[bool, BeforeValidator(switch), WithJsonSchema({"type": "boolean"})]
