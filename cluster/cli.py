"""The command line: `murmuration COMMAND`."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster import ray_environment
from cluster.settings import Settings, SettingsError, load

# Ray and everything that imports it comes in inside the commands: it reads its environment
# when it is imported, and `murmuration --help` should not wait for it.

app = typer.Typer(
    help="Murmuration: an open For You timeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Console()
_err = Console(stderr=True)

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


def main() -> None:
    """Run the command line; a known failure is one line, not a traceback."""
    try:
        app()
    except Exception as error:
        if not _is_known(error):
            raise
        _err.print(f"[red]error:[/] {error}", highlight=False, markup=True)
        sys.exit(1)


@app.command()
def up(
    until: Instant = None, data_dir: DataDir = None, preset: Preset = None, http: bool = True
) -> None:
    """Start the system: Ray if none runs, the log, the shards and the HTTP service."""
    settings = _settings(data_dir, preset)
    from cluster import launch
    from cluster.tokens import ensure_tokens, tokens_path

    tokens = tokens_path(launch.absolute(settings))
    ensure_tokens(tokens)
    started = time.perf_counter()
    with _progress("starting") as report:
        record = launch.up(settings, until_ms=_instant(until), http=http, report=report)
    _out.print(f"up in {time.perf_counter() - started:.1f} s")
    if http:
        _out.print(f"serving at http://{record.http_host}:{record.http_port}/docs")
        _out.print(f"tokens are in {tokens}")
    if not record.started_ray:
        _out.print("Ray ran already and was started without this system's settings: slower")


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the system; no process and no port stays behind."""
    settings = _settings(data_dir)
    from cluster import launch

    with _progress("stopping") as report:
        ran = launch.down(settings, report)
    _out.print("stopped" if ran else "nothing was running")


@app.command()
def status(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Say what runs, how far behind it is, and what it holds."""
    settings = _settings(data_dir)
    from cluster import launch

    found = launch.status(settings)
    if as_json:
        _print_json(found)
        return
    table = Table("shard", "ready", "lag", "memory", "users", "posts", "follows", "interactions")
    for shard in found["shards"]:
        table.add_row(
            str(shard["shard"]),
            "yes" if shard["ready"] else f"no: {shard['failure'] or 'restoring'}",
            f"{shard.get('lag_ms') or 0} ms",
            f"{shard.get('store_bytes', 0) / 2**20:.1f} MiB",
            *(f"{shard.get(key, 0):,}" for key in ("users", "posts", "follows", "interactions")),
        )
    _out.print(table)
    active = found["shards"][0].get("active", {})
    models = ", ".join(f"{name} {version}" for name, version in sorted(active.items()))
    _out.print(f"models: {models or 'none yet, see murmuration train'}")
    _out.print(f"http {found['address']}, ray {found['ray']}")


@app.command()
def ingest(
    path: Annotated[str, typer.Argument(help="A file, `-` for standard input, or a folder.")],
    format: Annotated[
        str | None, typer.Option(help="ndjson, parquet, arrow, jetstream, csv, tsv, cascades.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A known data set: christianity, android, kuairand, flickr.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE for the importer.")
    ] = None,
    epoch: Annotated[str | None, typer.Option(help="What relative times count from.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Bring a file's events in, old ones included; what was there already is left out."""
    options: dict[str, Any] = dict(_pair(given) for given in option or [])
    if epoch:
        options["epoch"] = epoch
    if dataset:
        format, options["name"] = "dataset", dataset
    settings = _settings(data_dir, preset)
    from cluster.commands import bulk

    with _progress("reading") as report:
        found = bulk.ingest(settings, path, format or bulk.format_of(path), options, report)
    if as_json:
        _print_json(found)
        return
    _out.print(
        f"{found['accepted']:,} events in {found['seconds']:.1f} s "
        f"({found['events_per_s']:,.0f} events/s), {found['repeated']:,} were there already"
    )
    for note, count in found["notes"].items():
        _out.print(f"  {note}: {count:,}")
    if found["bad"]:
        _out.print(f"[yellow]{found['bad']:,} bad lines were left out:[/]")
        for bad in found["first_bad"]:
            _out.print(f"  {bad['file']}:{bad['line']}: {bad['why']}", markup=False)


@app.command()
def simulate(
    users: Annotated[int, typer.Option(min=2)] = 2_000,
    days: Annotated[float, typer.Option(min=0)] = 7,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="Write NDJSON or Parquet here instead.")] = None,
    closed_loop: Annotated[
        bool, typer.Option(help="People react to what this system shows them; writes a report.")
    ] = False,
    page: Annotated[
        Path, typer.Option("--report", help="With --closed-loop: the page to write.")
    ] = Path("closed-loop.html"),
    heavy: Annotated[
        bool, typer.Option(help="With --closed-loop: train the heavy ranker each day, too.")
    ] = False,
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Make a synthetic social world that ends now, and bring its events in."""
    settings = _settings(data_dir, preset)
    if closed_loop:
        from cluster.commands import closed_loop as loop

        loop.run(settings, users, max(round(days), 1), seed, page, _out, heavy=heavy)
        return
    from cluster.commands import bulk

    with _progress("simulating") as report:
        found = bulk.simulate(settings, users, days, seed, out, report)
    _out.print(f"{found['events']:,} events in {found['seconds']:.1f} s")


@app.command()
def train(
    name: Annotated[
        str, typer.Argument(help="A model's name, or `all`; a wrong one lists them.")
    ] = "all",
    as_of: Instant = None,
    activate: bool = True,
    force: Annotated[bool, typer.Option(help="With `all`: train fresh models again.")] = False,
    watch: Annotated[bool, typer.Option(help="Stay, and train each model when it is due.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between looks, with --watch.")] = 60,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of twhin and heavy_ranker, by Ray Train.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Train models on the archive, and make them the ones that serve."""
    settings = _settings(data_dir, preset)
    from cluster.commands import training

    name = name.replace("-", "_")
    if workers is not None:
        settings = training.with_workers(settings, workers)
    instant = _instant(as_of)
    force = force or not (name == training.ALL or watch)
    while True:
        with _progress("training") as report:
            found = list(training.train(settings, name, instant, activate, report, force=force))
        told = [one for one in found if one["version"] or not watch]
        if as_json and told:
            _print_json(told)
        for one in told if not as_json else []:
            _print_trained(one)
        if not watch:
            return
        force = False
        time.sleep(every)


@app.command()
def activate(
    name: Annotated[str, typer.Argument(help="A model's name; a wrong one lists them.")],
    version: Annotated[str, typer.Argument(help="One of its versions; a wrong one lists them.")],
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Make a trained version serve: an older one, to go back."""
    settings = _settings(data_dir, preset)
    from cluster.commands import training

    training.activate(settings, name, version)
    _out.print(f"[bold]{name}[/] {version} serves")


def _print_trained(found: dict[str, Any]) -> None:
    if not found["version"]:
        _out.print(f"[bold]{found['name']}[/]: not trained, {found['passed']}")
        return
    state = "active" if found["activated"] else "not activated"
    _out.print(f"[bold]{found['name']}[/] {found['version']} ({state}), {found['seconds']:.1f} s")
    table = Table("metric", "value")
    for metric, value in found["metrics"].items():
        if isinstance(value, str | int | float):
            table.add_row(metric, f"{value:.4f}" if isinstance(value, float) else f"{value}")
    _out.print(table)


@app.command()
def timeline(
    user_id: Annotated[int, typer.Argument(min=1)],
    product: Annotated[str, typer.Option(help="for-you or following")] = "for-you",
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_of: Instant = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Show a user's timeline, with a reason for every post; `--as-of` replays the past."""
    settings = _settings(data_dir, preset)
    from cluster.commands import reading

    instant = _instant(as_of)
    if instant is None:
        found = reading.timeline_over_http(settings, user_id, product, limit)
    else:
        with _progress("replaying"):
            found = reading.timeline_as_of(settings, user_id, product, limit, instant)
    if as_json:
        _print_json(found)
    else:
        reading.print_timeline(_out, found)


@app.command()
def why(
    user_id: Annotated[int, typer.Argument(min=1)],
    post_id: Annotated[int, typer.Argument(min=1)],
    request_id: Annotated[
        str | None, typer.Option(help="Explain that request instead of a dry run.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Say why a post is, or is not, in a user's For You."""
    settings = _settings(data_dir)
    from cluster.commands import reading

    found = reading.why_over_http(settings, user_id, post_id, request_id)
    if as_json:
        _print_json(found)
    else:
        reading.print_why(_out, found)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all without one.")] = None,
) -> None:
    """Run benchmarks; each prints hardware, load, data and figures as JSON."""
    import runpy

    sys.argv = ["benchmarks", *(names or [])]
    runpy.run_module("benchmarks", run_name="__main__")


@app.command()
def doctor(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Check versions, libraries, ports and tokens, and say what to do about what is wrong."""
    settings = _settings(data_dir)
    from cluster.commands.doctor import examine

    checks = examine(settings)
    if as_json:
        _print_json([vars(check) for check in checks])
    else:
        table = Table("check", "", "found")
        for check in checks:
            mark = "[green]ok[/]" if check.ok else "[red]wrong[/]"
            table.add_row(check.name, mark, check.found)
        _out.print(table)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=50)] = 1_000,
    days: Annotated[float, typer.Option(min=1)] = 3,
    data_dir: DataDir = None,
) -> None:
    """A world, its models and its timelines on this machine, in one command."""
    settings = _settings(data_dir or Path("murmuration-demo"))
    from cluster.commands.demo import run

    run(settings, users, days, _out)


def _settings(data_dir: Path | None, preset: str | None = None) -> Settings:
    """The settings; and the environment is made Ray's, so whatever imports Ray comes after."""
    settings = load(**_overrides(data_dir, preset))
    ray_environment.prepare(settings)
    return settings


def _overrides(data_dir: Path | None, preset: str | None) -> dict[str, Any]:
    given = {"data_dir": data_dir, "preset": preset}
    return {name: value for name, value in given.items() if value is not None}


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the latest report, on a terminal; otherwise silence."""
    with _err.status(what) as shown:
        yield shown.update


def _instant(text: str | None) -> int | None:
    if text is None or text.isdecimal():
        return int(text) if text else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither ISO 8601 nor milliseconds") from error
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def _is_known(error: Exception) -> bool:
    from cluster.importers.contract import UnreadableImport
    from cluster.log import LogError

    known: tuple[type[Exception], ...] = (SettingsError, UnreadableImport, LogError)
    # Named rather than imported: their modules import Ray.
    named = ("RayProblem", "LaunchError", "TrainingError", "HttpProblem", "UnknownFormat")
    return isinstance(error, known) or type(error).__name__ in named
