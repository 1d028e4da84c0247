"""Texts with labels that people gave, some of them unknown; read from files of one's own."""

import csv
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson

from actors.features.safety_text import SEPARATOR, normal_forms
from training.job import TrainingError

Values = npt.NDArray[np.int8]
Int64s = npt.NDArray[np.int64]

UNKNOWN = -1
TEXT, LANGUAGE = "text", "language"
PLAIN = (".csv", ".ndjson", ".jsonl")


@dataclass(frozen=True)
class Labelled:
    """n texts, each with what is known of each label."""

    texts: list[str]
    languages: list[str]
    """`en`, or empty where nobody said."""
    labels: tuple[str, ...]
    values: Values
    """Shape (n, labels): 1, 0 or `UNKNOWN`."""
    sources: tuple[str, ...]
    source_of: Int64s
    """Shape (n,): numbers in `sources`."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Int64s) -> "Labelled":
        """Some of the texts."""
        chosen = rows.tolist()
        return Labelled(
            [self.texts[i] for i in chosen],
            [self.languages[i] for i in chosen],
            self.labels,
            self.values[rows],
            self.sources,
            self.source_of[rows],
        )

    def only(self, labels: Sequence[str]) -> "Labelled":
        """Some of the labels, and the texts of which one of them is known."""
        columns = [self.labels.index(label) for label in labels]
        values = self.values[:, columns]
        kept = Labelled(
            self.texts, self.languages, tuple(labels), values, self.sources, self.source_of
        )
        return kept.take(np.flatnonzero((values != UNKNOWN).any(axis=1)))


def labelled(
    source: str, texts: Sequence[str], values: Mapping[str, Values], languages: Sequence[str]
) -> Labelled:
    """Texts of one source, with the values (n,) of each label."""
    table = [values[label] for label in values]
    return Labelled(
        list(texts),
        list(languages),
        tuple(values),
        np.stack(table, axis=1) if table else np.empty((len(texts), 0), np.int8),
        (source,),
        np.zeros(len(texts), np.int64),
    )


def together(parts: Sequence[Labelled]) -> Labelled:
    """All texts of some sources; a label that a source does not know is unknown there."""
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    values = np.full((sum(map(len, parts)), len(labels)), UNKNOWN, np.int8)
    begin = 0
    for part in parts:
        for column, label in enumerate(part.labels):
            values[begin : begin + len(part), labels.index(label)] = part.values[:, column]
        begin += len(part)
    sources = tuple(dict.fromkeys(name for part in parts for name in part.sources))
    return Labelled(
        [text for part in parts for text in part.texts],
        [language for part in parts for language in part.languages],
        labels,
        values,
        sources,
        np.concatenate(
            [np.empty(0, np.int64)]
            + [
                np.array([sources.index(s) for s in p.sources], np.int64)[p.source_of]
                for p in parts
            ]
        ),
    )


def without_repeats(data: Labelled) -> Labelled:
    """Each text once, judged by its normal form; texts without words are left out.

    A label that copies of a text disagree on is what most of those who knew it said, and
    positive in a draw.
    """
    if not len(data):
        return data
    forms = [" ".join(form.split()) for form in normal_forms(data.texts).split(SEPARATOR)]
    number = {form: i for i, form in enumerate(dict.fromkeys(forms))}
    code = np.array([number[form] for form in forms], np.int64)
    first = np.unique(code, return_index=True)[1]
    known = data.values != UNKNOWN
    n_known = np.zeros((len(first), len(data.labels)), np.int64)
    n_positive = np.zeros_like(n_known)
    np.add.at(n_known, code, known)
    np.add.at(n_positive, code, data.values == 1)
    values = np.where(n_known == 0, UNKNOWN, 2 * n_positive >= n_known).astype(np.int8)
    worded = np.array([bool(forms[i]) for i in first.tolist()], bool)
    kept = data.take(first[worded])
    return Labelled(
        kept.texts,
        kept.languages,
        kept.labels,
        values[worded],
        kept.sources,
        kept.source_of,
    )


def of_shares(shares: npt.NDArray[np.float64]) -> Values:
    """Labels of shares of votes: at least half is positive, NaN unknown."""
    return np.where(np.isnan(shares), UNKNOWN, shares >= 0.5).astype(np.int8)


def read_plain(path: Path) -> Labelled:
    """A CSV with a header, or NDJSON (either may be gzipped), a text a row.

    The column `text` is required and `language` may be there; every other one is a label,
    whose values are 0, 1, a share of votes between them, true, false, or nothing for unknown.
    Raises `TrainingError` naming file, line and column.
    """
    texts: list[str] = []
    languages: list[str] = []
    columns: dict[str, list[float]] = {}
    for line, row in _rows(path):
        text = row.pop(TEXT, None)
        if not isinstance(text, str):
            raise TrainingError(f"{path}, line {line}: column {TEXT!r} must be a string")
        languages.append(str(row.pop(LANGUAGE, None) or ""))
        for label, value in row.items():
            column = columns.setdefault(label, [])
            column += [np.nan] * (len(texts) - len(column))
            column.append(_share(value, f"{path}, line {line}, column {label!r}"))
        texts.append(text)
    for column in columns.values():
        column += [np.nan] * (len(texts) - len(column))
    if not columns:
        raise TrainingError(f"{path}: no column but {TEXT!r}: add one of 0 and 1 for each label")
    values = {label: of_shares(np.array(column)) for label, column in columns.items()}
    return labelled(path.name, texts, values, languages)


def open_text(path: Path) -> IO[str]:
    """A text file, gzipped or not."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def is_plain(path: Path) -> bool:
    """Whether `read_plain` reads files of this name."""
    return path.name.removesuffix(".gz").endswith(PLAIN) and path.is_file()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with open_text(path) as file:
            if path.name.removesuffix(".gz").endswith(".csv"):
                reader = csv.DictReader(file, strict=True)
                for row in reader:
                    if None in row or None in row.values():
                        raise TrainingError(
                            f"{path}, line {reader.line_num}: expected "
                            f"{len(reader.fieldnames or ())} columns, as in the header"
                        )
                    yield reader.line_num, row
            else:
                yield from _objects(path, file)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error


def _objects(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise TrainingError(f"{path}, line {number}: is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise TrainingError(f"{path}, line {number}: expected a JSON object")
        yield number, row


_WORDS = {"": np.nan, "true": 1.0, "false": 0.0}


def _share(value: Any, where: str) -> float:
    if value is None:
        return np.nan
    told = str(value).strip().lower()
    try:
        share = _WORDS[told] if told in _WORDS else float(told)
    except ValueError:
        share = -1.0
    if not (np.isnan(share) and told == "") and not 0 <= share <= 1:
        raise TrainingError(f"{where}: expected a number from 0 to 1 or nothing, got {value!r}")
    return share
