"""The commands that look: at timelines, reasons, other settings, reach and experiments."""

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from cluster.commands.options import (
    OUT,
    AsJson,
    DataDir,
    Instant,
    Preset,
    User,
    instant_of,
    pair_of,
    print_json,
    progress,
    settings_of,
)
from cluster.settings import Settings

if TYPE_CHECKING:
    from cluster.commands.http import HttpService


class Product(StrEnum):
    """The products by the names that people type."""

    FOR_YOU = "for-you"
    FOLLOWING = "following"
    LIST = "list"
    TOP_POSTS = "top-posts"


def timeline(
    user_id: User,
    product: Annotated[Product, typer.Option(help="Which timeline.")] = Product.FOR_YOU,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    list_id: Annotated[
        int | None, typer.Option("--list", min=1, help="With --product list: the list's id.")
    ] = None,
    replies: Annotated[bool, typer.Option(help="With --product list: replies too.")] = False,
    since: Annotated[
        str | None, typer.Option(help="With --product top-posts: since when; default: last visit.")
    ] = None,
    cursor: Annotated[
        str | None, typer.Option(help="A cursor of an earlier page; --json prints them.")
    ] = None,
    as_of: Instant = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """Show a user's timeline, with a reason for every post; `--as-of` replays the past."""
    _only_with(product is Product.LIST, "--product list", list=list_id, replies=replies)
    _only_with(product is Product.TOP_POSTS, "--product top-posts", since=since)
    if product is Product.LIST and list_id is None:
        raise typer.BadParameter("--product list needs --list ID, a list of the user's own")
    if product is Product.TOP_POSTS and cursor is not None:
        raise typer.BadParameter("top posts are one page: there is no --cursor")
    settings = settings_of(data_dir, preset)
    from cluster.commands import page_text, reading

    since_ms, instant = instant_of(since), instant_of(as_of)
    wanted = reading.Wanted(user_id, product, limit, list_id or 0, replies, since_ms, cursor)
    if instant is None:
        with _service(settings, "read") as service:
            found = reading.page(service, wanted)
    else:
        # Brings the state of a shard along, which nobody else here needs.
        from cluster.commands.replaying import page_as_of

        with progress("replaying"):
            found = page_as_of(settings, wanted, instant)
    if as_json:
        print_json(found)
    else:
        page_text.print_page(OUT, found)


def why(
    user_id: User,
    post_id: Annotated[int, typer.Argument(min=1, metavar="POST")],
    request_id: Annotated[
        str | None, typer.Option(help="Explain that request instead of a dry run.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Say why a post is, or is not, in a user's For You."""
    settings = settings_of(data_dir)
    from cluster.commands import reading, why_text

    with _service(settings, "read") as service:
        found = reading.why(service, user_id, post_id, request_id)
    if as_json:
        print_json(found)
    else:
        why_text.print_why(OUT, found)


def what_if(
    user_id: User,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", help="HEAD=NUMBER: what an engagement is worth; repeatable."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="SETTING=VALUE, the value as JSON; repeatable."),
    ] = None,
    off: Annotated[
        list[str] | None, typer.Option("--off", help="A source that is not asked; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show a user's For You as it is and as it would be, and what moved; changes nothing."""
    weights = dict(_weight(given) for given in weight or [])
    overrides = dict(_setting(given) for given in changes or [])
    if not (weights or overrides or off):
        raise typer.BadParameter("say what is to be different: --weight, --set or --off")
    settings = settings_of(data_dir)
    from cluster.commands import reading, what_if_text

    asked = {"weights": weights, "settings": overrides, "sources_off": off or [], "limit": limit}
    # Whoever has the tokens file of a system operates it.
    with _service(settings, "admin") as service:
        found = reading.what_if(service, user_id, asked)
    if as_json:
        print_json(found)
    else:
        what_if_text.print_what_if(OUT, found)


def analytics(
    user_id: User,
    days: Annotated[int, typer.Option(min=1, max=90, help="UTC days, today included.")] = 28,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Top posts.")] = 10,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show an author's reach: impressions, sources, engagements and followers by day."""
    settings = settings_of(data_dir)
    from cluster.commands import analytics_text, reading

    with _service(settings, "read") as service:
        found = reading.analytics(service, user_id, days, limit)
    if as_json:
        print_json(found)
    else:
        analytics_text.print_analytics(OUT, found)


def experiments(
    user_id: Annotated[
        int | None, typer.Option("--user", min=1, help="Ask the running system for their arms.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    preset: Preset = None,
) -> None:
    """List the experiments of these settings, and the arms of a user."""
    settings = settings_of(data_dir, preset)
    from cluster.commands import experiments_text, reading

    listed = [one.model_dump(mode="json") for one in settings.switches.experiments]
    found: dict[str, Any] = {"experiments": listed}
    if user_id is not None:
        with _service(settings, "admin") as service:
            found |= {"user_id": str(user_id), "arms": reading.arms(service, user_id)}
    if as_json:
        print_json(found)
    else:
        experiments_text.print_experiments(OUT, found)


def _only_with(fits: bool, needed: str, **given: object) -> None:
    """Refuse options that mean nothing here. Raises `typer.BadParameter`."""
    for name, value in given.items():
        if value and not fits:
            raise typer.BadParameter(f"--{name} needs {needed}")


def _service(settings: Settings, scope: str) -> "HttpService":
    # Imported here, since `--help` needs no HTTP.
    from cluster.commands.http import HttpService

    return HttpService(settings, scope)


def _weight(text: str) -> tuple[str, float]:
    name, value = pair_of(text)
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise typer.BadParameter(f"{text!r}: {value!r} is no number")
    return name, weight


def _setting(text: str) -> tuple[str, Any]:
    """A setting and its value; what is no JSON is a word."""
    name, value = pair_of(text)
    try:
        return name, orjson.loads(value)
    except ValueError:
        return name, value
