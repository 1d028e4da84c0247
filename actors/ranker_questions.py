"""What a request asks of shards for the ranker's inputs: blocks, laid out as the registry says.

Wave by wave: the viewer with the viewer's context (`AskViewerInputs`); with the candidates known,
the viewer's ties to their authors (`AskAuthorTies`) and, in every shard, its candidates and their
authors (`AskPostInputs`); last what candidates link to (`AskLinkedInputs`) and what each shard
counted of their topics (`AskTopicCounts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.features.families import Place
from actors.features.inputs import Level
from actors.features.registry import BlockPlan, plan_of
from actors.graph_questions import AskLeft
from actors.ranker_inputs import aggregates, authors, links, posts, ties, viewer
from actors.ranker_inputs.activity import activity_of
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.viewer import NOBODY, Person
from actors.state import ShardState
from actors.two_hop import LeftLists
from actors.vector_models import Float32s
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

NO_LISTS = LeftLists(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.int32), {})


@dataclass(frozen=True)
class ViewerInputs:
    """What the viewer's shard tells of the viewer, and what other shards need to compare with."""

    values: Floats
    """(1, ·): the block of level and place `VIEWER`."""
    codes: Ids
    """(1, 4): the viewer's discrete inputs."""
    vectors: Mapping[str, Float32s]
    """(1, dimensions) each."""
    person: Person = NOBODY
    left: LeftLists = field(default_factory=lambda: NO_LISTS)
    topic_ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Topics followed, sorted."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the artifacts that this was told under."""


@dataclass(frozen=True)
class AskViewerInputs:
    """The viewer's inputs; for the viewer's own shard."""

    asking: Asking

    def answer(self, state: ShardState) -> ViewerInputs:
        """One row, which depends on nothing but the viewer and the time."""
        asking = self.asking.under(state)
        plan = plan_of(asking.selection, Level.VIEWER, Place.VIEWER)
        left = AskLeft(asking.viewer_id, viewer.LEFT_TYPES, asking.now_ms).answer(state)
        activity = activity_of(state.graph, state.settings.windows, asking.viewer_id, asking.now_ms)
        block = plan.empty(1)
        plan.write(block, viewer.REQUEST.name, viewer.request_context(asking.now_ms))
        plan.write(block, viewer.VIEWER.name, viewer.viewer(state, asking, activity, left))
        plan.write(block, viewer.ACTIVITY.name, viewer.activity_totals(activity, asking.now_ms))
        _write_groups(state, asking, plan, block, Place.VIEWER, aggregates.viewer_keys(asking))
        person = viewer.person_of(state, asking.viewer_id)
        return ViewerInputs(
            block,
            np.array([viewer.person_codes(person, asking)], np.int64),
            {
                name: authors.vectors_of(state, asking, name, asking.viewer)
                for name in ("user_follow", "user_engagement")
            },
            person,
            left,
            np.sort(state.graph.topics.others(asking.viewer_id)[0]),
            asking.versions or {},
        )


@dataclass(frozen=True)
class AuthorTies:
    """What the viewer's shard tells of users."""

    values: Floats
    """(a, ·): of authors, the block of level `AUTHOR` and place `TIES`."""
    related: Floats
    """(u, len(RELATED)): of all users asked for."""
    engagers: Mapping[str, Floats]
    """By group: rows of counters (e, ·) of engagers."""


@dataclass(frozen=True)
class AskAuthorTies:
    """The viewer's ties to users (u,), ascending; for the viewer's own shard."""

    asking: Asking
    user_ids: Ids
    author_rows: Ids
    """(a,): which of them are authors of candidates."""
    engager_rows: Ids
    """(e,): which of them engaged with candidates."""

    def answer(self, state: ShardState) -> AuthorTies:
        """In the order asked."""
        asking, user_ids = self.asking, self.user_ids
        plan = plan_of(asking.selection, Level.AUTHOR, Place.TIES)
        activity = activity_of(state.graph, state.settings.windows, asking.viewer_id, asking.now_ms)
        edges, recent = ties.ties(state, asking, activity, user_ids)
        author_ids = user_ids[self.author_rows]
        block = plan.empty(len(author_ids))
        plan.write(block, ties.TIES.name, edges[self.author_rows])
        plan.write(block, ties.INTERACTIONS.name, recent[self.author_rows])
        keys = {
            "viewer_id": np.full(len(author_ids), asking.viewer_id, np.int64),
            "author_id": author_ids,
            "lists": ties.lists_of(state, asking, author_ids),
        }
        _write_groups(state, asking, plan, block, Place.TIES, keys)
        engager_ids = user_ids[self.engager_rows]
        keys = {
            "viewer_id": np.full(len(engager_ids), asking.viewer_id, np.int64),
            "engagers": engager_ids,
        }
        engagers = {
            group.name: aggregates.read(state, asking, group, keys)
            for group in aggregates.groups_at(asking.selection, Place.REQUEST)
        }
        return AuthorTies(block, edges[:, ties.RELATED_AT], engagers)


@dataclass(frozen=True)
class PostInputs:
    """What a shard tells of its candidates and their authors."""

    values: Floats
    """(n, ·): the block of level and place `POSTS`."""
    codes: Ids
    """(n, 2)."""
    facts: posts.Facts
    author_values: Floats
    """(a, ·): the block of level `AUTHOR` and place `AUTHORS`."""
    author_codes: Ids
    """(a, 3)."""
    author_vectors: Float32s
    """(a, dimensions)."""


@dataclass(frozen=True)
class AskPostInputs:
    """Candidates (n,) and authors (a,), ascending, of a shard; for that shard."""

    asking: Asking
    person: Person
    left: LeftLists
    post_ids: Ids
    author_ids: Ids

    def answer(self, state: ShardState) -> PostInputs:
        """In the order asked; unknown posts have the values of what is not known."""
        asking, n = self.asking, len(self.post_ids)
        plan = plan_of(asking.selection, Level.POST, Place.POSTS)
        rows = posts.rows_of(state, self.post_ids)
        known = np.flatnonzero(rows >= 0)
        rows = rows[known]
        block = plan.empty(len(rows))
        plan.write(block, posts.CONTENT.name, posts.content(state, asking, self.person, rows))
        if plan.wants(posts.LIKENESS.name):
            plan.write(block, posts.LIKENESS.name, posts.likeness(state, asking, rows))
        keys = posts.keys(state, asking, self.person, rows)
        _write_groups(state, asking, plan, block, Place.POSTS, keys)
        facts, codes = posts.facts(state, rows), posts.codes(state, rows)
        if len(rows) < n:
            values = plan.empty(n)
            values[known] = block
            facts = posts.Facts(*(_spread(column, known, n) for column in facts))
            block, codes = values, _spread(codes, known, n)
        return PostInputs(block, codes, facts, *self._authors(state))

    def _authors(self, state: ShardState) -> tuple[Floats, Ids, Float32s]:
        asking, author_ids = self.asking, self.author_ids
        plan = plan_of(asking.selection, Level.AUTHOR, Place.AUTHORS)
        block = plan.empty(len(author_ids))
        told = authors.authors(state, asking, self.person, author_ids)
        plan.write(block, authors.AUTHOR.name, told)
        plan.write(block, authors.LIKENESS.name, authors.likeness(state, asking, author_ids))
        counts = authors.two_hop(state, asking, self.left, author_ids)
        plan.write(block, authors.TWO_HOP.name, counts)
        _write_groups(state, asking, plan, block, Place.AUTHORS, {"author_id": author_ids})
        codes = authors.author_codes(state, author_ids)
        return block, codes, authors.author_vectors(state, asking, author_ids)


@dataclass(frozen=True)
class LinkedInputs:
    """What a shard tells of posts that candidates link to."""

    features: Floats
    """(m, len(POST_FEATURES))."""
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AskLinkedInputs:
    """Posts (m,) that candidates reply to, quote or repost; for their authors' shards."""

    asking: Asking
    person: Person
    post_ids: Ids

    def answer(self, state: ShardState) -> LinkedInputs:
        """In the order asked."""
        return LinkedInputs(*links.linked_posts(state, self.asking, self.person, self.post_ids))


@dataclass(frozen=True)
class AskTopicCounts:
    """What was counted of topics (t,) in one shard, a part of the whole; for every shard."""

    asking: Asking
    topic_ids: Ids

    def answer(self, state: ShardState) -> dict[str, Floats]:
        """By group: rows of counters (t, ·)."""
        return {
            group.name: aggregates.read(state, self.asking, group, {"topics": self.topic_ids})
            for group in aggregates.groups_at(self.asking.selection, Place.TOPICS)
        }


def _write_groups(
    state: ShardState,
    asking: Asking,
    plan: BlockPlan,
    block: Floats,
    place: Place,
    keys: aggregates.Keys,
) -> None:
    repeated = aggregates.Repeated(keys)
    for group in aggregates.groups_at(asking.selection, place):
        if plan.wants(group.name):
            plan.write(block, group.name, repeated.read(state, asking, group))


def _spread(values: Ids, at: Ids, n: int) -> Ids:
    spread = np.zeros((n, *values.shape[1:]), values.dtype)
    spread[at] = values
    return spread
