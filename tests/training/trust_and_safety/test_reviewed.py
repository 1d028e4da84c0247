from pathlib import Path

from cluster.events import Kind
from tests.training.archives import archived_events, settings_at
from tests.worlds import Clock, Event
from training.trust_and_safety.reviewed import SOURCE, read_reviewed

AUTHOR = 7


def events() -> list[Event]:
    clock = Clock()
    posts = [clock.post(i, AUTHOR, text=f"post {i}", language="en") for i in range(1, 30)]
    posts += [clock.post(40, AUTHOR), clock.post(41, AUTHOR, text="no language")]

    def label(kind: Kind, post_id: int, name: str, **given: float) -> Event:
        return clock.event(kind, post_id=post_id, author_id=AUTHOR, label=name, **given)

    return [
        *posts,
        label(Kind.SAFETY_LABEL, 1, "abuse"),
        label(Kind.SAFETY_LABEL, 2, "abuse", value=0.9),
        label(Kind.SAFETY_LABEL, 3, "abuse", value=0.2),
        label(Kind.SAFETY_LABEL, 4, "abuse"),
        label(Kind.SAFETY_UNLABEL, 4, "abuse"),
        label(Kind.SAFETY_UNLABEL, 5, "spam"),
        label(Kind.SAFETY_LABEL, 5, "spam"),
        label(Kind.SAFETY_LABEL, 1, "spam"),
        label(Kind.SAFETY_LABEL, 6, "p_abuse", value=0.99),
        clock.event(Kind.SAFETY_LABEL, author_id=AUTHOR, label="abuse"),
        clock.event(Kind.POST_EDIT, post_id=7, author_id=AUTHOR, text="post 7 edited"),
        label(Kind.SAFETY_LABEL, 7, "abuse"),
        clock.event(Kind.POST_EDIT, post_id=7, author_id=AUTHOR, text="post 7 repented"),
        label(Kind.SAFETY_LABEL, 40, "abuse"),
    ]


def test_the_newest_word_of_people_is_the_label(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    archive = archived_events(settings, events())
    found = read_reviewed(archive, None, 0, 0)
    assert found is not None
    data = found.examples
    assert (data.labels, data.sources) == (("abuse", "spam"), (SOURCE,))
    rows = dict(zip(data.texts, data.values.tolist(), strict=True))
    assert rows == {
        "post 1": [1, 1],
        "post 2": [1, -1],
        "post 3": [0, -1],
        "post 4": [0, -1],
        "post 5": [-1, 1],
        "post 7 edited": [1, -1],
    }
    assert set(data.languages) == {"en"}
    first_ms, end_ms = found.range_ms
    assert 0 < first_ms < end_ms


def test_some_posts_that_nobody_labelled_are_harmless(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    archive = archived_events(settings, events())
    found, again = (read_reviewed(archive, None, 2, 5) for _ in range(2))
    assert found is not None
    assert again is not None
    assert found.examples.texts == again.examples.texts
    # Two for each of the seven labelled posts, one of which has no text.
    harmless = (found.examples.values == 0).all(axis=1)
    assert harmless.sum() == 14
    texts = [text for text, one in zip(found.examples.texts, harmless, strict=True) if one]
    assert not {"post 1", "post 2", "post 5", "post 7 edited"} & set(texts)
    other = read_reviewed(archive, None, 2, 6)
    assert other is not None
    assert other.examples.texts != found.examples.texts


def test_what_was_said_later_is_not_known(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    happened = events()
    archive = archived_events(settings, happened)
    first_ms = next(e["time_ms"] for e in happened if e["kind"] == "safety_label")
    assert read_reviewed(archive, first_ms, 4, 0) is None
    found = read_reviewed(archive, first_ms + 1, 0, 0)
    assert found is not None
    assert found.examples.texts == ["post 1"]
    assert found.range_ms[1] == first_ms + 1
