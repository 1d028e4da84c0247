"""From shards' answers to the ranker's inputs, in two waves; the same for serving and training.

`gather` is a generator: it yields what to ask which shard, is sent the answers, and returns the
inputs. Whoever runs it decides how shards are asked; what a shard does not answer is not known,
and has the values of what is not known.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.families import Place
from actors.features.inputs import Level, RankerInputs
from actors.features.light import positions_in
from actors.features.registry import BlockPlan, defaults_of, plan_of, schema_of
from actors.ranker_inputs import aggregates, found, links
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.links import Engagers
from actors.ranker_inputs.posts import LINKED, Facts
from actors.ranker_inputs.viewer import NOBODY, person_codes
from actors.ranker_questions import (
    AskAuthorTies,
    AskLinkedInputs,
    AskPostInputs,
    AskTopicCounts,
    AuthorTies,
    LinkedInputs,
    PostInputs,
    ViewerInputs,
)
from actors.router import shards_of
from actors.state import Question
from cluster.ids import Ids, distinct

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

Questions = Mapping[int, Sequence[Question]]
"""What to ask, by shard."""
Answers = Mapping[int, Sequence[Any]]
"""What was answered, by shard, in the order asked; a `Failed` counts as no answer."""


@dataclass(frozen=True)
class Posts:
    """Candidates as the request knows them; arrays of shape (n, …)."""

    post_ids: Ids
    """Of newest versions."""
    author_ids: Ids
    linked_author_ids: Ids
    """(n, 3): authors of the posts replied to, quoted and reposted; 0 for none."""
    light: Floats
    """(n, ·): the light ranker's features of posts, then of social proof."""
    sources: npt.NDArray[np.int64]
    """Numbers from 1 in `found.SOURCES`; 0 for others."""
    engagers: Engagers
    """Followed users who engaged with each."""

    def __len__(self) -> int:
        return len(self.post_ids)


def gather(
    asking: Asking, viewer: ViewerInputs | None, posts: Posts, n_shards: int
) -> Generator[Questions, Answers, RankerInputs]:
    """The inputs of candidates; `viewer` is what the viewer's shard told, None where it did not."""
    wanted = _Wanted(asking, viewer, posts, n_shards)
    answers = yield wanted.first()
    wanted.learn_first(answers)
    second = wanted.second()
    if second:
        answers = yield second
        wanted.learn_second(answers)
    return wanted.inputs()


def unknown_viewer(asking: Asking) -> ViewerInputs:
    """What is known of a viewer whose shard told nothing."""
    plan = plan_of(asking.selection, Level.VIEWER, Place.VIEWER)
    nothing = np.zeros((1, asking.vector_dimensions), np.float32)
    return ViewerInputs(
        plan.empty(1),
        np.array([person_codes(NOBODY, asking)], np.int64),
        {"user_follow": nothing, "user_engagement": nothing},
    )


class _Wanted:
    """The inputs of one request while its answers come in."""

    def __init__(
        self, asking: Asking, viewer: ViewerInputs | None, posts: Posts, n_shards: int
    ) -> None:
        self._asking, self._posts, self._n_shards = asking, posts, n_shards
        self._viewer = viewer or unknown_viewer(asking)
        self._home = int(shards_of(asking.viewer, n_shards)[0])
        self._author_ids, self._author_rows = np.unique(posts.author_ids, return_inverse=True)
        related = (self._author_ids, posts.linked_author_ids.ravel(), posts.engagers.user_ids)
        users = distinct(np.concatenate(related))
        self._user_ids = users[users > 0]
        self._engager_ids = distinct(posts.engagers.user_ids)
        n, n_authors = len(posts), len(self._author_ids)
        self._values = [
            np.repeat(defaults_of(asking.selection, level)[None, :], rows, axis=0)
            for level, rows in zip(Level, (1, n_authors, n), strict=True)
        ]
        self._author_codes = np.zeros((n_authors, 3), np.int64)
        self._author_codes[:, 0] = self._author_ids
        self._post_codes = np.zeros((n, 2), np.int64)
        self._author_vectors = np.zeros((n_authors, asking.vector_dimensions), np.float32)
        self._facts = Facts(*np.zeros((len(Facts._fields), n), np.int64))
        # Of posts that never came nobody knows the author; no shard is asked for that one.
        self._homes, self._author_homes = (
            np.where(ids > 0, shards_of(ids, n_shards), -1)
            for ids in (posts.author_ids, self._author_ids)
        )
        self._ties: AuthorTies | None = None
        self._linked: tuple[dict[int, Ids], Ids, Ids] = ({}, _NO_IDS, _NO_IDS)
        self._topic_ids = _NO_IDS

    def first(self) -> Questions:
        """The viewer's ties; candidates and their authors."""
        asking, viewer = self._asking, self._viewer
        known_ids = self._author_ids[self._author_homes >= 0]
        authors, engagers = (
            positions_in(self._user_ids, ids) for ids in (known_ids, self._engager_ids)
        )
        wave: dict[int, list[Question]] = {
            self._home: [AskAuthorTies(asking, self._user_ids, authors, engagers)]
        }
        for shard in np.unique(self._homes[self._homes >= 0]).tolist():
            wave.setdefault(shard, []).append(
                AskPostInputs(
                    *(asking, viewer.person, viewer.left),
                    self._posts.post_ids[self._homes == shard],
                    self._author_ids[self._author_homes == shard],
                )
            )
        return wave

    def learn_first(self, answers: Answers) -> None:
        """Take in what `first` brought."""
        for shard, told in answers.items():
            for answer in told:
                if isinstance(answer, AuthorTies):
                    self._ties = answer
                    plan = self._plan(Level.AUTHOR, Place.TIES)
                    rows = np.flatnonzero(self._author_homes >= 0)
                    plan.place(self._values[Level.AUTHOR], answer.values, rows)
                elif isinstance(answer, PostInputs):
                    self._learn_posts(shard, answer)

    def second(self) -> Questions:
        """What candidates link to, and what all shards counted of their topics."""
        asking, viewer = self._asking, self._viewer
        wave: dict[int, list[Question]] = {}
        links_wanted = self._plan(Level.POST, Place.LINKS)
        ids, authors = [], []
        for link, family in zip(LINKED, links.FAMILIES, strict=True):
            if links_wanted.wants(family.name):
                ids.append(getattr(self._facts, f"{link}_ids"))
                authors.append(getattr(self._facts, f"{link}_author_ids"))
        if ids:
            linked, first = np.unique(np.concatenate(ids), return_index=True)
            of_authors = np.concatenate(authors)[first]
            kept = (linked > 0) & (of_authors > 0)
            linked, homes = linked[kept], shards_of(of_authors[kept], self._n_shards)
            shards = np.unique(homes).tolist()
            rows = {shard: np.flatnonzero(homes == shard) for shard in shards}
            self._linked = rows, linked, homes
            for shard in shards:
                wave[shard] = [AskLinkedInputs(asking, viewer.person, linked[rows[shard]])]
        topics = self._plan(Level.POST, Place.TOPICS)
        topic_ids = distinct(self._facts.topic_ids)
        self._topic_ids = topic_ids[topic_ids > 0]
        if len(topics) and len(self._topic_ids):
            for shard in range(self._n_shards):
                wave.setdefault(shard, []).append(AskTopicCounts(asking, self._topic_ids))
        return wave

    def learn_second(self, answers: Answers) -> None:
        """Take in what `second` brought."""
        rows, linked, _ = self._linked
        features = np.zeros((len(linked), links.N_FEATURES), np.float32)
        known = np.zeros(len(linked), bool)
        counts: dict[str, npt.NDArray[np.float64]] = {}
        for shard, told in answers.items():
            for answer in told:
                if isinstance(answer, LinkedInputs):
                    features[rows[shard]], known[rows[shard]] = answer.features, answer.known
                elif isinstance(answer, dict):
                    for name, values in answer.items():
                        counts[name] = (
                            counts[name] + values if name in counts else (values.astype(np.float64))
                        )
        self._place_links(linked, features, known)
        self._place_topics(counts)

    def inputs(self) -> RankerInputs:
        """All levels together."""
        asking, posts, viewer = self._asking, self._posts, self._viewer
        self._plan(Level.VIEWER, Place.VIEWER).place(self._values[Level.VIEWER], viewer.values)
        self._place_request()
        codes = np.column_stack([self._post_codes, posts.sources])
        return RankerInputs(
            schema_of(asking.selection, asking.vector_dimensions),
            (self._values[0], self._values[1], self._values[2]),
            (viewer.codes, self._author_codes, codes),
            {**viewer.vectors, "author_follow": self._author_vectors},
            self._author_rows.astype(np.int64),
        )

    def _plan(self, level: Level, place: Place) -> BlockPlan:
        return plan_of(self._asking.selection, level, place)

    def _learn_posts(self, shard: int, told: PostInputs) -> None:
        rows = np.flatnonzero(self._homes == shard)
        plan = self._plan(Level.POST, Place.POSTS)
        plan.place(self._values[Level.POST], told.values, _at(rows, len(self._posts)))
        self._post_codes[rows] = told.codes
        for mine, theirs in zip(self._facts, told.facts, strict=True):
            mine[rows] = theirs
        rows = np.flatnonzero(self._author_homes == shard)
        plan = self._plan(Level.AUTHOR, Place.AUTHORS)
        plan.place(self._values[Level.AUTHOR], told.author_values, rows)
        self._author_codes[rows], self._author_vectors[rows] = (
            told.author_codes,
            told.author_vectors,
        )

    def _place_links(self, linked: Ids, features: Floats, known: Mask) -> None:
        plan = self._plan(Level.POST, Place.LINKS)
        if not len(linked) or not len(plan):
            return
        block = plan.empty(len(self._posts))
        for link, family in enumerate(links.FAMILIES):
            if plan.wants(family.name):
                at = positions_in(linked, getattr(self._facts, f"{LINKED[link]}_ids"))
                rows = np.flatnonzero(at >= 0)
                values = links.block(features[at[rows]], known[at[rows]], link)
                part = block[rows]
                plan.write(part, family.name, values)
                block[rows] = part
        plan.place(self._values[Level.POST], block)

    def _place_topics(self, counts: Mapping[str, npt.NDArray[np.float64]]) -> None:
        plan = self._plan(Level.POST, Place.TOPICS)
        if not counts:
            return
        block = plan.empty(len(self._topic_ids) + 1)
        for name, values in counts.items():
            plan.write(block[:-1], name, values.astype(np.float32))
        # The last row is that of no topic.
        at = positions_in(self._topic_ids, self._facts.topic_ids)
        plan.place(self._values[Level.POST], block.take(at, 0))

    def _place_request(self) -> None:
        asking, posts, n = self._asking, self._posts, len(self._posts)
        plan = self._plan(Level.POST, Place.REQUEST)
        block = plan.empty(n)
        plan.write(block, found.EARLYBIRD.name, posts.light)
        plan.write(block, found.FOUND_BY.name, found.found_by(posts.sources))
        followed = positions_in(self._viewer.topic_ids, self._facts.topic_ids) >= 0
        plan.write(block, found.TOPIC.name, followed[:, None].astype(np.float32))
        if self._ties is not None:
            related = links.related_users(
                self._ties.related, self._user_ids, posts.linked_author_ids, posts.engagers
            )
            plan.write(block, links.RELATED_USERS.name, related)
            counted = aggregates.groups_at(asking.selection, Place.REQUEST)
            for group in counted if len(self._engager_ids) else ():
                rows = self._ties.engagers[group.name]
                merged = aggregates.merged_engagers(group, rows, self._engager_ids, posts.engagers)
                plan.write(block, group.name, merged)
        plan.place(self._values[Level.POST], block)


_NO_IDS = np.empty(0, np.int64)


def _at(rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64] | slice:
    """All rows as a slice, which is written faster."""
    return slice(None) if len(rows) == n else rows
