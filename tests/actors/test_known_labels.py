"""Known labels as bits, and which written labels count as which."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.safety import MODEL_PREFIX
from actors.known_labels import KNOWN_LABELS, WRITTEN, counts_as, label_bits, masks_of
from actors.stores.labels import Labels


def test_bits() -> None:
    assert len(set(KNOWN_LABELS)) == len(KNOWN_LABELS) <= 64
    assert label_bits() == 0
    assert label_bits("pdna") == 1
    assert label_bits("pdna", "spam", "spam") == 5
    assert label_bits(*KNOWN_LABELS) == 2 ** len(KNOWN_LABELS) - 1
    assert label_bits("pdna").dtype == np.uint64
    with pytest.raises(KeyError, match="toxicity"):
        label_bits("toxicity")


@pytest.mark.parametrize(
    ("name", "value", "labels"),
    [
        ("spam", 1.0, ("spam",)),
        ("spam", 0.01, ("spam",)),
        ("spam", 0.0, ()),
        ("abuse", 1.0, ("abusive",)),
        ("hate", 1.0, ("hateful_conduct",)),
        ("p_nsfw_text", 0.49, ()),
        ("p_nsfw_text", 0.5, ("nsfw_high_recall",)),
        ("p_nsfw_text", 0.9, ("nsfw_high_recall", "nsfw_text")),
        ("p_toxicity", 0.99, ("abusive_high_recall",)),
        ("p_hate", 0.99, ("abusive_high_recall", "abusive")),
        ("p_pdna", 1.0, ()),
        ("other", 1.0, ()),
    ],
)
def test_what_counts_as_what(name: str, value: float, labels: tuple[str, ...]) -> None:
    assert set(counts_as(name, value)) == set(labels)


def test_models_neither_remove_a_post_from_followers_nor_restrict_it() -> None:
    caused = {told.label for told in WRITTEN if told.name.startswith(MODEL_PREFIX)}
    severe = {"pdna", "spam", "bounce", "hateful_conduct", "slur", "emergency_drop"}
    severe |= {"abuse_episodic", "limited_reply", "safety_crisis_4"}
    assert caused
    assert not caused & severe
    assert all(told.least > 0 for told in WRITTEN if told.name.startswith(MODEL_PREFIX))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),
            st.sampled_from(sorted({told.name for told in WRITTEN} | {"other"})),
            st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]),
        ),
        max_size=12,
        unique_by=lambda written: written[:2],
    )
)
def test_masks_are_what_every_label_counts_as(written: list[tuple[int, str, float]]) -> None:
    labels = Labels()
    if written:
        subjects, names, values = zip(*written, strict=True)
        n = len(written)
        labels.write(
            np.array(subjects),
            np.array(subjects),
            pa.array(names),
            np.array(values, np.float32),
            np.arange(1, n + 1),
            np.ones(n, bool),
        )
    asked = np.arange(1, 6)
    masks = masks_of(lambda name: labels.values(asked, name), len(asked))
    for subject, mask in zip(asked.tolist(), masks.tolist(), strict=True):
        mine = [counts_as(name, value) for who, name, value in written if who == subject]
        assert mask == label_bits(*(label for found in mine for label in found))
