"""Published sets of labelled texts, in the form in which their makers give them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from training.job import TrainingError
from training.trust_and_safety.labelled import (
    UNKNOWN,
    Labelled,
    Values,
    is_plain,
    labelled,
    of_shares,
    open_text,
    read_plain,
)

TOXICITY, ABUSE, HATE, NSFW = "toxicity", "abuse", "hate", "nsfw_text"
VIOLENCE, SELF_HARM = "violence", "self_harm"


def read_folder(path: Path) -> list[Labelled]:
    """Every set in a folder: published ones in folders by their names, and plain files.

    A path to one plain file is that file. Raises `TrainingError` where there is nothing.
    """
    if is_plain(path):
        return [read_plain(path)]
    if not path.is_dir():
        raise TrainingError(
            f"training.trust_and_safety.labelled_text: {path} is neither a folder nor a CSV "
            "or NDJSON file"
        )
    found = [read(path / name) for name, read in READERS.items() if (path / name).is_dir()]
    found += [read_plain(file) for file in sorted(path.iterdir()) if is_plain(file)]
    if not found:
        raise TrainingError(
            f"training.trust_and_safety.labelled_text: nothing to read in {path}; it may hold "
            f"the folders {', '.join(READERS)}, and CSV or NDJSON files with a column 'text' "
            "and one column a label"
        )
    return found


def read_davidson(folder: Path) -> Labelled:
    """Davidson et al., 2017: tweets, each hate speech, offensive or neither by most votes.

    Hate is toxic and abuse; what merely offends is toxic and not hate, and whether it breaks
    rules nobody said.
    """
    with open_text(folder / "labeled_data.csv") as file:
        rows = list(csv.DictReader(file))
    classes = np.array([int(row["class"]) for row in rows])
    values = {
        TOXICITY: _flags(classes != 2),
        HATE: _flags(classes == 0),
        ABUSE: np.where(classes == 1, UNKNOWN, classes == 0).astype(np.int8),
    }
    return labelled("davidson", [row["tweet"] for row in rows], values, ["en"] * len(rows))


def read_toxic_spans(folder: Path) -> Labelled:
    """Comments in which annotators marked what is toxic: all of them were suspected.

    The toxicity is the share of annotators who did not say *not toxic*.
    """
    with open_text(folder / "annotations.csv") as file:
        votes = [(row["comment_id"], row["not toxic"] != "True") for row in csv.DictReader(file)]
    with open_text(folder / "comments.csv") as file:
        rows = list(csv.DictReader(file))
    number = {row["comment_id"]: i for i, row in enumerate(rows)}
    known = [(number[comment], toxic) for comment, toxic in votes if comment in number]
    at = np.array([i for i, _ in known], np.int64)
    n_votes = np.bincount(at, minlength=len(rows))
    n_toxic = np.bincount(at, [toxic for _, toxic in known], len(rows))
    shares = np.where(n_votes > 0, n_toxic / np.maximum(n_votes, 1), np.nan)
    texts = [row["comment_text"] for row in rows]
    return labelled("toxic_spans", texts, {TOXICITY: of_shares(shares)}, ["en"] * len(rows))


def read_openai_moderation(folder: Path) -> Labelled:
    """Markov et al., 2023: prompts, each with the categories that somebody checked."""
    rows = []
    for path in sorted(folder.glob("*.jsonl*")):
        with open_text(path) as file:
            rows += [orjson.loads(line) for line in file if line.strip()]

    def any_of(*categories: str) -> Values:
        """1 where one of them is said to hold, 0 where the first is said not to."""
        told = np.array([[row.get(c, UNKNOWN) for c in categories] for row in rows], np.int8)
        told = told.reshape(len(rows), len(categories))
        return np.where((told == 1).any(axis=1), 1, told[:, 0]).astype(np.int8)

    hate, harassment = any_of("H", "H2"), any_of("HR")
    rude = np.maximum(hate, harassment)
    unsure = (rude == 0) & ((hate == UNKNOWN) | (harassment == UNKNOWN))
    values = {
        TOXICITY: np.where(unsure, UNKNOWN, rude).astype(np.int8),
        HATE: hate,
        ABUSE: np.where(unsure, UNKNOWN, rude).astype(np.int8),
        NSFW: any_of("S", "S3"),
        VIOLENCE: any_of("V", "V2"),
        SELF_HARM: any_of("SH"),
    }
    # Most are in English, but some are not and nobody says which.
    return labelled("openai_moderation", [row["prompt"] for row in rows], values, [""] * len(rows))


READERS: dict[str, Callable[[Path], Labelled]] = {
    "davidson": read_davidson,
    "toxic_spans": read_toxic_spans,
    "openai_moderation": read_openai_moderation,
}
"""Folder name → how it is read."""


def _flags(mask: npt.NDArray[np.bool_]) -> Values:
    return mask.astype(np.int8)
