"""What others find on the same rows: popularity, recency, item-kNN, ALS, BPR and LightGCN."""

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from benchmarks.peers_environment import run_recommender
from benchmarks.quality.metrics import DEPTH, judge
from benchmarks.quality.splits import Problem
from cluster.ids import Ids

_SCRIPT = Path(__file__).parents[1] / "peers" / "recommenders.py"
HALF_LIVES = (0.01, 0.03, 0.1, 0.3)
"""Of recent popularity, as shares of the time from the first known positive to now."""


@dataclass(frozen=True)
class Method:
    """A published recommender, and the configurations of which the validation part chooses."""

    name: str
    command: str
    configurations: Sequence[Mapping[str, Any]]
    random: bool = True


@dataclass(frozen=True)
class Result:
    """What a method's lists are worth, run by run (one a seed), and how it was configured."""

    metrics: Sequence[Mapping[str, float]]
    configuration: Mapping[str, Any]
    seconds: float = 0.0
    validation: Mapping[str, float] = field(default_factory=dict)


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination."""
    return [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]


def methods(quick: bool) -> list[Method]:
    """The published recommenders; `quick` leaves each one configuration."""
    found = [
        Method(
            "item-kNN (cosine)",
            "item-knn",
            grid(kind=["cosine"], neighbours=[20, 100, 500]),
            random=False,
        ),
        Method(
            "item-kNN (BM25)",
            "item-knn",
            grid(kind=["bm25"], neighbours=[20, 100, 500]),
            random=False,
        ),
        Method(
            "ALS",
            "als",
            grid(
                factors=[32],
                regularization=[0.01, 1.0, 100.0],
                alpha=[1.0, 10.0],
                iterations=[15],
            ),
        ),
        Method(
            "BPR",
            "bpr",
            grid(
                factors=[64],
                learning_rate=[0.03],
                regularization=[0.01, 0.1],
                iterations=[100],
            ),
        ),
        Method(
            "LightGCN",
            "lightgcn",
            grid(
                dimensions=[64],
                layers=[3],
                learning_rate=[0.01, 0.05],
                regularization=[1e-4],
                batch=[16_384],
                steps=[[20, 40, 80]],
            ),
        ),
    ]
    if not quick:
        return found
    few = {"iterations": 50}, {"steps": [40]}
    return [
        Method(
            method.name,
            method.command,
            [{**method.configurations[0], **few[method.command == "lightgcn"]}]
            if method.random
            else method.configurations[:1],
            method.random,
        )
        for method in found
    ]


def run_baselines(
    validation: Problem,
    test: Problem,
    target: str,
    seeds: int,
    quick: bool,
    told: Callable[[str], None],
    kept: Path | None = None,
) -> dict[str, Result]:
    """Every baseline: configured by `target` on the validation problem, judged by the test one.

    What they find is looked for in the folder `kept` and put there, where one is given: it
    depends on nothing but the problems and the peers themselves.
    """
    results = {"popularity": Result([judge(popularity(test), test)], {})}
    share = max(
        HALF_LIVES, key=lambda share: judge(popularity(validation, share), validation)[target]
    )
    results["recent popularity"] = Result(
        [judge(popularity(test, share), test)], {"half_life_share": share}
    )
    results["recency"] = Result([judge(recency(test), test)], {})
    problems = _written(validation), _written(test)
    for method in methods(quick):
        told(method.name)
        results[method.name] = _run(method, problems, validation, test, target, seeds, kept)
    return results


def popularity(problem: Problem, half_life_share: float = np.inf) -> Ids:
    """The candidates with most positives, lately where there is a half-life."""
    span_ms = max(problem.now_ms - int(problem.known.times_ms.min()), 1)
    ages = (problem.now_ms - problem.known.times_ms) / span_ms
    at = np.searchsorted(problem.post_ids, problem.known.post_ids)
    counts = np.bincount(at, 0.5 ** (ages / half_life_share), len(problem.post_ids))
    return same_for_all(problem, counts.astype(np.float64))


def recency(problem: Problem) -> Ids:
    """The newest candidates."""
    return same_for_all(problem, problem.created_ms.astype(np.float64))


def same_for_all(problem: Problem, scores: npt.NDArray[np.float64]) -> Ids:
    """One order of candidates (n,) for every user, less what each may not be offered."""
    order = problem.post_ids[np.lexsort((problem.post_ids, -scores))]
    place = np.empty(len(order), np.int64)
    place[np.searchsorted(problem.post_ids, order)] = np.arange(len(order))
    lists = np.zeros((len(problem.users), DEPTH), np.int64)
    owner = np.searchsorted(problem.users, problem.excluded.user_ids)
    there = np.isin(problem.excluded.post_ids, problem.post_ids)
    taken = place[np.searchsorted(problem.post_ids, problem.excluded.post_ids[there])]
    by_user = np.argsort(owner[there], kind="stable")
    bounds = np.searchsorted(owner[there][by_user], np.arange(len(problem.users) + 1))
    for row in range(len(problem.users)):
        not_offered = taken[by_user[bounds[row] : bounds[row + 1]]]
        head = np.delete(
            order[: DEPTH + len(not_offered)], not_offered[not_offered < DEPTH + len(not_offered)]
        )
        mine = head[:DEPTH]
        lists[row, : len(mine)] = mine
    return lists


def _run(
    method: Method,
    problems: tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]],
    validation: Problem,
    test: Problem,
    target: str,
    seeds: int,
    kept: Path | None,
) -> Result:
    tried = [{**one, "seed": 0} for one in method.configurations]
    ranked, said = recommended(method.command, problems[0], tried, kept)
    judged = [judge(_as_ids(lists, validation), validation) for lists in ranked]
    best = max(range(len(said)), key=lambda i: judged[i][target])
    chosen = {name: value for name, value in said[best].items() if name != "seconds"}
    again = [{**chosen, "seed": seed} for seed in range(seeds if method.random else 1)]
    ranked, told = recommended(method.command, problems[1], again, kept)
    return Result(
        [judge(_as_ids(lists, test), test) for lists in ranked],
        {name: value for name, value in chosen.items() if name != "seed"},
        sum(one["seconds"] for one in told) / len(told),
        judged[best],
    )


def recommended(
    command: str,
    problem: Mapping[str, npt.NDArray[Any]],
    configurations: list[dict[str, Any]],
    kept: Path | None,
) -> tuple[npt.NDArray[np.int32], list[dict[str, Any]]]:
    """What a recommender finds, from a file where the very same was run before."""
    if kept is None:
        return run_recommender(command, dict(problem), configurations)
    key = hashlib.sha256(_SCRIPT.read_bytes() + orjson.dumps([command, configurations]))
    for name, column in sorted(problem.items()):
        key.update(name.encode() + str(column.dtype).encode() + column.tobytes())
    file = kept / f"{command}-{key.hexdigest()[:20]}.npz"
    if not file.is_file():
        ranked, said = run_recommender(command, dict(problem), configurations)
        kept.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, ranked=ranked, said=np.array(orjson.dumps(said).decode()))
    with np.load(file, allow_pickle=False) as found:
        told: list[dict[str, Any]] = orjson.loads(str(found["said"]))
        return found["ranked"], told


def _written(problem: Problem) -> dict[str, npt.NDArray[Any]]:
    """A problem as peers/README.md describes it: rows in the place of ids."""
    users = np.unique(problem.known.user_ids)
    at = np.minimum(np.searchsorted(users, problem.users), len(users) - 1)
    owners = np.searchsorted(problem.users, problem.excluded.user_ids)
    there = np.isin(problem.excluded.post_ids, problem.post_ids)
    order = np.argsort(owners[there], kind="stable")
    items = np.searchsorted(problem.post_ids, problem.excluded.post_ids[there])
    return {
        "users": np.searchsorted(users, problem.known.user_ids),
        "items": np.searchsorted(problem.post_ids, problem.known.post_ids),
        "n_users": np.array(len(users)),
        "n_items": np.array(len(problem.post_ids)),
        "asked": np.where(users[at] == problem.users, at, -1),
        "excluded": items[order],
        "excluded_from": np.searchsorted(owners[there][order], np.arange(len(problem.users) + 1)),
    }


def _as_ids(lists: npt.NDArray[np.int32], problem: Problem) -> Ids:
    found: Ids = np.where(lists < 0, 0, problem.post_ids[lists])
    return found
