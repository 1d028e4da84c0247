"""A tour of what a timeline can do, on one user of a simulated world: the demo's second half.

Each stop says by which command one sees the same.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from rich.console import Console

from cluster.commands import reading
from cluster.commands.analytics_text import print_analytics
from cluster.commands.http import HttpService
from cluster.commands.page_text import print_page
from cluster.commands.reading import Wanted
from cluster.commands.what_if_text import print_what_if
from cluster.commands.why_text import print_why
from cluster.settings import DAY_MS

PAGE = 15
"""Posts of a page that is shown."""
_WHAT_IF = {
    "weights": {"is_replied": 0.0},
    "settings": {"heuristics.balance.in_network_share": 0.8},
    "limit": PAGE,
}
_MOVED = 6
_MOST_CANDIDATES = 20
_SHARE = 0.9
_APPLIED_WITHIN_S = 3.0
_JSON = "application/json"


class Tour:
    """One user's tour; `data_dir` is what commands name, `texts` are those of posts."""

    def __init__(
        self,
        console: Console,
        service: HttpService,
        user_id: int,
        data_dir: str,
        texts: Mapping[int, str],
    ) -> None:
        self._console = console
        self._service = service
        self._user_id = user_id
        self._data_dir = data_dir
        self._texts = texts

    def take(self, page: Mapping[str, Any]) -> None:
        """Every stop; `page` is the user's For You as it was shown before."""
        self._other_settings()
        self._since_you_left()
        self._reach(int(page["items"][0]["author_id"]))
        self._more_in_network()
        self._muted_word()

    def _other_settings(self) -> None:
        weights = "--weight is_replied=0 --set heuristics.balance.in_network_share=0.8"
        self._stop("What if?", f"what-if {self._user_id} {weights} --limit {PAGE}")
        found = reading.what_if(self._service, self._user_id, _WHAT_IF)
        print_what_if(self._console, found, moved=_MOVED)

    def _since_you_left(self) -> None:
        command = f"timeline {self._user_id} --product top-posts --limit 5"
        self._stop("Top posts since you left", command)
        wanted = Wanted(self._user_id, "top-posts", limit=5)
        found = reading.page(self._service, wanted)
        if not found["items"]:
            since_ms = time.time_ns() // 1_000_000 - DAY_MS
            wanted = Wanted(self._user_id, "top-posts", limit=5, since_ms=since_ms)
            found = reading.page(self._service, wanted)
        print_page(self._console, found)

    def _reach(self, author_id: int) -> None:
        self._stop("Reach of the first post's author", f"analytics {author_id} --limit 3")
        print_analytics(self._console, reading.analytics(self._service, author_id, 28, 3))

    def _more_in_network(self) -> None:
        event = {"kind": "preference", "actor_id": self._user_id}
        event |= {"name": "in_network_share", "value": _SHARE}
        self._stop("More of whom you follow", f"event: {orjson.dumps(event).decode()}", event=True)
        before = _in_network(self._dry_page())
        told = self._send_and_wait(event, lambda page: _in_network(page) > before)
        after = _in_network(self._dry_page())
        self._say(
            f"asked for {_SHARE:.0%} of posts by followed accounts: {before} of {PAGE} before, "
            f"{after} after{told}"
        )
        self._send({**event, "value": -1})

    def _muted_word(self) -> None:
        chosen = _word_of([int(item["post_id"]) for item in self._dry_page()["items"]], self._texts)
        if chosen is None:
            return
        post_id, word = chosen
        event = {"kind": "keyword_mute", "actor_id": self._user_id, "keyword": word}
        self._stop("A muted word", f"event: {orjson.dumps(event).decode()}", event=True)
        self._say(f"post {post_id} says: {self._texts[post_id]}")
        told = self._send_and_wait(
            event, lambda page: str(post_id) not in {item["post_id"] for item in page["items"]}
        )
        self._say(f"the word {word!r} is muted{told}; why is the post not there any more?")
        found = reading.why(self._service, self._user_id, post_id)
        print_why(self._console, found, features=False)
        self._send({**event, "kind": "keyword_unmute"})

    def _send_and_wait(self, event: dict[str, Any], until: Callable[[Any], bool]) -> str:
        """Send an event and read pages until it shows; says how long that took."""
        self._send(event)
        acknowledged = time.monotonic()
        while time.monotonic() - acknowledged < _APPLIED_WITHIN_S:
            started = time.monotonic()
            if until(self._dry_page()):
                return f", on a page asked for {(started - acknowledged) * 1000:.0f} ms after it"
        return ", which changed no page"

    def _send(self, event: dict[str, Any]) -> None:
        event = {**event, "time_ms": time.time_ns() // 1_000_000}
        self._service.post("/v1/events", orjson.dumps([event]), _JSON)

    def _dry_page(self) -> dict[str, Any]:
        return reading.page(self._service, Wanted(self._user_id, limit=PAGE), record=False)

    def _stop(self, title: str, command: str, *, event: bool = False) -> None:
        self._console.rule(f"[b]{title}[/]", align="left")
        line = command if event else f"murmuration {command} --data-dir {self._data_dir}"
        self._console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def viewer_to_show(service: HttpService, user_ids: Iterable[int]) -> int:
    """The first of these whose page has a module and a conversation, else the one with most."""
    best, most = 0, -1
    for user_id in list(user_ids)[:_MOST_CANDIDATES]:
        page = reading.page(service, Wanted(user_id, limit=PAGE), record=False)
        talks = any(item.get("ancestors") for item in page["items"])
        score = 2 * talks + bool(page["between"])
        if score > most:
            best, most = user_id, score
        if score == 3:
            break
    return best


def _in_network(page: Mapping[str, Any]) -> int:
    """Posts of a page whose author the viewer follows."""
    followed = "followed_author"
    return sum(any(r["kind"] == followed for r in item["reasons"]) for item in page["items"])


def _word_of(post_ids: Iterable[int], texts: Mapping[int, str]) -> tuple[int, str] | None:
    """The longest plain word of the first of the posts whose text is known."""
    for post_id in post_ids:
        words = [w.strip("#.,:;!?").lower() for w in texts.get(post_id, "").split()]
        plain = [word for word in words if word.isascii() and word.isalpha()]
        if plain:
            return post_id, max(plain, key=len)
    return None
