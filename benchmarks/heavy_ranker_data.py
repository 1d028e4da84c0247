"""Rows for rankers: what was known when a post was shown, and what came of it, in time order.

Two public data sets as the same kind of columns: codes (ids and categories), numbers and labels.
Whoever is compared gets all of them. Nothing in a row is younger than the row: rates of the past
count what was known `KNOWN_AFTER_MS` after it was shown, and codes are numbered by the rows to
learn from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from actors.features.inputs import Level
from benchmarks.peers_environment import peer_python

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

SHARES = (0.7, 0.1)
"""Of the rows in time order: to learn from, and then to choose by; the rest is to judge by."""
SEEN = 5
"""A code that fewer rows to learn from have is unknown, as is one that none of them has."""
KNOWN_AFTER_MS = 60_000
"""From when a row is shown to when what came of it is counted."""
PRIOR = 10.0
"""Rows' worth of the mean rate that a rate of the past begins with."""
LATELY = 10
"""Rows of a user that recent rates are of."""
QUANTILES = 16
USER, POST = "user_id", "post_id"


@dataclass(frozen=True)
class Rows:
    """n rows in time order."""

    name: str
    tasks: tuple[str, ...]
    """By the names of the data set."""
    labels: npt.NDArray[np.uint8]
    """(n, tasks)."""
    codes: Int64s
    """(n, codes): 0 is unknown."""
    code_names: tuple[str, ...]
    n_codes: Int64s
    """Values of each code, the unknown one among them."""
    numbers: Floats
    """(n, numbers), as they are."""
    number_names: tuple[str, ...]
    levels: Mapping[str, Level]
    times_ms: Int64s

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def cuts(self) -> tuple[int, int]:
        """Where the rows to choose by begin, and those to judge by."""
        learnt, chosen = accumulate(round(share * len(self)) for share in SHARES)
        return learnt, chosen

    def few(self, step: int) -> "Rows":
        """Every so manieth of them."""
        return replace(
            self,
            labels=self.labels[::step],
            codes=self.codes[::step],
            numbers=self.numbers[::step],
            times_ms=self.times_ms[::step],
        )


def kuairand(folder: Path) -> Rows:
    """Impressions of short videos with like or hate, and what else came of them."""
    names = ("click", "like", "follow", "comment", "forward", "profile", "long_view")
    told = ("is_click", "label", "is_follow", "is_comment", "is_forward", "is_profile_enter")
    columns = (*told, "long_view")
    shown = _in_order(_read(folder / "multi_feedback.tsv"), ["time_ms", USER, "video_id"])
    labels = np.stack([_ints(shown, column) for column in columns], 1).astype(np.uint8)
    times_ms, users, videos = (_ints(shown, name) for name in ("time_ms", USER, "video_id"))
    durations_s = _ints(shown, "duration_ms") / 1_000
    lengths = np.searchsorted([5, 7, 10, 15, 20, 30, 45, 60, 90, 150, 240], durations_s)
    about = _looked_up(_read(folder / "user_features_pure.csv"), USER, users)
    facts = _looked_up(_read(folder / "video_features_basic_pure.csv"), "video_id", videos)
    sizes = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
    codes = {
        USER: users,
        POST: videos,
        "author_id": facts["author_id"],
        "tag": facts["tag"],
        "length": lengths,
        "hour": times_ms // 3_600_000 % 24,
        "weekday": times_ms // 86_400_000 % 7,
        **{name: values for name, values in about.items() if name not in (*sizes, USER)},
    }
    numbers = {"duration_s": durations_s, **{name: _floats(about[name]) for name in sizes}}
    past = partial(_past, times_ms, labels, names)
    numbers |= past("user", users, True) | past("post", videos, False)
    numbers |= past("user_length", users * 100 + lengths, False)
    return _rows("kuairand", names, labels, codes, numbers, times_ms)


def movielens(folder: Path | None = None) -> Rows:
    """MovieLens-100k: whether a rating is 4 or more; by default as the package recbole has it."""
    folder = folder or _shipped()
    ratings = _in_order(_read(folder / "ml-100k.inter"), ["timestamp", USER, "item_id"])
    labels = (_floats(ratings["rating"]) >= 4).astype(np.uint8)[:, None]
    times_ms = _ints(ratings, "timestamp") * 1_000
    users, items = _ints(ratings, USER), _ints(ratings, "item_id")
    about = _looked_up(_read(folder / "ml-100k.user"), USER, users)
    films = _looked_up(_read(folder / "ml-100k.item"), "item_id", items)
    genres = [str(told).split() for told in films["class"]]
    years = _floats(films["release_year"])
    ages = _floats(about["age"])
    codes = {
        USER: users,
        POST: items,
        "age": ages // 5,
        "gender": about["gender"],
        "occupation": about["occupation"],
        "zip": [str(code)[:2] for code in about["zip_code"]],
        "year": years,
        "hour": times_ms // 3_600_000 % 24,
        "weekday": times_ms // 86_400_000 % 7,
        "first_genre": [told[0] if told else "" for told in genres],
        "genres": [" ".join(sorted(told)) for told in genres],
    }
    known = sorted({genre for told in genres for genre in told})
    numbers = {"age_years": ages, "year_number": years - 1900}
    numbers |= {
        f"is_{name}": np.array([name in told for told in genres], np.float64) for name in known
    }
    names = ("rated_4",)
    past = partial(_past, times_ms, labels, names)
    numbers |= past("user", users, True) | past("post", items, False)
    _, first = np.unique(np.array(codes["first_genre"]), return_inverse=True)
    numbers |= past("user_genre", users * 100 + first, False)
    return _rows("movielens-100k", names, labels, codes, numbers, times_ms)


def standardised(rows: Rows) -> Floats:
    """Numbers as networks without norms of their own like them, by the rows to learn from.

    Signed logarithm, mean 0, deviation 1, within ±5: what our model makes of them itself.
    """
    x = np.sign(rows.numbers) * np.log1p(np.abs(rows.numbers))
    learnt = x[: rows.cuts[0]]
    found: Floats = np.clip((x - learnt.mean(0)) / (learnt.std(0) + 1e-5), -5, 5)
    return found.astype(np.float32)


def quantiles(rows: Rows) -> Int64s:
    """In which of `QUANTILES` parts of the rows to learn from each number would lie, from 1 on."""
    found = np.ones(rows.numbers.shape, np.int64)
    inner = np.linspace(0, 1, QUANTILES + 1)[1:-1]
    for i, column in enumerate(rows.numbers.T):
        bounds = np.unique(np.quantile(column[: rows.cuts[0]], inner))
        found[:, i] += np.searchsorted(bounds, column, side="right")
    return found


DATA: Mapping[str, Callable[[Path], Rows]] = {
    "kuairand": lambda folder: kuairand(folder / "kuairand"),
    "movielens-100k": lambda _: movielens(),
}
"""By name, from the folder of data sets."""


def _past(
    times_ms: Int64s,
    labels: npt.NDArray[np.uint8],
    tasks: Sequence[str],
    of: str,
    keys: Int64s,
    lately: bool,
) -> dict[str, npt.NDArray[np.float64]]:
    """Of each row, how many earlier ones with its key there are, and their log odds of labels."""
    begin, end, order = _known(times_ms, keys)
    mean = labels[: round(len(labels) * SHARES[0])].mean(0)
    sums = np.concatenate([np.zeros((1, labels.shape[1])), labels[order].cumsum(0)])
    n = end - begin
    found = {f"{of}_rows": n.astype(np.float64)}
    odds = _log_odds(sums[end] - sums[begin] + mean * PRIOR, n + PRIOR)
    found |= {f"{of}_{task}": odds[:, i] for i, task in enumerate(tasks)}
    if not lately:
        return found
    last = np.maximum(begin, end - LATELY)
    odds = _log_odds(sums[end] - sums[last] + mean, end - last + 1.0)
    found |= {f"{of}_lately_{task}": odds[:, i] for i, task in enumerate(tasks)}
    before_ms = times_ms[order[np.maximum(end - 1, 0)]]
    since_ms = np.where(n > 0, times_ms - before_ms, 30 * 86_400_000)
    found[f"{of}_since_s"] = since_ms / 1_000
    return found


def _log_odds(
    positives: npt.NDArray[np.float64], rows: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.log(positives) - np.log(rows[:, None] - positives)
    return found


def _known(times_ms: Int64s, keys: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Rows by key and time, and of each row which stretch of these was known before it."""
    _, keys = np.unique(keys, return_inverse=True)
    since_ms = times_ms - times_ms.min() + KNOWN_AFTER_MS
    span_ms = int(since_ms.max()) + 1
    at = keys.astype(np.int64) * span_ms + since_ms
    order = np.argsort(at, kind="stable")
    begin = np.searchsorted(at[order], keys.astype(np.int64) * span_ms)
    # Rows of the key that were shown long enough before.
    return begin, np.maximum(np.searchsorted(at[order], at - KNOWN_AFTER_MS), begin), order


def _rows(
    name: str,
    tasks: Sequence[str],
    labels: npt.NDArray[np.uint8],
    codes: Mapping[str, Any],
    numbers: Mapping[str, Any],
    times_ms: Int64s,
) -> Rows:
    n_learnt = round(len(labels) * SHARES[0])
    numbered = [_numbered(values, n_learnt) for values in codes.values()]
    return Rows(
        name=name,
        tasks=tuple(tasks),
        labels=labels,
        codes=np.stack([values for values, _ in numbered], 1),
        code_names=tuple(codes),
        n_codes=np.array([n for _, n in numbered], np.int64),
        numbers=np.stack(list(numbers.values()), 1).astype(np.float32),
        number_names=tuple(numbers),
        levels={
            given: Level.VIEWER if given.startswith(("user", "hour", "week")) else Level.POST
            for given in (*codes, *numbers)
        },
        times_ms=times_ms,
    )


def _numbered(values: Any, n_learnt: int) -> tuple[Int64s, int]:
    """Values as 1, 2, …, the rare and the missing as 0; and how many there are with it."""
    told = np.asarray(values).astype(str)
    known, counts = np.unique(told[:n_learnt], return_counts=True)
    known = known[(counts >= SEEN) & (known != "") & (known != "nan")]
    if not len(known):
        return np.zeros(len(told), np.int64), 1
    at = np.minimum(np.searchsorted(known, told), len(known) - 1)
    return np.where(known[at] == told, at + 1, 0).astype(np.int64), len(known) + 1


def _read(path: Path) -> pa.Table:
    """A table of strings; `name:type` in a header becomes `name`."""
    with path.open() as file:
        header = file.readline().rstrip("\n")
    between = "," if path.suffix == ".csv" else "\t"
    names = [name.partition(":")[0] for name in header.split(between)]
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pa.csv.ParseOptions(
            delimiter=between, quote_char='"' if between == "," else False
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _in_order(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    order = np.lexsort([_ints(table, column) for column in reversed(columns)])
    return table.take(pa.array(order))


def _looked_up(table: pa.Table, key: str, wanted: Int64s) -> dict[str, npt.NDArray[Any]]:
    """The columns of a table in the rows of ids; the empty string where it has no such id."""
    at = pc.index_in(pa.array(wanted), pc.cast(table.column(key), pa.int64()))
    found = table.take(at)
    return {
        name: pc.fill_null(found.column(name), "").to_numpy(zero_copy_only=False)
        for name in table.column_names
        if name != key
    }


def _ints(table: pa.Table, column: str) -> Int64s:
    found: Int64s = pc.cast(table.column(column), pa.int64()).to_numpy()
    return found


def _floats(told: Any) -> npt.NDArray[np.float64]:
    """Numbers from strings, 0 where there is none."""
    text = pa.array(np.asarray(told), pa.string())
    is_number = pc.match_substring_regex(text, r"^-?\d+(\.\d+)?$")
    column = pc.cast(pc.if_else(is_number, text, "0"), pa.float64())
    found: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return found


def _shipped() -> Path:
    """The data sets that a package brings along, in an environment that holds nothing else."""
    home = peer_python("data").parents[1]
    return next(home.glob("lib/python3.*/site-packages/recbole/dataset_example/ml-100k"))
