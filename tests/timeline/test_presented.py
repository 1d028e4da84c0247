import numpy as np
import pytest

from tests.timeline.candidate_rows import rows
from tests.timeline.linked_worlds import linked
from timeline.conversation import conversation_modules
from timeline.presented import Entry, Flags, ShownPost, entries
from timeline.reasons import Reason

AT_MS = 1_000
LINE = Reason("topic", (), "on a topic")


def test_entries() -> None:
    posts = rows(
        {"post_ids": 1, "author_ids": 71, "created_ms": AT_MS},
        {"post_ids": 2, "author_ids": 72, "created_ms": AT_MS, "links": [1, 0, 1]},
        {"post_ids": 3, "author_ids": 73, "created_ms": AT_MS},
        {"post_ids": 4, "author_ids": 74, "created_ms": AT_MS, "deleted": True},
        {"post_ids": 5, "author_ids": 75, "created_ms": AT_MS},
    )
    plain = {"created_ms": AT_MS, "author_ids": 60, "scores": 1.0}
    shown = rows(
        plain | {"post_ids": 10, "links": [2, 3, 1]},
        plain | {"post_ids": 11},
        plain | {"post_ids": 12, "repost_of_ids": 5},
        plain | {"post_ids": 13, "links": [0, 4, 0]},
        plain | {"post_ids": 14, "links": [0, 99, 0]},
    )
    found = linked(shown, posts)
    modules = conversation_modules(shown, found, np.zeros(5, bool))
    made = entries(
        shown,
        found,
        modules,
        [None, LINE, None, None, None],
        flags=Flags(limited_by=["", "slur", "", "", ""]),
        linked_flags=Flags(covered_by=["nsfw", "", "gore", "", ""]),
    )
    root = ShownPost(1, 71, AT_MS, covered_by="nsfw")
    quoted = ShownPost(3, 73, AT_MS, covered_by="gore")
    focal = ShownPost(10, 60, AT_MS, quoted=quoted)
    assert made == [
        Entry("conversation", (root, ShownPost(2, 72, AT_MS), focal), row=0),
        Entry("post", (ShownPost(11, 60, AT_MS, limited_by="slur"),), LINE, row=1),
        Entry("post", (ShownPost(12, 60, AT_MS, reposted=ShownPost(5, 75, AT_MS)),), row=2),
        Entry(
            "post",
            (ShownPost(13, 60, AT_MS, quoted=ShownPost(4, 0, 0, tombstone=True)),),
            row=3,
        ),
        Entry(
            "post", (ShownPost(14, 60, AT_MS, quoted=ShownPost(99, 0, 0, tombstone=True)),), row=4
        ),
    ]
    assert [entry.post_ids for entry in made] == [[1, 2, 10, 3], [11], [12, 5], [13], [14]]
    assert made[0].focal is made[0].posts[2]


def test_what_visibility_buries_is_no_more_than_an_id() -> None:
    posts = rows({"post_ids": 3, "author_ids": 73})
    shown = rows({"post_ids": 10, "links": [0, 3, 0]})
    found = linked(shown, posts)
    modules = conversation_modules(shown, found, np.zeros(1, bool))
    for buried, ids in ((None, [10, 3]), (np.array([False]), [10, 3]), (np.array([True]), [10])):
        [entry] = entries(shown, found, modules, [None], buried=buried)
        assert entry.post_ids == ids
        quoted = entry.focal.quoted
        assert quoted is not None
        assert quoted.tombstone is (buried is not None and bool(buried[0]))


def test_an_entry_without_posts() -> None:
    ad = Entry("ad")
    assert ad.post_ids == []
    with pytest.raises(LookupError, match="an entry of kind ad has no posts"):
        _ = ad.focal
