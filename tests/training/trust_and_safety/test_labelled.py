import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.job import TrainingError
from training.trust_and_safety.labelled import (
    labelled,
    read_plain,
    together,
    without_repeats,
)


def test_a_csv_is_read_with_shares_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('text,rude,spam,language\n"so, a",1,,en\nb,0.4,true,\nc,,0.5,de\n')
    data = read_plain(path)
    assert data.texts == ["so, a", "b", "c"]
    assert data.languages == ["en", "", "de"]
    assert data.labels == ("rude", "spam")
    assert data.values.tolist() == [[1, -1], [0, 1], [-1, 1]]
    assert data.sources == ("mine.csv",)


def test_ndjson_need_not_name_every_label(tmp_path: Path) -> None:
    path = tmp_path / "mine.ndjson.gz"
    with gzip.open(path, "wt") as file:
        file.write('{"text":"a","rude":1}\n\n{"text":"b","spam":false}\n{"text":"c","rude":null}\n')
    data = read_plain(path)
    assert data.labels == ("rude", "spam")
    assert data.values.tolist() == [[1, -1], [-1, 0], [-1, -1]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,rude\nx,2\n", r"line 2, column 'rude': expected a number .* got '2'"),
        ("a.csv", "text,rude\nx,nan\n", "column 'rude'"),
        ("a.csv", "text,rude\nx\n", "line 2: expected 2 columns"),
        ("a.csv", "words,rude\nx,1\n", "line 2: column 'text'"),
        ("a.csv", "text\nx\n", "no column but 'text'"),
        ("a.ndjson", '{"text":"x","rude":"maybe"}\n', "got 'maybe'"),
        ("a.ndjson", '{"text":"x"\n', "line 1: is not JSON"),
        ("a.ndjson", "[1]\n", "line 1: expected a JSON object"),
        ("a.csv.gz", "not gzipped", "cannot be read"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TrainingError, match=message) as error:
        read_plain(path)
    assert str(path) in str(error.value)


def test_sources_are_put_together_by_label() -> None:
    one = labelled("one", ["a"], {"x": np.array([1], np.int8)}, [""])
    two = labelled("two", ["b", "c"], {"y": np.array([0, 1], np.int8)}, ["en", ""])
    both = together([one, two])
    assert both.labels == ("x", "y")
    assert both.values.tolist() == [[1, -1], [-1, 0], [-1, 1]]
    assert both.source_of.tolist() == [0, 1, 1]
    assert both.only(["y"]).texts == ["b", "c"]
    assert both.take(np.array([2, 0])).texts == ["c", "a"]


def test_copies_become_one_text_that_knows_what_all_of_them_knew() -> None:
    values = {
        "x": np.array([1, 0, 0, -1, 1, -1], np.int8),
        "y": np.array([-1, 1, -1, 0, -1, 0], np.int8),
    }
    texts = ["One two", "three", "o n e two", "ONE TWO!", "...", "one  two"]
    data = without_repeats(labelled("s", texts, values, [""] * 6))
    assert data.texts == ["One two", "three"]
    assert data.values.tolist() == [[1, 0], [0, 1]]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([-1, 0, 1])), max_size=12))
def test_repeats_are_settled_by_majority(rows: list[tuple[str, int]]) -> None:
    values = {"x": np.array([value for _, value in rows], np.int8)}
    data = without_repeats(labelled("s", [t for t, _ in rows], values, [""] * len(rows)))
    votes: dict[str, list[int]] = {}
    for text, value in rows:
        votes.setdefault(text, []).extend([value] if value >= 0 else [])
    assert data.texts == list(votes)
    expected = [int(2 * sum(v) >= len(v)) if v else -1 for v in votes.values()]
    assert data.values[:, 0].tolist() == expected
