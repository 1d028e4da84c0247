"""The command line: `murmuration COMMAND`."""

import signal
import sys
import threading
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cluster.commands import looking
from cluster.commands.options import (
    ERR,
    OUT,
    AsJson,
    DataDir,
    Instant,
    Preset,
    instant_of,
    pair_of,
    print_json,
    progress,
    settings_of,
    settings_to_start,
)
from cluster.settings import SettingsError

# Ray and everything that imports it comes in inside the commands: it reads its environment
# when it is imported, and `murmuration --help` should not wait for it.

app = typer.Typer(
    help="Murmuration: an open For You timeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a known failure is one line, not a traceback."""
    try:
        app()
    except Exception as error:
        if not _is_known(error):
            raise
        ERR.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def up(
    until: Instant = None, data_dir: DataDir = None, preset: Preset = None, http: bool = True
) -> None:
    """Start the system: Ray if none runs, the log, the shards and the HTTP service."""
    settings = settings_to_start(data_dir, preset)
    from cluster import launch
    from cluster.tokens import ensure_tokens, tokens_path

    tokens = tokens_path(launch.absolute(settings))
    ensure_tokens(tokens)
    started = time.perf_counter()
    with progress("starting") as report:
        record = launch.up(settings, until_ms=instant_of(until), http=http, report=report)
    OUT.print(f"up in {time.perf_counter() - started:.1f} s")
    if http:
        OUT.print(f"serving at http://{record.http_host}:{record.http_port}/docs")
        OUT.print(f"tokens are in {tokens}")
    if not record.started_ray:
        OUT.print("Ray ran already and was started without this system's settings: slower")


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the system; no process and no port stays behind."""
    settings = settings_of(data_dir)
    from cluster import launch

    with progress("stopping") as report:
        ran = launch.down(settings, report)
    OUT.print("stopped" if ran else "nothing was running")


@app.command()
def token(
    scopes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCOPE...", help="write, read, admin, read:user:ID or write:user:ID."
        ),
    ],
    data_dir: DataDir = None,
) -> None:
    """Make a token of the HTTP API with these scopes and print it; it counts from the next `up`."""
    settings = settings_of(data_dir)
    from cluster.tokens import add_token, tokens_path

    path = tokens_path(settings)
    made = add_token(path, scopes)
    ERR.print(f"added to {path}; it counts from the next `murmuration up`", soft_wrap=True)
    print(made)


@app.command()
def status(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Say what runs, how far behind it is, and what it holds."""
    settings = settings_of(data_dir)
    from cluster import launch

    found = launch.status(settings)
    if as_json:
        print_json(found)
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
    OUT.print(table)
    active = found["shards"][0].get("active", {})
    models = ", ".join(f"{name} {version}" for name, version in sorted(active.items()))
    OUT.print(f"models: {models or 'none yet, see murmuration train'}")
    if found["until_ms"] is not None:
        OUT.print(f"as of {datetime.fromtimestamp(found['until_ms'] / 1000, UTC).isoformat()}")
    OUT.print(f"http {found['address']}, ray {found['ray']}")


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
    options: dict[str, Any] = dict(pair_of(given) for given in option or [])
    if epoch:
        options["epoch"] = epoch
    if dataset:
        format, options["name"] = "dataset", dataset
    settings = settings_of(data_dir, preset)
    from cluster.commands import bulk
    from cluster.commands.bars import SILENT, job_bars

    with nullcontext(SILENT) if as_json else job_bars(ERR, lines=False) as bars:
        found = bulk.ingest(settings, path, format or bulk.format_of(path), options, bars)
    if as_json:
        print_json(found)
        return
    OUT.print(
        f"{found['accepted']:,} events in {found['seconds']:.1f} s "
        f"({found['events_per_s']:,.0f} events/s), {found['repeated']:,} were there already"
    )
    for note, count in found["notes"].items():
        OUT.print(f"  {note}: {count:,}")
    if found["bad"]:
        OUT.print(f"[yellow]{found['bad']:,} bad lines were left out:[/]")
        for bad in found["first_bad"]:
            OUT.print(f"  {bad['file']}:{bad['line']}: {bad['why']}", markup=False)


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
    settings = settings_of(data_dir, preset, may_start_ray=True)
    if closed_loop:
        from cluster.commands import closed_loop as loop

        loop.run(settings, users, max(round(days), 1), seed, page, OUT, heavy=heavy)
        return
    from cluster.commands import bulk
    from cluster.commands.bars import job_bars

    with job_bars(ERR, lines=False) as bars:
        found = bulk.simulate(settings, users, days, seed, out, bars)
    OUT.print(f"{found['events']:,} events in {found['seconds']:.1f} s")


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
    settings = settings_of(data_dir, preset, may_start_ray=True)
    from cluster.commands import training
    from cluster.commands.bars import job_bars
    from cluster.commands.training_text import print_trained

    name = name.replace("-", "_")
    if workers is not None:
        settings = training.with_workers(settings, workers)
    instant = instant_of(as_of)
    force = force or not (name == training.ALL or watch)
    stopped = _interrupted() if watch else threading.Event()
    while not stopped.is_set():
        with suppress(KeyboardInterrupt) if watch else nullcontext():
            with job_bars(ERR) as bars:
                outcomes = training.train(settings, name, instant, activate, bars=bars, force=force)
                found = list(outcomes)
            told = [one for one in found if one["version"] or not watch]
            if as_json and told:
                print_json(told)
            for one in told if not as_json else []:
                print_trained(OUT, one)
            if not watch:
                return
            force = False
            stopped.wait(every)
    ERR.print("stopped watching")


def _interrupted() -> threading.Event:
    """Set by Ctrl-C, which ends what runs as well.

    The exception alone may be lost: raised while an object is finalised, it is only printed.
    """
    interrupted = threading.Event()

    def interrupt(_signal: int, _frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    return interrupted


@app.command()
def activate(
    name: Annotated[str, typer.Argument(help="A model's name; a wrong one lists them.")],
    version: Annotated[str, typer.Argument(help="One of its versions; a wrong one lists them.")],
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Make a trained version serve: an older one, to go back."""
    settings = settings_of(data_dir, preset)
    from cluster.commands import training

    training.activate(settings, name, version)
    OUT.print(f"[bold]{name}[/] {version} serves")


for _command in (
    *(looking.timeline, looking.why, looking.what_if),
    *(looking.analytics, looking.experiments),
):
    app.command()(_command)


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
    settings = settings_of(data_dir)
    from cluster.commands.doctor import examine

    checks = examine(settings)
    if as_json:
        print_json([vars(check) for check in checks])
    else:
        table = Table("check", "", "found")
        for check in checks:
            mark = "[green]ok[/]" if check.ok else "[red]wrong[/]"
            table.add_row(check.name, mark, check.found)
        OUT.print(table)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=50)] = 1_000,
    days: Annotated[float, typer.Option(min=1)] = 3,
    data_dir: DataDir = None,
) -> None:
    """A world, its models and its timelines on this machine, in one command."""
    settings = settings_to_start(data_dir or Path("murmuration-demo"))
    from cluster.commands.demo import run

    run(settings, users, days, OUT)


def _is_known(error: Exception) -> bool:
    from cluster.importers.contract import UnreadableImport
    from cluster.log import LogError

    known: tuple[type[Exception], ...] = (SettingsError, UnreadableImport, LogError)
    # Named rather than imported: their modules import Ray.
    named = {
        *("RayProblem", "LaunchError", "TrainingError", "HttpProblem", "UnknownFormat"),
        "TokensError",
        *("ArtifactCorrupt", "ArtifactNotFound", "ArtifactRefused", "ArtifactSchemaMismatch"),
        *("InvalidCursor", "ExpiredCursor", "UnknownList", "NotReplayed"),
    }
    return isinstance(error, known) or type(error).__name__ in named
