from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.graph import PUBLIC_CODES
from actors.viewer_state import ViewerState
from cluster.events import Kind
from tests.timeline.candidate_rows import VIEWER, query, rows
from tests.timeline.linked_worlds import linked
from timeline.candidates import Candidates
from timeline.conversation import conversation_modules
from timeline.linked import Linked
from timeline.query import Query
from timeline.reasons import Reason, reasons_of
from timeline.social_context import LIKED_BY, PRIORITY, in_network, social_contexts

NAMES = ["cached", "lists", "popular_videos", "popular", "in_network"]
LIKED, REPOSTED = PUBLIC_CODES[Kind.FAVOURITE], PUBLIC_CODES[Kind.REPOST]


def proofs(*given: tuple[int, int]) -> dict[str, Any]:
    ids, kinds = np.zeros((2, 10), np.int64)
    for place, (user, kind) in enumerate(given):
        ids[place], kinds[place] = user, kind
    return {"proof_ids": ids, "proof_kinds": kinds}


def of_sources(*names: str) -> dict[str, Any]:
    return {"sources": sum(1 << NAMES.index(name) for name in names)}


def asked(*topics: int) -> Query:
    found = query()
    found.state = ViewerState(followed_topics=np.array(topics, np.int64))
    return found


def contexts(
    asking: Query, shown: Candidates, followers: list[list[int]] | None = None
) -> list[Reason | None]:
    found = linked(shown, rows(), follower_ids=np.array(followers)) if followers else None
    return social_contexts(asking, shown, NAMES, reasons_of(asking, shown, NAMES), linked=found)


TOPIC = Reason("topic", (), "on topic 5, which you follow", topic_ids=(5,))
LINES = [
    ({}, [0, 0], None),
    (
        proofs((11, LIKED)),
        [0, 0],
        Reason("favourited_by", (11,), "favourited by 11, whom you follow"),
    ),
    (
        proofs((11, LIKED), (12, LIKED), (13, LIKED)),
        [0, 0],
        Reason("favourited_by", (11, 12), "favourited by 11 and 12 and 1 more, whom you follow"),
    ),
    (
        proofs((13, REPOSTED), (11, LIKED)),
        [21, 0],
        Reason("favourited_by", (11,), "favourited by 11, whom you follow"),
    ),
    (
        proofs((13, REPOSTED)),
        [21, 0],
        Reason("reposted_by", (13,), "reposted by 13, whom you follow"),
    ),
    ({}, [21, 0], Reason("followed_by", (21,), "21, whom you follow, follows the author")),
    (
        {"topic_ids": 5},
        [21, 22],
        Reason("followed_by", (21, 22), "21 and 22, whom you follow, follow the author"),
    ),
    ({"topic_ids": 5}, [0, 0], TOPIC),
    ({"topic_ids": 5} | of_sources("popular_videos"), [0, 0], TOPIC),
    ({"topic_ids": 6}, [0, 0], None),
    (
        of_sources("popular", "lists", "popular_videos"),
        [0, 0],
        Reason("popular_video", (), "a popular video"),
    ),
    (of_sources("popular", "lists"), [0, 0], Reason("list", (), "in a list of yours")),
    (of_sources("popular"), [0, 0], Reason("popular", (), "popular at the moment")),
    (of_sources("in_network", "cached"), [0, 0], None),
    # Of those whom the viewer follows nobody need be told.
    ({"is_followed": 1, "topic_ids": 5}, [21, 0], None),
    ({"author_ids": VIEWER, "topic_ids": 5}, [21, 0], None),
    ({"is_followed": 1} | of_sources("lists"), [21, 0], Reason("list", (), "in a list of yours")),
]


@pytest.mark.parametrize(("post", "followers", "line"), LINES)
def test_a_post_alone(post: dict[str, Any], followers: list[int], line: Reason | None) -> None:
    assert contexts(asked(5), rows(post), [followers]) == [line]


def test_all_at_once_and_none() -> None:
    lines = contexts(asked(5), rows(*(post for post, _, _ in LINES)), [who for _, who, _ in LINES])
    assert lines == [line for _, _, line in LINES]
    assert contexts(asked(), rows()) == []
    assert {line.kind for line in lines if line} <= set(PRIORITY)
    assert PRIORITY[: len(LIKED_BY)] == LIKED_BY


@pytest.mark.parametrize(
    ("focal", "root", "line"),
    [
        ({}, {}, None),
        ({"is_followed": 1}, {"is_followed": 1}, None),
        ({"is_followed": 1}, {}, Reason("extended_reply", (60,), "60 replied")),
        ({}, {"is_followed": 1}, Reason("received_reply", (70,), "70 received a reply")),
        (
            {},
            {"author_ids": VIEWER},
            Reason("received_reply", (VIEWER,), f"{VIEWER} received a reply"),
        ),
    ],
)
def test_a_conversation(focal: dict[str, Any], root: dict[str, Any], line: Reason | None) -> None:
    posts = rows({"post_ids": 1, "author_ids": 70} | root)
    # What people did with the reply is no line over the root.
    reply = {"author_ids": 60, "links": [1, 0, 1], "scores": 1.0} | proofs((11, LIKED)) | focal
    shown = rows(reply, proofs((11, LIKED)))
    found: Linked = linked(shown, posts)
    modules = conversation_modules(shown, found, np.zeros(1, bool))
    assert len(modules.rows) == 2
    asking = asked()
    reasons = reasons_of(asking, shown, NAMES)
    lines = social_contexts(asking, shown, NAMES, reasons, modules=modules, linked=found)
    assert lines[0] == line
    assert lines[1] == Reason("favourited_by", (11,), "favourited by 11, whom you follow")


@pytest.mark.parametrize(
    ("post", "proven", "line"),
    [
        ({}, [7, 0, 0], Reason("topic", (), "on topic 7, whose followers like it", (), (7,))),
        ({}, [7, 5, 0], Reason("topic", (), "on topic 5, which you follow", (), (5, 7))),
        (
            {"topic_ids": 5},
            [8, 7, 5],
            Reason("topic", (), "on topic 5, which you follow", (), (5, 8, 7)),
        ),
        ({"is_followed": 1}, [7, 0, 0], None),
        ({"author_ids": VIEWER}, [7, 0, 0], None),
        (of_sources("popular"), [0, 0, 0], Reason("popular", (), "popular at the moment")),
    ],
)
def test_topics_that_may_be_named(
    post: dict[str, Any], proven: list[int], line: Reason | None
) -> None:
    shown = rows(post)
    reasons = reasons_of(asked(5), shown, NAMES, np.array([proven]))
    assert social_contexts(asked(5), shown, NAMES, reasons) == [line]
    told = [reason for reason in reasons[0] if reason.kind == "topic"]
    assert told == ([line] if line and line.topic_ids else [])


def test_in_network() -> None:
    posts = rows({}, {"is_followed": 1}, {"author_ids": VIEWER})
    assert in_network(query(), posts).tolist() == [False, True, True]
    assert in_network(replace(query(), viewer_id=2), posts).tolist() == [False, True, False]
