"""What would other settings have shown: one request made twice, and what moved in between.

Both are made of the same instant and seed, and leave nothing behind. Why a post moved is read
from the two traces: whatever part of its score, of its sources or of its filters differs.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.problems import FieldError, ProblemError
from cluster.settings import Settings
from cluster.source_settings import SourceName
from cluster.switches import SwitchError, overridden
from timeline.explain import Explained, pack_trace
from timeline.pages import Page
from timeline.parameters import Limit
from timeline.rules_off import wrong_rules
from timeline.score_parts import ModelOf

FOR_READERS = (
    *("heavy_ranker.weights", "heuristics.factors", "heuristics.balance"),
    *("for_you.diversity_decay", "for_you.diversity_floor"),
)
"""Settings of which anybody who may read may ask: what they change is an order. Sizes, which cost
time, and what keeps posts from being shown are for the scope admin."""
MAX_CHANGES = 100
_WEIGHTS = "heavy_ranker.weights."

Make = Callable[[Settings | None], Page]
"""Makes the page with settings, None for the viewer's own; always the same for the same."""


class Asked(BaseModel):
    """What is to be different."""

    model_config = ConfigDict(extra="forbid")

    weights: dict[str, float] = Field(default_factory=dict, max_length=MAX_CHANGES)
    """Head of the heavy ranker → what its probability is worth."""
    settings: dict[str, Any] = Field(default_factory=dict, max_length=MAX_CHANGES)
    """Dotted path of a setting that requests may differ in → its value."""
    sources_off: list[SourceName] = Field(default_factory=list, max_length=MAX_CHANGES)
    """Candidate sources that are not asked."""
    limit: Limit = 20
    """Items of either page."""


def asked_of(body: bytes) -> Asked:
    """What a JSON body asks. Raises `ProblemError`, which names the field."""
    try:
        content = json.loads(body, object_pairs_hook=_distinct, parse_constant=_no_number)
        return Asked.model_validate(content)
    except ValidationError as error:
        raise _invalid(
            [
                FieldError(
                    ".".join(map(str, e["loc"])) or "body", e["msg"].removeprefix("Value error, ")
                )
                for e in error.errors()
            ]
        ) from error
    except RecursionError:
        raise ProblemError("malformed-body", "the body is nested too deeply") from None
    except ValueError as error:
        raise ProblemError("malformed-body", f"the body is not JSON: {error}") from None


class WhatIf:
    """Compares pages of For You; thread-safe.

    `kinds` are those of each product's stages (`explain.stage_kinds`); `light_ranker` is as in
    `Explained`.
    """

    def __init__(self, kinds: Mapping[str, Mapping[str, str]], light_ranker: ModelOf) -> None:
        self._kinds = kinds
        self._light_ranker = light_ranker

    def compare(self, asked: Asked, make: Make, *, operator: bool) -> dict[str, Any]:
        """Both pages and what moved, as a `WhatIfAnswer`.

        What is changed are the viewer's own settings, those of the experiments that the viewer
        is part of; whether a change fits is known once a page was made with these. Raises
        `ProblemError` for changes that cannot be made, and for those that only an `operator` may
        ask for.
        """
        changes, off = _changes(asked), frozenset(asked.sources_off)
        own = make(None)
        other = _changed(own.settings, changes, operator=operator)
        if off:
            other = overridden(other, {"sources.off": (*other.sources.off, *off)})
        both = (("before", own.settings), ("after", other))
        pages = own, make(other)
        before, after = (
            Explained(pack_trace(page, self._kinds[page.product]), self._light_ranker)
            for page in pages
        )
        moved = []
        places = [{item.post_id: at for at, item in enumerate(page.items)} for page in pages]
        for post_id in dict.fromkeys([*places[0], *places[1]]):
            was, is_now = places[0].get(post_id), places[1].get(post_id)
            if was != is_now:
                why = differences(before.of(post_id), after.of(post_id))
                moved.append({"post_id": str(post_id), "from": was, "to": is_now, "why": why})
        return {
            "user_id": str(pages[0].viewer_id),
            "now_ms": pages[0].now_ms,
            "experiment_arms": list(own.arms),
            "changed": {
                path: {name: _plain(_value(of, path)) for name, of in both}
                for path, _ in changes.values()
            },
            "sources_off": sorted(off),
            "before": _page(pages[0]),
            "after": _page(pages[1]),
            "moved": moved,
        }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs between two explanations of a post, the heaviest part of its score first.

    Where nothing of its own does, it was moved by `others`.
    """
    found: list[dict[str, Any]] = []

    def compare(part: str, was: Any, is_now: Any) -> None:
        if was != is_now:
            found.append({"part": part, "before": was, "after": is_now})

    compare("sources", before.get("found_by", []), after.get("found_by", []))
    compare("dropped_by", _dropped_by(before), _dropped_by(after))
    was, is_now = before.get("score") or {}, after.get("score") or {}
    if was and is_now:
        one, other = _parts(was), _parts(is_now)
        in_score = [
            {"part": part, "before": one.get(part), "after": other.get(part)}
            for part in dict.fromkeys([*one, *other])
            if one.get(part) != other.get(part)
        ]
        found += sorted(in_score, key=lambda p: -abs((p["after"] or 0.0) - (p["before"] or 0.0)))
    return found or [{"part": "others", "before": None, "after": None}]


def _parts(score: Mapping[str, Any]) -> dict[str, float]:
    """What a score is made of: what each head adds, each score set and each factor."""
    heads = {f"head {one['engagement']}": one["adds"] for one in score.get("predicted", ())}
    factors = {f"factor {name}": factor for name, factor in score["factors"].items()}
    inputs = ("bias", "logit", "others", "final")
    scores = {
        f"score {name}": value
        for name, value in score.items()
        if isinstance(value, float) and name not in inputs
    }
    return heads | scores | factors


def _dropped_by(told: Mapping[str, Any]) -> str | None:
    if told["verdict"] == "not_a_candidate":
        return None
    name: str | None = told["dropped_by"]
    rule = told["filters"][-1].get("rule") if name and told["filters"] else None
    return f"{name}: {rule}" if rule else name


def _changes(asked: Asked) -> dict[str, tuple[str, Any]]:
    """Field of the body → path of the setting that it changes, and the setting's new value."""
    changes = {f"weights.{head}": (_WEIGHTS + head, w) for head, w in asked.weights.items()}
    errors = [
        FieldError(f"settings.{path}", f"is given as weights.{path.removeprefix(_WEIGHTS)} too")
        for path in asked.settings
        if path.removeprefix(_WEIGHTS) in asked.weights and path.startswith(_WEIGHTS)
    ]
    if errors:
        raise _invalid(errors)
    return changes | {f"settings.{path}": (path, value) for path, value in asked.settings.items()}


def _changed(
    settings: Settings, changes: Mapping[str, tuple[str, Any]], *, operator: bool
) -> Settings:
    """Settings with all changes, each checked alone first so that every wrong one is named."""
    errors, for_operators = [], []
    for name, (path, value) in changes.items():
        if not operator and not f"{path}.".startswith(tuple(f"{one}." for one in FOR_READERS)):
            for_operators.append(FieldError(name, "needs the scope admin"))
        try:
            changed = overridden(settings, {path: value})
            errors += [FieldError(name, wrong) for wrong in wrong_rules(changed.visibility)]
            found = _value(changed, path)
            if isinstance(found, float) and not math.isfinite(found):
                errors.append(FieldError(name, f"must be finite, got {found}"))
        except SwitchError as error:
            errors.append(FieldError(name, str(error).partition(": ")[2]))
    if errors:
        raise _invalid(errors)
    if for_operators:
        detail = "; ".join(f"{error.field}: {error.message}" for error in for_operators)
        header = 'Bearer realm="murmuration", error="insufficient_scope", scope="admin"'
        raise ProblemError("forbidden", detail, for_operators, {"WWW-Authenticate": header})
    try:
        return overridden(settings, dict(changes.values()))
    except SwitchError as error:
        path, _, message = str(error).partition(": ")
        raise _invalid([FieldError(f"settings.{path}", message)]) from error


def _value(settings: Settings, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), settings)


def _plain(value: Any) -> Any:
    """A setting as JSON."""
    return json.loads(json.dumps(value, default=str))


def _page(page: Page) -> dict[str, Any]:
    return {
        "product": page.product,
        "model_version": page.model_version,
        "degraded": page.degraded,
        "items": [
            {
                "post_id": str(item.post_id),
                "author_id": str(item.author_id),
                "score": item.score,
                "source": item.source,
            }
            for item in page.items
        ],
    }


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid([FieldError(twice[:80], "is named twice")])
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _invalid(errors: list[FieldError]) -> ProblemError:
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
    return ProblemError("invalid-request", detail, errors)
