import numpy as np
import pyarrow as pa
import pytest

from actors.labeller import Labeller
from cluster.events import Kind
from cluster.validation import check_batch
from tests.actors.features.safety_models import small_head, small_model


def rows(*posts: tuple[int, str | None, Kind], language: str | None = None) -> pa.RecordBatch:
    n = len(posts)
    columns = {
        "kind": pa.array([kind for _, _, kind in posts], pa.uint8()),
        "post_id": pa.array([post for post, _, _ in posts], pa.int64()),
        "author_id": pa.array([7] * n, pa.int64()),
        "text": pa.array([text for _, text, _ in posts], pa.string()),
        "time_ms": pa.array([1_000 + i for i in range(n)], pa.int64()),
    }
    if language:
        columns["language"] = pa.array([language] * n)
    return pa.RecordBatch.from_pydict(columns)


def media_rows(*posts: tuple[list[float] | None, Kind]) -> pa.RecordBatch:
    n = len(posts)
    columns = {
        "kind": pa.array([kind for _, kind in posts], pa.uint8()),
        "post_id": pa.array(range(1, n + 1), pa.int64()),
        "author_id": pa.array([7] * n, pa.int64()),
        "time_ms": pa.array([1_000 + i for i in range(n)], pa.int64()),
        "media_embedding": pa.array([embedding for embedding, _ in posts], pa.list_(pa.float32())),
    }
    return pa.RecordBatch.from_pydict(columns)


ADULT, PLAIN = [2.0] + [0.0] * 255, [-2.0] + [0.0] * 255


def ignored(_: pa.RecordBatch) -> None:
    raise AssertionError("nothing was to be appended")


def test_posts_above_a_threshold_get_the_models_own_label() -> None:
    batch = rows((1, "oaf", Kind.POST_CREATE), (2, "friend", Kind.POST_CREATE))
    (event,) = Labeller(small_model(), ignored).events(batch).to_pylist()
    score = small_model().scores(["oaf"])[0, 0]
    assert event.pop("event_id") > 0
    assert event.pop("value") == pytest.approx(float(score))
    assert event == {
        "kind": Kind.SAFETY_LABEL,
        "time_ms": 1_000,
        "actor_id": 0,
        "post_id": 1,
        "author_id": 7,
        "target_id": 0,
        "label": "p_toxicity",
    }


def test_what_it_gives_is_valid_and_the_same_again() -> None:
    batch = rows((1, "oaf wink", Kind.POST_CREATE), (2, "wink", Kind.POST_EDIT))
    labeller = Labeller(small_model(), ignored)
    events = labeller.events(batch)
    checked = check_batch(events, now_ms=2_000)
    assert not checked.problems
    assert checked.batch.equals(events)
    assert labeller.events(batch).equals(events)
    ids = events.column("event_id").to_pylist()
    assert len(set(ids)) == len(ids) == events.num_rows
    alone = [labeller.events(batch.slice(i, 1)).column("event_id").to_pylist() for i in (0, 1)]
    assert alone[0] + alone[1] == ids


def test_an_edit_takes_back_what_its_text_no_longer_earns() -> None:
    events = Labeller(small_model(), ignored).events(rows((1, "friend wink", Kind.POST_EDIT)))
    assert [(e["kind"], e["label"]) for e in events.to_pylist()] == [
        (Kind.SAFETY_UNLABEL, "p_toxicity"),
        (Kind.SAFETY_LABEL, "p_nsfw_text"),
    ]
    assert events.column("value").to_numpy()[0] == 0


def test_rows_without_text_or_of_other_kinds_say_nothing() -> None:
    batch = rows((1, None, Kind.POST_EDIT), (2, "oaf", Kind.FAVOURITE))
    labeller = Labeller(small_model(), ignored)
    assert labeller.events(batch).num_rows == 0
    assert labeller.label(batch) == 0
    assert labeller.label(batch.slice(0, 0)) == 0


def test_rows_need_no_kind_and_languages_count() -> None:
    batch = rows((1, "oaf", Kind.POST_CREATE))
    labeller = Labeller(small_model(), ignored)
    without = batch.select(["post_id", "author_id", "text", "time_ms"])
    assert labeller.events(without).equals(labeller.events(batch))
    strict = small_model(thresholds={"": np.zeros((2, 2)), "de": np.full((2, 2), np.inf)})
    german = rows((1, "oaf", Kind.POST_CREATE), language="de")
    assert Labeller(strict, ignored).events(german).num_rows == 0


def test_media_earn_a_label_of_their_own() -> None:
    model = small_model(media=small_head())
    batch = media_rows(
        *((ADULT, Kind.POST_CREATE), (PLAIN, Kind.POST_CREATE), (None, Kind.POST_CREATE)),
        *((PLAIN, Kind.POST_EDIT), (ADULT, Kind.POST_EDIT), (ADULT, Kind.FAVOURITE)),
    )
    events = Labeller(model, ignored).events(batch).to_pylist()
    assert [(e["kind"], e["post_id"], e["label"]) for e in events] == [
        (Kind.SAFETY_LABEL, 1, "p_nsfw_media"),
        (Kind.SAFETY_UNLABEL, 4, "p_nsfw_media"),
        (Kind.SAFETY_LABEL, 5, "p_nsfw_media"),
    ]
    # tanh(2) times 2, less 1.
    expected = 1 / (1 + np.exp(1 - 2 * np.tanh(2)))
    assert events[0]["value"] == pytest.approx(expected)
    assert Labeller(small_model(), ignored).events(batch).num_rows == 0


def test_texts_and_media_of_one_post_are_labelled_together() -> None:
    batch = rows((1, "oaf", Kind.POST_CREATE), (2, "friend", Kind.POST_CREATE))
    media = media_rows((ADULT, Kind.POST_CREATE), (ADULT, Kind.POST_CREATE))
    both = batch.append_column("media_embedding", media.column("media_embedding"))
    labeller = Labeller(small_model(media=small_head()), ignored)
    events = labeller.events(both)
    assert [(e["post_id"], e["label"]) for e in events.to_pylist()] == [
        (1, "p_toxicity"),
        (1, "p_nsfw_media"),
        (2, "p_nsfw_media"),
    ]
    assert len(set(events.column("event_id").to_pylist())) == 3
    assert labeller.events(both).equals(events)


def test_label_appends_what_there_is() -> None:
    appended: list[pa.RecordBatch] = []
    labeller = Labeller(small_model(), appended.append)
    batch = rows((1, "oaf", Kind.POST_CREATE), (2, "oaf wink", Kind.POST_CREATE))
    assert labeller.label(batch) == sum(part.num_rows for part in appended) > 0


def test_a_row_without_an_author_is_named() -> None:
    batch = rows((1, "oaf", Kind.POST_CREATE))
    at = batch.schema.get_field_index("author_id")
    batch = batch.set_column(at, "author_id", pa.array([0], pa.int64()))
    with pytest.raises(ValueError, match="author_id is required"):
        Labeller(small_model(), ignored).events(batch)
