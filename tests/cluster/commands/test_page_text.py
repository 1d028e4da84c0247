"""A page as text, line by line."""

from typing import Any

from cluster.commands.page_text import page_lines

NOW_MS = 1_800_000_000_000


def a_post(post_id: int, minutes: float, **more: Any) -> dict[str, Any]:
    created_ms = NOW_MS - int(minutes * 60_000)
    return {"post_id": str(post_id), "author_id": "7", "created_ms": created_ms, **more}


def an_item(post_id: int, minutes: float = 5, **more: Any) -> dict[str, Any]:
    known = {"score": 0.25, "source": "in_network", "reasons": [a_reason("you follow the author")]}
    return a_post(post_id, minutes, **{**known, **more})


def a_reason(text: str) -> dict[str, Any]:
    return {"kind": "any", "user_ids": [], "post_ids": [], "text": text}


def a_page(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        **{"product": "for_you", "user_id": "1", "reason": None, "items": list(items)},
        **{"request_id": "r", "timings_ms": {"total": 5.04}, "model_version": "m1"},
        **{"degraded": [], **more},
    }


def lines(page: dict[str, Any]) -> list[str]:
    return list(page_lines(page, NOW_MS))


END = "request r, 5.0 ms, model m1"


def test_a_post_and_its_reasons() -> None:
    reasons = [a_reason("one"), a_reason("two")]
    assert lines(a_page(an_item(5, reasons=reasons))) == [
        "[b]for_you of user 1[/]",
        "  1. post 5 by 7, 5 min old  [dim]0.250 in_network[/]",
        "     one; two",
        END,
    ]


def test_a_conversation_stands_below_its_context() -> None:
    item = an_item(
        *(5, 90),
        ancestors=[a_post(3, 60 * 50), a_post(4, 100, covered_by="cover_marked")],
        context=a_reason("you follow the author"),
    )
    assert lines(a_page(item))[1:-1] == [
        "  1. [i]you follow the author[/]",
        "       │ post 3 by 7, 2 d old",
        "       │ post 4 by 7, 2 h old [yellow]covered: cover_marked[/]",
        "     post 5 by 7, 2 h old  [dim]0.250 in_network[/]",
    ]


def test_what_is_inside_covered_and_limited() -> None:
    buried = {"post_id": "2", "tombstone": True}
    first = an_item(5, quoted=buried, covered_by="a", limited_by="b", reasons=[])
    second = an_item(6, reposted=a_post(3, 7), reasons=[], uri="at://[x]/y")
    assert lines(a_page(first, second))[1:-1] == [
        "  1. post 5 by 7, 5 min old [yellow]covered: a[/] [yellow]limited: b[/]"
        "  [dim]0.250 in_network[/]",
        "       quoted: post 2, which may not be shown",
        r"  2. at://\[x]/y by 7, 5 min old  [dim]0.250 in_network[/]",
        "       reposted: post 3 by 7, 7 min old",
    ]


def test_what_is_between_stands_at_its_index() -> None:
    accounts = [str(user) for user in range(11, 18)]
    page = a_page(
        *(an_item(post, reasons=[]) for post in (5, 6)),
        between=[
            {"kind": "ad", "index": 1, "ad": {"id": "a", "text": "Buy [b]", "url": "http://x"}},
            {
                **{"kind": "who_to_follow", "index": 2, "name": "who_to_follow"},
                **{"text": "Who to follow", "user_ids": accounts, "topic_ids": []},
            },
            {
                **{"kind": "topics", "index": 4, "name": "topics", "text": "Topics"},
                **{"user_ids": [], "topic_ids": ["3", "4"]},
            },
        ],
    )
    assert lines(page)[1:-1] == [
        "  1. post 5 by 7, 5 min old  [dim]0.250 in_network[/]",
        r"     [green]── ad:[/] Buy \[b] http://x",
        "     [green]── who_to_follow:[/] Who to follow: 11, 12, 13, 14, 15 and 2 more",
        "  2. post 6 by 7, 5 min old  [dim]0.250 in_network[/]",
        "     [green]── topics:[/] Topics: topic 3, topic 4",
    ]


def test_what_is_new_and_what_was_replaced() -> None:
    page = a_page(
        new_posts={"n_posts": 2, "user_ids": ["8", "9"], "delay_ms": 240_000},
        replaced=[{"post_id": "3", "by_post_id": "4"}],
        reason="nothing_new",
        degraded=["shard_1", "ads"],
        experiment_arms=["reply:more"],
    )
    assert lines(page) == [
        "[b]for_you of user 1 (nothing_new)[/]",
        "[cyan]▲ 2 new posts by 8, 9, to be told after 4 min[/]",
        "[cyan]post 3 was edited: it is post 4 now[/]",
        "     no posts",
        "[yellow]degraded:[/] shard_1, ads",
        "experiments: reply:more",
        END,
    ]
