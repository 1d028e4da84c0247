"""scikit-learn's own text classification: what the safety models are judged beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion

from training.trust_and_safety.labelled import UNKNOWN, Labelled

Floats = npt.NDArray[np.float32]
INVERSE_L2 = 10.0
"""C of the regression; not tuned."""


@dataclass(frozen=True)
class Reference:
    """`TfidfVectorizer` over words and characters, and a `LogisticRegression` for each label."""

    vectorizer: Any
    regressions: tuple[Any, ...]

    @classmethod
    def fit(cls, texts: Sequence[str], values: npt.NDArray[np.int8], seed: int) -> "Reference":
        """Learn each label (n, labels) from the texts of which it is known."""
        common = {"sublinear_tf": True, "min_df": 2, "dtype": np.float32}
        characters = {"analyzer": "char_wb", "ngram_range": (2, 5)}
        vectorizer = FeatureUnion(
            [
                ("words", TfidfVectorizer(ngram_range=(1, 2), **common)),
                ("characters", TfidfVectorizer(**characters, **common)),
            ]
        )
        matrix = vectorizer.fit_transform(texts)
        regressions = []
        for label in range(values.shape[1]):
            known = np.flatnonzero(values[:, label] != UNKNOWN)
            regression = LogisticRegression(C=INVERSE_L2, solver="liblinear", random_state=seed)
            regressions.append(regression.fit(matrix[known], values[known, label]))
        return cls(vectorizer, tuple(regressions))

    def logits(self, texts: Sequence[str]) -> Floats:
        """Shape (n, labels)."""
        matrix = self.vectorizer.transform(texts)
        columns = [regression.decision_function(matrix) for regression in self.regressions]
        return np.column_stack(columns).astype(np.float32)

    @property
    def n_bytes(self) -> int:
        """Of the weights; the vocabularies, in Python's dictionaries, are not counted."""
        return sum(regression.coef_.nbytes for regression in self.regressions)


def cross_validated(data: Labelled, folds: npt.NDArray[np.int64], seed: int) -> Floats:
    """The logits (n, labels) of each text by a reference that learned the other folds alone."""
    logits = np.empty(data.values.shape, np.float32)
    for fold in np.unique(folds).tolist():
        learned, judged = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = Reference.fit([data.texts[i] for i in learned], data.values[learned], seed)
        logits[judged] = fitted.logits([data.texts[i] for i in judged])
    return logits
