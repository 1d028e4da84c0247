"""What the commands share: options that several have, progress, and how values are read."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cluster import ray_environment
from cluster.run_record import read_record
from cluster.settings import Settings, load

OUT = Console()
ERR = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is kept.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="laptop, twitter or research.", show_default=False)
]
Instant = Annotated[
    str | None,
    typer.Option(help="A past instant: ISO 8601 (UTC) or milliseconds.", show_default=False),
]
User = Annotated[int, typer.Argument(min=1, metavar="USER")]


def settings_of(
    data_dir: Path | None, preset: str | None = None, *, may_start_ray: bool = False
) -> Settings:
    """The settings, where a system runs on the same data in all that commands share with it.

    The environment is made that of its Ray, or with `may_start_ray` of one that is to come, so
    whatever imports Ray comes after. Raises `SettingsError`.
    """
    given = _given(data_dir, preset)
    settings = load(**given)
    if record := read_record(settings):
        shared = dict(record.settings)
        default_preset = shared.pop("preset", settings.preset)
        settings = load(default_preset=default_preset, **shared, **given)
    (ray_environment.prepare if may_start_ray else ray_environment.adopt)(settings)
    return _checked(settings)


def settings_to_start(data_dir: Path | None, preset: str | None = None) -> Settings:
    """The settings of a system that is to run, as `settings_of` but for what runs already."""
    settings = load(**_given(data_dir, preset))
    ray_environment.prepare(settings)
    return _checked(settings)


def _given(data_dir: Path | None, preset: str | None) -> dict[str, Any]:
    given = {"data_dir": data_dir, "preset": preset}
    return {name: value for name, value in given.items() if value is not None}


def _checked(settings: Settings) -> Settings:
    if settings.visibility.rules_off or settings.switches.experiments:
        # Only what has rules knows their names, and takes a second to import.
        from timeline.rules_off import check_rules_off

        check_rules_off(settings)
    return settings


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the latest report, on a terminal; otherwise silence."""
    with ERR.status(what) as shown:
        yield shown.update


def instant_of(text: str | None) -> int | None:
    """An instant in ms UTC; raises `typer.BadParameter`."""
    if text is None or text.isdecimal():
        return int(text) if text else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither ISO 8601 nor milliseconds") from error
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def pair_of(text: str) -> tuple[str, str]:
    """Name and value of NAME=VALUE; raises `typer.BadParameter`."""
    name, found, value = text.partition("=")
    if not found or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def print_json(value: Any) -> None:
    """A value as indented JSON."""
    print(json.dumps(value, indent=1, default=str))
