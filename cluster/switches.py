"""Feature switches: the settings one viewer's requests have, by experiment, arm and cohort.

Which arm a viewer is in depends on the experiment's salt and the viewer's id alone, so every
replica says the same, today and in a year. What arms change is checked before anything
starts; a request only looks up settings that were made before.
"""

import difflib
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from cluster.switch_settings import Cohort, ExperimentSettings, SwitchSettings

if TYPE_CHECKING:
    from cluster.settings import Settings

M = TypeVar("M", bound=BaseModel)

PER_REQUEST = (
    *("for_you", "sources", "heavy_ranker.weights", "heuristics", "mixer", "visibility"),
    *("products", "user_states"),
    *("windows.in_network_ms", "windows.in_network_light_ms", "windows.out_of_network_ms"),
    *("windows.popular_ms", "windows.following_ms", "sources.cached.enough"),
)
"""What may differ from request to request: these settings, and those of these groups."""

_OF_PROCESSES = "one for all requests of a process"
_OF_SHARDS = "the shards' own, the same for everybody"
_OF_SYSTEM = "the system's, the same for everybody"
_OF_ADS = "source file url token_file timeout_ms max_bytes max_offered failures_to_pause pause_ms"
REFUSED = {
    **{f"mixer.ads.{name}": "the ads source is " + _OF_PROCESSES for name in _OF_ADS.split()},
    "sources.cached": "the cache is " + _OF_SHARDS,
    "sources.quality_factor": _OF_PROCESSES,
    "heavy_ranker": "the loaded model's; only heavy_ranker.weights may differ",
    "windows": _OF_SHARDS,
    "products.top_posts.limit": "what a request that names no limit gets, the same for everybody",
    **dict.fromkeys(("shards", "graph", "vectors", "aggregates", "analytics"), _OF_SHARDS),
    **dict.fromkeys(("http", "log", "data_dir", "archive_uri", "namespace", "preset"), _OF_SYSTEM),
    "training": "the training jobs'",
    "switches": "an experiment cannot change experiments",
}
"""Why the others may not; the longest path that fits is what counts."""

_POINTS = 2**64
_MOST_MADE = 4_096
"""Combinations of arms whose settings are held; where there are more, they are made anew."""


class SwitchError(ValueError):
    """Experiments or overrides that cannot be used; the message names the path and why."""


class Chosen(NamedTuple):
    """What one viewer's requests are made with."""

    settings: "Settings"
    arms: tuple[str, ...]
    """`experiment:arm` of each experiment that the viewer is in, in the order of the settings."""


class Switches:
    """Who is in which arm, and what the settings are there; thread-safe."""

    def __init__(self, settings: "Settings", switches: SwitchSettings) -> None:
        """Makes the settings of every arm once. Raises `SwitchError` where one cannot be used."""
        self._settings = settings
        self._listed = switches.experiments
        self._running = [_Running.of(one) for one in self._listed]
        self._made: dict[tuple[tuple[int, int], ...], Chosen] = {(): Chosen(settings, ())}
        _check_apart(self._listed)
        for number, experiment in enumerate(self._listed):
            for place, arm in enumerate(experiment.arms):
                try:
                    self._of(((number, place),))
                except SwitchError as error:
                    raise SwitchError(
                        f"experiment {experiment.name!r}, arm {arm.name!r}: {error}"
                    ) from error

    def for_viewer(
        self,
        user_id: int,
        *,
        country: str = "",
        language: str = "",
        account_age_days: float | None = None,
    ) -> Chosen:
        """The settings of a viewer's requests, and the viewer's arms.

        What is not known of the viewer fits no cohort that asks for it. Settings of a
        combination of arms are made when its first viewer comes.
        """
        if not self._running:
            return self._made[()]
        viewer = _Viewer(user_id, country, language, account_age_days)
        user = user_id.to_bytes(8, "little")
        places = []
        for number, experiment in enumerate(self._running):
            place = experiment.place_of(viewer, user)
            if place is not None:
                places.append((number, place))
        return self._of(tuple(places))

    def in_arms(self, arms: Iterable[str]) -> Chosen:
        """The settings of given `experiment:arm`s, whoever the viewer is.

        Raises `SwitchError` for arms that there are not, or of which a viewer has one only.
        """
        known = {
            label: (number, place)
            for number, experiment in enumerate(self._running)
            for place, label in enumerate(experiment.labels)
        }
        places: dict[int, int] = {}
        for arm in arms:
            if arm not in known:
                raise SwitchError(f"{arm}: no such arm{_meant(arm, known)}")
            number, place = known[arm]
            if places.setdefault(number, place) != place:
                raise SwitchError(f"{arm}: a viewer is in one arm of an experiment")
        layers = [layer for number in places if (layer := self._listed[number].layer)]
        if len(layers) > len(set(layers)):
            raise SwitchError("experiments of one layer never meet in one viewer")
        return self._of(tuple(sorted(places.items())))

    def listed(self) -> list[dict[str, Any]]:
        """The experiments as they were given, for people."""
        return [one.model_dump(mode="json") for one in self._listed]

    def _of(self, places: tuple[tuple[int, int], ...]) -> Chosen:
        made = self._made.get(places)
        if made is None:
            changes: dict[str, Any] = {}
            for number, place in places:
                changes |= self._listed[number].arms[place].overrides
            labels = tuple(self._running[number].labels[place] for number, place in places)
            if len(self._made) >= _MOST_MADE:
                self._made = {(): self._made[()]}
            # Two threads may both make it; either is the same.
            made = self._made[places] = Chosen(overridden(self._settings, changes), labels)
        return made


def overridden(settings: "Settings", overrides: Mapping[str, Any]) -> "Settings":
    """Settings in which dotted paths have other values; checked like those of a file.

    Groups in which nothing changes stay the same objects. Raises `SwitchError` for a path
    that is unknown or not one of `PER_REQUEST`, and for a value that does not fit.
    """
    tree: dict[str, Any] = {}
    for path, value in overrides.items():
        _check_path(path)
        *groups, name = path.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, _Branch())
            if not isinstance(branch, _Branch):
                raise SwitchError(f"{path}: a group it is in is given as a whole too")
        if name in branch:
            raise SwitchError(f"{path}: something in it is given too")
        branch[name] = value
    return _rebuilt(settings, tree, ()) if tree else settings


class _Branch(dict[str, Any]):
    """A group in which something changes; any other mapping is a value."""


class _Viewer(NamedTuple):
    user_id: int
    country: str
    language: str
    account_age_days: float | None


@dataclass(frozen=True)
class _Running:
    """An experiment, prepared for being asked."""

    labels: tuple[str, ...]
    bounds: tuple[int, ...]
    """Where each arm's share of all points ends."""
    draw: Any
    """A hash object that has read the salt; copied for each viewer."""
    layer: Any | None
    first: int
    end: int
    """The experiment's points of the layer."""
    cohort: Cohort
    user_ids: frozenset[int]
    open: bool
    """Whether the cohort is everybody."""

    @staticmethod
    def of(given: ExperimentSettings) -> "_Running":
        cohort = given.cohort
        return _Running(
            labels=tuple(f"{given.name}:{arm.name}" for arm in given.arms),
            bounds=tuple(_points(total) for total in accumulate(a.percent for a in given.arms)),
            draw=hashlib.blake2b(f"arm {given.salt or given.name} ".encode(), digest_size=8),
            layer=given.layer and hashlib.blake2b(f"layer {given.layer} ".encode(), digest_size=8),
            first=_points(given.slots[0]),
            end=_points(given.slots[1]),
            cohort=cohort,
            user_ids=frozenset(cohort.user_ids),
            open=cohort == Cohort(),
        )

    def place_of(self, viewer: _Viewer, user: bytes) -> int | None:
        """The place of the viewer's arm; None for a viewer who is not in the experiment."""
        if not self.open and not self._fits(viewer):
            return None
        if self.layer is not None and not self.first <= _point(self.layer, user) < self.end:
            return None
        place = bisect_right(self.bounds, _point(self.draw, user))
        return place if place < len(self.bounds) else None

    def _fits(self, viewer: _Viewer) -> bool:
        cohort, age = self.cohort, viewer.account_age_days
        young = cohort.account_age_days_below
        return (
            (not cohort.countries or viewer.country in cohort.countries)
            and (not cohort.languages or viewer.language in cohort.languages)
            and (young is None or (age is not None and age < young))
            and (not self.user_ids or viewer.user_id in self.user_ids)
        )


def _point(draw: Any, user: bytes) -> int:
    """Where a viewer falls, 0 … 2^64 − 1: the little-endian BLAKE2b-64 of salt and id."""
    drawn = draw.copy()
    drawn.update(user)
    return int.from_bytes(drawn.digest(), "little")


def _points(percent: float) -> int:
    return min(round(percent / 100 * _POINTS), _POINTS) if percent < 100 - 1e-6 else _POINTS


def _check_apart(experiments: tuple[ExperimentSettings, ...]) -> None:
    """Refuse two experiments that change one setting and may meet in one viewer."""
    for one, other in combinations(experiments, 2):
        if one.layer is not None and one.layer == other.layer:
            continue
        for mine in _paths(one):
            for theirs in _paths(other):
                if _inside(mine, theirs) or _inside(theirs, mine):
                    raise SwitchError(
                        f"experiments {one.name!r} and {other.name!r} both change {mine}: give "
                        f"them slots of one layer, so that no viewer is in both"
                    )


def _paths(experiment: ExperimentSettings) -> list[str]:
    return sorted({path for arm in experiment.arms for path in arm.overrides})


def _inside(path: str, group: str) -> bool:
    return path == group or path.startswith(group + ".")


def _check_path(path: str) -> None:
    allowed = max((len(one) for one in PER_REQUEST if _inside(path, one)), default=-1)
    refused = max((one for one in REFUSED if _inside(path, one)), key=len, default="")
    if refused and allowed < len(refused):
        raise SwitchError(f"{path}: cannot differ from request to request: {REFUSED[refused]}")
    if allowed < 0:
        raise SwitchError(f"{path}: no such setting{_meant(path, (*PER_REQUEST, *REFUSED))}")


def _rebuilt(group: M, tree: Mapping[str, Any], at: tuple[str, ...]) -> M:
    fields, changed = type(group).model_fields, {}
    for name, value in tree.items():
        path = ".".join((*at, name))
        if name not in fields:
            raise SwitchError(f"{path}: no such setting{_meant(name, fields)}")
        now = getattr(group, name)
        if isinstance(value, _Branch):
            if not isinstance(now, BaseModel):
                inner = next(iter(value))
                raise SwitchError(f"{path}.{inner}: {path} holds no settings; give it whole")
            changed[name] = _rebuilt(now, value, (*at, name))
        elif isinstance(now, BaseModel) and value is not None:
            raise SwitchError(f"{path}: is a group; name one setting in it")
        else:
            changed[name] = value
    if not at:
        return group.model_copy(update=changed)
    try:
        return type(group).model_validate({name: getattr(group, name) for name in fields} | changed)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join((*at, *(str(part) for part in problem["loc"])))
        raise SwitchError(f"{where}: {problem['msg']}; got {problem['input']!r}") from error


def _meant(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
