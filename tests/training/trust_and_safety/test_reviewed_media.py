"""Embeddings that people judged: the newest word counts, of what was there when it was said."""

from pathlib import Path

from cluster.events import MEDIA_DIMENSIONS, Kind
from tests.training.archives import archived_events, settings_at
from tests.worlds import Clock, Event
from training.trust_and_safety.reviewed import read_reviewed
from training.trust_and_safety.reviewed_media import ReviewedMedia, read_reviewed_media

AUTHOR = 7


def embedding(number: float) -> list[float]:
    return [number] * MEDIA_DIMENSIONS


def events() -> list[Event]:
    clock = Clock()
    posts = [clock.post(i, AUTHOR, media_embedding=embedding(i)) for i in range(1, 30)]
    posts += [clock.post(40, AUTHOR, text="without media")]

    def label(kind: Kind, post_id: int, name: str = "nsfw_media", **given: float) -> Event:
        return clock.event(kind, post_id=post_id, author_id=AUTHOR, label=name, **given)

    def edit(post_id: int, number: float) -> Event:
        told = {"post_id": post_id, "author_id": AUTHOR, "media_embedding": embedding(number)}
        return clock.event(Kind.POST_EDIT, **told)

    return [
        *posts,
        label(Kind.SAFETY_LABEL, 1),
        label(Kind.SAFETY_LABEL, 2, value=0.2),
        label(Kind.SAFETY_LABEL, 3),
        label(Kind.SAFETY_UNLABEL, 3),
        label(Kind.SAFETY_LABEL, 4, "p_nsfw_media", value=0.99),
        label(Kind.SAFETY_LABEL, 5, "abuse"),
        edit(6, 6.5),
        label(Kind.SAFETY_LABEL, 6),
        edit(6, 6.75),
        label(Kind.SAFETY_LABEL, 40),
    ]


def by_number(found: ReviewedMedia | None) -> dict[float, bool]:
    assert found is not None
    assert found.embeddings.shape == (len(found.labels), MEDIA_DIMENSIONS)
    assert (found.embeddings == found.embeddings[:, :1]).all()
    numbers = found.embeddings[:, 0].tolist()
    return dict(zip(numbers, found.labels.tolist(), strict=True))


def test_the_newest_word_of_people_is_the_label(tmp_path: Path) -> None:
    archive = archived_events(settings_at(tmp_path), happened := events())
    found = read_reviewed_media(archive, None, 0, 0)
    assert by_number(found) == {1.0: True, 2.0: False, 3.0: False, 6.5: True}
    assert found is not None
    times_ms = [event["time_ms"] for event in happened]
    # From the first post to the last label that taught something.
    assert found.range_ms == (times_ms[0], times_ms[-3] + 1)


def test_some_posts_that_nobody_labelled_are_harmless(tmp_path: Path) -> None:
    archive = archived_events(settings_at(tmp_path), events())
    found, again = (by_number(read_reviewed_media(archive, None, 2, 5)) for _ in range(2))
    assert found == again
    harmless = {number for number, adult in found.items() if not adult} - {2.0, 3.0}
    # Two for each of the five whose media were judged, one of which has none.
    assert len(harmless) == 10
    assert not {1.0, 5.0, 6.0} & harmless
    assert by_number(read_reviewed_media(archive, None, 2, 6)) != found


def test_what_was_said_later_is_not_known(tmp_path: Path) -> None:
    archive = archived_events(settings_at(tmp_path), happened := events())
    labelled_ms = [e["time_ms"] for e in happened if e["kind"] == "safety_label"]
    assert read_reviewed_media(archive, labelled_ms[0], 0, 0) is None
    assert by_number(read_reviewed_media(archive, labelled_ms[1], 0, 0)) == {1.0: True}


def test_texts_do_not_learn_what_was_said_of_media(tmp_path: Path) -> None:
    clock = Clock()
    posts = [clock.post(i, AUTHOR, text=f"post {i}") for i in (1, 2)]
    labels = [
        clock.event(Kind.SAFETY_LABEL, post_id=1, author_id=AUTHOR, label="nsfw_media"),
        clock.event(Kind.SAFETY_LABEL, post_id=2, author_id=AUTHOR, label="abuse"),
    ]
    archive = archived_events(settings_at(tmp_path), [*posts, *labels])
    found = read_reviewed(archive, None, 0, 0)
    assert found is not None
    assert (found.examples.labels, found.examples.texts) == (("abuse",), ["post 2"])
    # Judged, and without an embedding: there is nothing to learn.
    assert read_reviewed_media(archive, None, 2, 0) is None


def test_the_first_embedding_is_not_learned_where_only_a_later_one_was_judged(
    tmp_path: Path,
) -> None:
    clock = Clock()
    late = clock.post(1, AUTHOR, media_embedding=embedding(1))
    label = clock.event(Kind.SAFETY_LABEL, post_id=1, author_id=AUTHOR, label="nsfw_media")
    events = [{**label, "time_ms": late["time_ms"] - 10}, late]
    archive = archived_events(settings_at(tmp_path), events)
    assert read_reviewed_media(archive, None, 0, 0) is None
