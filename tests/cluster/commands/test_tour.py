"""The tour of the demo, over a system of this process behind a real port."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from cluster.commands import reading
from cluster.commands.http import HttpService
from cluster.commands.reading import Wanted
from cluster.commands.tour import PAGE, Tour, viewer_to_show
from tests.cluster.commands.served_world import MORE, REPLIER, STRANGERS, VIEWER, lively
from tests.running import wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MURMURATION_TOKEN", raising=False)
        with (
            lively(tmp_path_factory.mktemp("world")) as world,
            HttpService(world.settings, "admin") as service,
        ):
            yield service


def test_the_tour_shows_what_it_says(service: HttpService) -> None:
    texts = {post: f"far {n}" for n, post in enumerate(STRANGERS)}
    texts |= {post: f"note {n}" for n, post in enumerate(MORE)}
    page = reading.page(service, Wanted(VIEWER, limit=PAGE), record=False)
    console = Console(record=True, width=160)
    Tour(console, service, VIEWER, "some-folder", texts).take(page)
    told = console.export_text()
    for title in (
        *("What if?", "Top posts since you left", "Reach of the first post's author"),
        *("More of whom you follow", "A muted word"),
    ):
        assert title in told
    command = f"murmuration what-if {VIEWER} --weight is_replied=0 --set "
    assert f"{command}heuristics.balance.in_network_share=0.8 --limit 15 --data-dir" in told
    assert max(int(place) for place in re.findall(r"│ (\d+) +│ \d+ +│ in_network", told)) <= PAGE
    shares = re.search(r"accounts: (\d+) of 15 before, (\d+) after, on a page asked for", told)
    assert shares is not None
    before, after = map(int, shares.groups())
    # Nothing was trained, so the page leans on the network anyway.
    assert (before, after) == (12, 14)
    assert re.search(r"the word '(note|far)' is muted, on a page asked for", told)
    assert "dropped by muted_words" in told
    # Everything that was set is taken back.
    ids = [item["post_id"] for item in page["items"]]
    wait_until(
        lambda: ids == [i["post_id"] for i in _dry_page(service)["items"]], 10, "it is as before"
    )


def test_who_has_most_to_show_is_shown(service: HttpService) -> None:
    # The only reply is their own.
    assert not any(item.get("ancestors") for item in _dry_page(service, REPLIER)["items"])
    assert viewer_to_show(service, [REPLIER, VIEWER]) == VIEWER
    assert viewer_to_show(service, [REPLIER]) == REPLIER


def _dry_page(service: HttpService, user_id: int = VIEWER) -> dict[str, Any]:
    return reading.page(service, Wanted(user_id, limit=PAGE), record=False)
