"""Writing posts, and what becomes of them: edits, deletions, safety labels."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cluster.events import Kind
from cluster.ids import Ids
from simulation.posts import draw_posts, has_picture, record_posts, texts_of
from simulation.recorder import NEVER_MS, Recorder
from simulation.rhythm import HOUR_MS

if TYPE_CHECKING:
    from simulation.world import World

EDITED, DELETED = 0.01, 0.015
"""Share of posts."""
MENTIONED = 0.08
"""Share of posts that name somebody whom their author follows."""
LABELS = {"toxic": "abusive_high_recall", "adult": "nsfw_high_precision"}
"""Trait of a post → the safety label given for it."""
PICTURE_LABEL, PICTURE_LABELLED = "nsfw_media", 0.95
"""The label of adult posts for what their pictures show, and the share of these that get it."""
LABELLED, LABELLED_WRONGLY = 0.85, 0.002
"""Share of posts with the trait, and without it, that are labelled."""


def publish(
    world: "World",
    hour_ms: int,
    active: npt.NDArray[np.float64],
    recorder: Recorder,
    rng: np.random.Generator,
) -> None:
    """One hour of new posts that answer nobody."""
    counts = rng.poisson(world.population.posts_per_day / 24 * active)
    authors = np.repeat(np.arange(len(counts)), counts)
    times_ms = hour_ms + rng.integers(0, HOUR_MS, len(authors))
    order = np.argsort(times_ms, kind="stable")
    rows = world.posts.append(draw_posts(world.population, authors[order], times_ms[order], rng))
    record_posts(world.population, world.posts, rows, recorder, rng)


def look_after(
    world: "World", rows: Ids, now_ms: int, recorder: Recorder, rng: np.random.Generator
) -> None:
    """What follows from new posts, not before `now_ms`: mentions, edits, deletions, labels."""
    posts = world.posts.rows[rows]
    author_ids = world.population.user_ids[posts["author"]]

    def later_ms(chosen: Ids, median_ms: int) -> Ids:
        waits_ms = median_ms * rng.lognormal(0, 1.0, len(chosen))
        times_ms: Ids = posts["created_ms"][chosen] + 1 + waits_ms.astype(np.int64)
        return np.maximum(times_ms, now_ms)

    fates = rng.random(len(rows))
    chosen = np.flatnonzero(fates < EDITED)
    recorder.add(
        Kind.POST_EDIT,
        later_ms(chosen, 240_000),
        post_id=posts["id"][chosen],
        author_id=author_ids[chosen],
        text=texts_of(posts[chosen], rng),
    )
    chosen = np.flatnonzero(fates > 1 - DELETED)
    deleted_ms = later_ms(chosen, 2 * HOUR_MS)
    world.posts.rows["deleted_ms"][rows[chosen]] = deleted_ms
    recorder.add(
        Kind.POST_DELETE, deleted_ms, post_id=posts["id"][chosen], author_id=author_ids[chosen]
    )
    # A generator of its own: the rest of the world is as it would be without.
    [looking] = rng.spawn(1)
    shown = posts["adult"] & has_picture(posts)
    chosen = np.flatnonzero(shown & (looking.random(len(rows)) < PICTURE_LABELLED))
    recorder.add(
        Kind.SAFETY_LABEL,
        np.maximum(posts["created_ms"][chosen] + looking.integers(1, HOUR_MS, len(chosen)), now_ms),
        post_id=posts["id"][chosen],
        author_id=author_ids[chosen],
        value=looking.beta(8.0, 2.0, len(chosen)).astype(np.float32),
        label=PICTURE_LABEL,
    )
    _mention(world, rows, now_ms, recorder, rng)
    for trait, label in LABELS.items():
        chance = np.where(posts[trait], LABELLED, LABELLED_WRONGLY)
        chosen = np.flatnonzero(rng.random(len(rows)) < chance)
        recorder.add(
            Kind.SAFETY_LABEL,
            later_ms(chosen, 300_000),
            post_id=posts["id"][chosen],
            author_id=author_ids[chosen],
            value=rng.beta(8.0, 2.0, len(chosen)).astype(np.float32),
            label=label,
        )


def _mention(
    world: "World", rows: Ids, now_ms: int, recorder: Recorder, rng: np.random.Generator
) -> None:
    """Some posts name somebody, until they are deleted."""
    # Draws of their own leave all others as they were.
    [mine] = rng.spawn(1)
    starts, followed = world.follows.targets_by_source()
    rows = rows[mine.random(len(rows)) < MENTIONED]
    rows = rows[np.diff(starts)[world.posts.rows["author"][rows]] > 0]
    posts = world.posts.rows[rows]
    authors = posts["author"]
    places = mine.random(len(rows)) * np.diff(starts)[authors]
    user_ids = world.population.user_ids
    columns = {
        "actor_id": user_ids[authors],
        "post_id": posts["id"],
        "target_id": user_ids[followed[starts[authors] + places.astype(np.int64)]],
    }
    recorder.add(Kind.MENTION, np.maximum(posts["created_ms"], now_ms), **columns)
    gone = posts["deleted_ms"] != NEVER_MS
    taken_back = {name: values[gone] for name, values in columns.items()}
    recorder.add(Kind.UNMENTION, posts["deleted_ms"][gone], **taken_back)
