from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.labels import Labels

Write = tuple[int, str, float, int, bool]


def write(labels: Labels, writes: list[Write]) -> None:
    subjects, names, values, versions, on = zip(*writes, strict=True)
    labels.write(
        np.array(subjects, np.int64),
        np.array(subjects, np.int64) + 1_000,
        pa.array(names),
        np.array(values, np.float32),
        np.array(versions, np.int64),
        np.array(on, bool),
    )


def test_the_newest_word_on_each_label_counts() -> None:
    labels = Labels()
    write(labels, [(7, "nsfw", 0.5, 10, True), (7, "spam", 0.0, 10, True)])
    write(labels, [(7, "nsfw", 0.25, 5, True), (8, "nsfw", 0.75, 5, True)])
    write(labels, [(7, "spam", 0.0, 11, False), (8, "spam", 0.0, 4, False)])
    assert labels.of(7) == {"nsfw": 0.5}
    assert labels.of(8) == {"nsfw": 0.75}
    assert labels.of(9) == {}
    assert labels.values(np.array([9, 8, 7]), "nsfw").tolist() == [0, 0.75, 0.5]
    assert labels.values(np.array([7, 8]), "spam").tolist() == [0, 0]
    assert labels.values(np.array([7]), "never heard of").tolist() == [0]
    write(labels, [(7, "spam", 0.0, 12, True)])
    assert labels.of(7) == {"nsfw": 0.5, "spam": 1.0}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from(["a", "b"]),
            st.sampled_from([0.25, 0.5]),
            st.integers(1, 6),
            st.booleans(),
        ),
        min_size=1,
        unique_by=lambda write: (write[0], write[1], write[3]),
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_a_restored_copy_says_the_same(
    writes: list[Write], random: Any
) -> None:
    newest: dict[tuple[int, str], Write] = {}
    for one in sorted(writes, key=lambda one: one[3]):
        newest[one[0], one[1]] = one
    labels = Labels()
    shuffled = random.sample(writes, len(writes))
    for begin in range(0, len(shuffled), 2):
        write(labels, shuffled[begin : begin + 2])
    again = Labels()
    again.restore(labels.columns())
    for subject in (1, 2, 3):
        expected = {
            name: value
            for (of, name), (_, _, value, _, on) in newest.items()
            if on and of == subject
        }
        assert labels.of(subject) == again.of(subject) == expected
    assert set(labels.columns()["author_ids"].tolist()) <= {1_001, 1_002, 1_003}
