"""Models of whether a pair will interact: boosted trees, or logistic regression."""

from dataclasses import dataclass
from typing import Any, Protocol

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from cluster.ids import Ids, mix64
from cluster.training_settings import RealGraphSettings
from training.facts import pair_keys
from training.real_graph.inputs import Inputs

Labels = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

N_FOLDS = 5
"""Parts of the sources that are left out in turn; published: one tenth, once, for stopping."""
STOP_AFTER_ROUNDS = 5
L2 = 1.0
"""BigQuery ML's default, which the published training query leaves as it is."""


class Model(Protocol):
    """Probabilities as in the (down-sampled) examples it learnt from."""

    @property
    def rounds(self) -> int:
        """Of boosting; 1 for other models."""

    def raw(self, inputs: Inputs) -> Floats:
        """Of shape (n,), for inputs of shape (n, inputs)."""

    def to_json(self) -> dict[str, Any]:
        """Everything that is needed to score again."""

    def importance(self) -> list[float]:
        """How much each input matters, as shares that sum to 1."""


@dataclass(frozen=True)
class Trees:
    """LightGBM's gradient-boosted trees."""

    booster: Any

    @property
    def rounds(self) -> int:
        """Up to the best one on what was left out, where something was."""
        return int(self.booster.best_iteration) or int(self.booster.num_trees())

    def raw(self, inputs: Inputs) -> Floats:
        """By that many rounds."""
        found: Floats = self.booster.predict(inputs, num_threads=_THREADS)
        return found

    def to_json(self) -> dict[str, Any]:
        """LightGBM's own text form."""
        return {"kind": "gbdt", "trees": self.booster.model_to_string()}

    def importance(self) -> list[float]:
        """Shares of the total gain."""
        gains = self.booster.feature_importance("gain")
        return list((gains / max(gains.sum(), 1e-12)).tolist())


@dataclass(frozen=True)
class Logistic:
    """Logistic regression over log1p of the inputs, standardised (Kamath et al., 2014)."""

    means: Floats
    deviations: Floats
    weights: Floats
    bias: float

    @property
    def rounds(self) -> int:
        """Nothing is boosted."""
        return 1

    def raw(self, inputs: Inputs) -> Floats:
        """The logistic function of a weighted sum."""
        standard = (np.log1p(inputs) - self.means) / self.deviations
        found: Floats = 1 / (1 + np.exp(-(standard @ self.weights + self.bias)))
        return found

    def to_json(self) -> dict[str, Any]:
        """Its numbers."""
        numbers = {
            name: getattr(self, name).tolist() for name in ("means", "deviations", "weights")
        }
        return {"kind": "logistic", "bias": self.bias, **numbers}

    def importance(self) -> list[float]:
        """Shares of the summed absolute weights."""
        sizes = np.abs(self.weights)
        return list((sizes / max(sizes.sum(), 1e-12)).tolist())


_THREADS = 2


def fit(
    inputs: Inputs,
    labels: Labels,
    seed: int,
    settings: RealGraphSettings,
    left_out: tuple[Inputs, Labels] | None = None,
) -> Model:
    """Learn from examples; trees stop where they get no better on what was left out."""
    if settings.model == "logistic":
        return _fit_logistic(inputs, labels)
    return _fit_trees(inputs, labels, seed, settings, left_out)


def folds_of(source_ids: Ids) -> Ids:
    """The part (0 … 4) that all pairs of a source are in, by a hash of its id."""
    return (mix64(source_ids) % np.uint64(N_FOLDS)).astype(np.int64)


def sampled(source_ids: Ids, destination_ids: Ids, share: float, seed: int) -> Labels:
    """Which pairs a sample of the given share keeps: the same ones in any order of rows."""
    drawn = pair_keys(source_ids ^ np.int64(seed), destination_ids) / 2.0**63
    kept: Labels = drawn < share
    return kept


def _fit_trees(
    inputs: Inputs,
    labels: Labels,
    seed: int,
    settings: RealGraphSettings,
    left_out: tuple[Inputs, Labels] | None,
) -> Trees:
    parameters = {
        "objective": "binary",
        "max_depth": settings.depth,
        "num_leaves": 2**settings.depth,
        "learning_rate": settings.learning_rate,
        "lambda_l2": L2,
        "bagging_fraction": settings.subsample,
        "bagging_freq": int(settings.subsample < 1),
        "num_threads": _THREADS,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
    }
    training = lightgbm.Dataset(inputs, labels.astype(np.int8))
    stopping: dict[str, Any] = {}
    if left_out is not None and len(np.unique(left_out[1])) == 2:
        judged = training.create_valid(left_out[0], left_out[1].astype(np.int8))
        halt = lightgbm.early_stopping(STOP_AFTER_ROUNDS, verbose=False)
        stopping = {"valid_sets": [judged], "callbacks": [halt]}
    booster = lightgbm.train(parameters, training, settings.rounds, **stopping)
    return Trees(booster)


def _fit_logistic(inputs: Inputs, labels: Labels) -> Logistic:
    logs = np.log1p(inputs).astype(np.float64)
    means, deviations = logs.mean(axis=0), logs.std(axis=0)
    deviations[deviations == 0] = 1
    regression = LogisticRegression(C=1.0, max_iter=1_000)
    regression.fit((logs - means) / deviations, labels)
    return Logistic(means, deviations, regression.coef_[0], float(regression.intercept_[0]))
