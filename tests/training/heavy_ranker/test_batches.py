import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.heavy_ranker.synthetic import examples_of, on_disk, schema_of
from training.heavy_ranker import batches
from training.heavy_ranker.batches import EpochOrder, Place, ReadAhead, n_steps, share, stream
from training.heavy_ranker.calibration import NegativeSampling
from training.heavy_ranker.example_set import Examples, ExampleSet
from training.job import TrainingError

SCHEMA = schema_of(2, 0, tables=False)
ALL = NegativeSampling(1.0)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WINDOW", 64)


def numbered(folder: Path, n: int, group: int = 30) -> ExampleSet:
    """Examples whose first input is their number; every tenth has an engagement."""
    examples = examples_of(SCHEMA, n)
    examples.continuous[:, 0] = np.arange(n)
    examples.labels[:] = 0
    examples.labels[::10, 2] = 1
    return on_disk(folder, SCHEMA, examples, group=group)


def numbers(examples: Examples) -> list[int]:
    return [int(x) for x in examples.continuous[:, 0]]


def read(
    examples: ExampleSet, n_workers: int, start: Place, *, epochs: int = 1, batch: int = 7
) -> list[list[tuple[Place, list[int]]]]:
    """Batches of each worker."""
    return [
        [
            (place, numbers(found))
            for place, found in stream(examples, ALL, batch, epochs, 5, worker, n_workers, start)
        ]
        for worker in range(n_workers)
    ]


def test_an_epoch_gives_every_example_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    examples = numbered(tmp_path, 210)
    (found,) = read(examples, 1, Place(), epochs=2, batch=10)
    first = [x for _, some in found[:21] for x in some]
    second = [x for _, some in found[21:] for x in some]
    assert sorted(first) == sorted(second) == list(range(210))
    assert first != second
    # Shuffled within and over windows: neighbours on disk are rarely neighbours.
    assert sum(abs(a - b) == 1 for a, b in pairwise(first)) < 20
    assert [place for place, _ in found if place.taken == 0] == [Place(1), Place(2)]
    assert read(examples, 1, Place(), epochs=2, batch=10) == [found]


def test_workers_share_the_stream_of_one_without_overlap_in_equal_steps(tmp_path: Path) -> None:
    examples = numbered(tmp_path, 203)
    found = read(examples, 3, Place())
    # 203 // 3 = 67 examples of each, 9 batches of 7.
    assert [len(mine) for mine in found] == [9, 9, 9]
    assert all(len(some) == 7 for mine in found for _, some in mine)
    seen = [x for mine in found for _, some in mine for x in some]
    assert len(set(seen)) == len(seen) == 189
    for places in zip(*[[place for place, _ in mine] for mine in found], strict=True):
        assert len(set(places)) == 1


@pytest.mark.parametrize("then", [1, 2, 3, 5])
def test_others_go_on_where_some_stood_and_see_nothing_twice(tmp_path: Path, then: int) -> None:
    examples = numbered(tmp_path, 400)
    found = read(examples, 3, Place(), batch=4)
    cut = 11
    place = found[0][cut - 1][0]
    seen = [x for mine in found for _, some in mine[:cut] for x in some]
    later = read(examples, then, place, batch=4)
    after = [x for mine in later for _, some in mine for x in some]
    assert len(set(seen + after)) == len(seen + after)
    assert len(seen + after) > 400 - 3 - 4 * then - then
    if then == 3:
        rest = [[some for _, some in mine] for mine in later]
        assert rest == [[some for _, some in mine[cut:]] for mine in found]
        again = later[0][3][0]
        (last,) = read(examples, 1, again, batch=4)
        thrice = seen + [x for m in later for _, s in m[:4] for x in s]
        thrice += [x for _, some in last for x in some]
        assert len(set(thrice)) == len(thrice) > 385


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 7),
    st.integers(1, 7),
    st.data(),
)
def test_shares_and_what_is_left_of_them_partition_runs(
    lengths: list[int], n_workers: int, n_later: int, data: st.DataObject
) -> None:
    """Against lists of places."""
    ends = np.cumsum([length + 2 for length in lengths]).tolist()
    runs = tuple((end - length, end) for end, length in zip(ends, lengths, strict=True))

    def places(some: batches.Runs) -> list[int]:
        return [x for begin, end in some for x in range(begin, end)]

    shares = [places(share(runs, worker, n_workers)) for worker in range(n_workers)]
    length = sum(lengths) // n_workers
    assert [len(mine) for mine in shares] == [length] * n_workers
    assert [x for mine in shares for x in mine] == places(runs)[: length * n_workers]
    taken = data.draw(st.integers(0, length))
    left = places(Place(0, runs, n_workers, taken).left(0))
    if taken:
        assert left == [x for mine in shares for x in mine[taken:]]
    else:
        assert left == places(runs)
    assert Place().left(sum(lengths)) == ((0, sum(lengths)),)


def test_negatives_are_kept_by_share_and_weigh_for_those_left_out(tmp_path: Path) -> None:
    examples = numbered(tmp_path, 3_000, group=500)
    order = EpochOrder(examples, NegativeSampling(0.25), 1, 0)
    found = list(order.read(0, len(order)))
    seen = [x for some in found for x in numbers(some)]
    weights = np.concatenate([some.weights for some in found])
    assert {x for x in seen if x % 10 == 0} == set(range(0, 3_000, 10))
    negative = np.array(seen) % 10 > 0
    assert 600 < negative.sum() < 750
    assert (weights == np.where(negative, 4, 1)).all()
    other = EpochOrder(examples, NegativeSampling(0.25), 1, 1)
    assert {x for some in other.read(0, len(other)) for x in numbers(some)} != set(seen)
    later = EpochOrder(examples, NegativeSampling(0.25, "probabilities"), 1, 0)
    assert {float(w) for some in later.read(0, len(later)) for w in some.weights} == {1.0}


def test_a_part_of_an_epoch_is_that_part_of_the_whole(tmp_path: Path) -> None:
    order = EpochOrder(numbered(tmp_path, 300), ALL, 1, 0)
    whole = [x for some in order.read(0, 300) for x in numbers(some)]
    for begin, end in ((0, 300), (10, 20), (60, 70), (63, 65), (128, 300), (64, 128), (299, 300)):
        part = [x for some in order.read(begin, end) for x in numbers(some)]
        assert part == whole[begin:end]


def test_too_few_examples_are_named(tmp_path: Path) -> None:
    examples = numbered(tmp_path, 40)
    assert n_steps(examples, ALL, 20, 0, 2) == 1
    with pytest.raises(TrainingError, match="40 examples are too few for 2 × 21 in a step"):
        n_steps(examples, ALL, 21, 0, 2)


def test_reading_ahead_changes_nothing_and_ends() -> None:
    before = threading.active_count()
    ahead = ReadAhead(iter(range(20)))
    assert list(ahead) == list(range(20))
    assert list(ahead) == []
    ahead.close()
    endless = ReadAhead(iter(int, 1))
    assert next(endless) == 0
    endless.close()
    assert threading.active_count() == before


def test_what_fails_ahead_fails_where_it_would_have() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("torn file")

    ahead = ReadAhead(failing())
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="torn file"):
            next(ahead)
    ahead.close()
