"""A page as text: its posts with what stands over, inside and between them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

_NAMED = 5
"""Accounts and topics of a module that are named."""
_MARGIN = "     "
_INSIDE = ("quoted", "reposted")


def print_page(console: Console, page: Mapping[str, Any]) -> None:
    """A `PageAnswer` as a list; each post has a line for what it is and one for why."""
    now_ms = page.get("as_of_ms", time.time_ns() // 1_000_000)
    for line in page_lines(page, now_ms):
        console.print(line, highlight=False, soft_wrap=True)


def page_lines(page: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """The lines of a page, with rich's markup."""
    yield f"[b]{_title(page)}[/]"
    yield from _news(page)
    entries: list[tuple[bool, Mapping[str, Any]]] = [(True, item) for item in page["items"]]
    for one in page.get("between", ()):
        entries.insert(one["index"], (False, one))
    place = 0
    for is_post, entry in entries:
        place += is_post
        yield from _post(entry, place, now_ms) if is_post else [_module(entry)]
    if not page["items"]:
        yield f"{_MARGIN}no posts"
    yield from _end(page)


def _title(page: Mapping[str, Any]) -> str:
    reason = f" ({page['reason']})" if page["reason"] else ""
    return escape(f"{page['product']} of user {page['user_id']}{reason}")


def _news(page: Mapping[str, Any]) -> Iterator[str]:
    """What has come since the last page, and what took another one's place."""
    pill = page.get("new_posts")
    if pill:
        posts = "1 new post" if pill["n_posts"] == 1 else f"{pill['n_posts']} new posts"
        by = ", ".join(pill["user_ids"])
        wait = f", to be told after {pill['delay_ms'] / 60_000:g} min" if pill["delay_ms"] else ""
        yield f"[cyan]▲ {posts} by {by}{wait}[/]"
    for one in page.get("replaced", ()):
        yield f"[cyan]post {one['post_id']} was edited: it is post {one['by_post_id']} now[/]"


def _post(item: Mapping[str, Any], place: int, now_ms: int) -> Iterator[str]:
    """An entry: its context, what the post answers, the post itself, and why it is there."""
    context = item.get("context")
    lines = [f"[i]{escape(context['text'])}[/]"] if context else []
    lines += [f"  │ {_shown(above, now_ms)}" for above in item.get("ancestors", ())]
    lines.append(f"{_shown(item, now_ms)}  [dim]{item['score']:.3f} {item['source']}[/]")
    lines += [f"  {word}: {_shown(item[word], now_ms)}" for word in _INSIDE if item.get(word)]
    told = context["text"] if context else None
    reasons = "; ".join(r["text"] for r in item["reasons"] if r["text"] != told)
    lines += [escape(reasons)] if reasons else []
    yield f"{place:3d}. {lines[0]}"
    yield from (_MARGIN + line for line in lines[1:])


def _shown(post: Mapping[str, Any], now_ms: int) -> str:
    """One post in a few words, with the rules that cover or limit it."""
    if post.get("tombstone"):
        return f"post {post['post_id']}, which may not be shown"
    name = post.get("uri") or f"post {post['post_id']}"
    line = escape(f"{name} by {post['author_id']}, {_age(now_ms - post['created_ms'])} old")
    for flag, word in (("covered_by", "covered"), ("limited_by", "limited")):
        if post.get(flag):
            line += f" [yellow]{word}: {escape(post[flag])}[/]"
    return line


def _module(one: Mapping[str, Any]) -> str:
    if one["kind"] == "ad":
        ad = one["ad"]
        return f"{_MARGIN}[green]── ad:[/] {escape(' '.join((ad['text'], ad['url'])))}"
    named = _some([f"post {post}" for post in one.get("post_ids", ())])
    named = named or _some(one["user_ids"]) or _some([f"topic {t}" for t in one["topic_ids"]])
    text = escape(f"{one['text']}: {named}" if named else one["text"])
    return f"{_MARGIN}[green]── {one['name']}:[/] {text}"


def _end(page: Mapping[str, Any]) -> Iterator[str]:
    if page["degraded"]:
        yield f"[yellow]degraded:[/] {escape(', '.join(page['degraded']))}"
    if page.get("experiment_arms"):
        yield f"experiments: {', '.join(page['experiment_arms'])}"
    told = [f"request {page['request_id']}", f"{page['timings_ms'].get('total', 0.0):.1f} ms"]
    if page["model_version"]:
        told.append(f"model {page['model_version']}")
    yield escape(", ".join(told))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _age(age_ms: int) -> str:
    minutes = max(age_ms, 0) / 60_000
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"
