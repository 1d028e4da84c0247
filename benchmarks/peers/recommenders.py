"""Recommenders run on an interaction matrix in a file: item-kNN, ALS, BPR, LightGCN.

Runs in the peers' own environment and imports nothing of the project; README.md says what the
files hold.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

DEPTH = 100
_BATCH = 128

Score = Callable[[np.ndarray], np.ndarray]
"""Rows of known users → scores of all items, (users, items)."""


def main() -> None:
    """Run one method with every configuration and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("problem", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--configurations", required=True, help="JSON: a list of objects")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    # The libraries have threads of their own, and BLAS's must not fight with them for the cores.
    threadpool_limits(1, "blas")
    with np.load(arguments.problem, allow_pickle=False) as file:
        problem = dict(file)
    shape = int(problem["n_users"]), int(problem["n_items"])
    ones = np.ones(len(problem["users"]), np.float32)
    matrix = sp.csr_matrix((ones, (problem["users"], problem["items"])), shape)
    found, told = [], []
    for configuration in json.loads(arguments.configurations):
        began_s = time.perf_counter()
        for said, score in COMMANDS[arguments.command](matrix, configuration, arguments.threads):
            found.append(ranked(problem, matrix, score))
            seconds = time.perf_counter() - began_s
            told.append({**configuration, **said, "seconds": round(seconds, 3)})
    np.save(arguments.out, np.stack(found))
    print(json.dumps({"command": arguments.command, "runs": told}))


def ranked(problem: dict[str, np.ndarray], matrix: sp.csr_matrix, score: Score) -> np.ndarray:
    """The best items of every user asked about, (users, DEPTH), −1 where there is none.

    Items that are equal, and all items of users who are not in the matrix, go by popularity.
    """
    popularity = np.asarray(matrix.sum(0)).ravel()
    tie = popularity / (popularity.max() + 1)
    asked, excluded = problem["asked"], problem["excluded"]
    bounds = problem["excluded_from"]
    lists = np.full((len(asked), DEPTH), -1, np.int32)
    depth = min(DEPTH, matrix.shape[1])
    for begin in range(0, len(asked), _BATCH):
        users = asked[begin : begin + _BATCH]
        known = users >= 0
        scores = np.zeros((len(users), matrix.shape[1]))
        if known.any():
            of_known = np.asarray(score(users[known]), np.float64)
            # Ties only: smaller than any difference that float32 scores may have.
            scale = np.abs(of_known).max(1, keepdims=True) * 1e-9 + 1e-30
            scores[known] = of_known + tie * scale
        scores[~known] = tie
        for row in range(len(users)):
            scores[row, excluded[bounds[begin + row] : bounds[begin + row + 1]]] = -np.inf
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        best[np.isneginf(np.take_along_axis(scores, best, 1))] = -1
        lists[begin : begin + len(users), :depth] = best
    return lists


def _item_knn(
    matrix: sp.csr_matrix, given: dict[str, Any], threads: int
) -> Iterator[tuple[dict[str, Any], Score]]:
    from implicit import nearest_neighbours as nn

    kinds = {"cosine": nn.CosineRecommender, "bm25": nn.BM25Recommender}
    model = kinds[given["kind"]](K=given["neighbours"], num_threads=threads)
    model.fit(matrix, show_progress=False)
    yield {}, lambda users: (matrix[users] @ model.similarity).toarray()


def _als(
    matrix: sp.csr_matrix, given: dict[str, Any], threads: int
) -> Iterator[tuple[dict[str, Any], Score]]:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=given["factors"],
        regularization=given["regularization"],
        alpha=given["alpha"],
        iterations=given["iterations"],
        num_threads=threads,
        random_state=given["seed"],
    )
    model.fit(matrix, show_progress=False)
    yield {}, lambda users: model.user_factors[users] @ model.item_factors.T


def _bpr(
    matrix: sp.csr_matrix, given: dict[str, Any], threads: int
) -> Iterator[tuple[dict[str, Any], Score]]:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=given["factors"],
        learning_rate=given["learning_rate"],
        regularization=given["regularization"],
        iterations=given["iterations"],
        num_threads=threads,
        random_state=given["seed"],
    )
    model.fit(matrix, show_progress=False)
    yield {}, lambda users: model.user_factors[users] @ model.item_factors.T


def _light_gcn(
    matrix: sp.csr_matrix, given: dict[str, Any], threads: int
) -> Iterator[tuple[dict[str, Any], Score]]:
    """One model, told after each number of steps in `steps`."""
    import torch
    from torch_geometric.nn.models import LightGCN

    torch.set_num_threads(threads)
    torch.manual_seed(given["seed"])
    n_users, n_items = matrix.shape
    graph = _normalised(matrix)
    # The graph is normalised once, so that the convolutions need not do it at every step.
    model = LightGCN(n_users + n_items, given["dimensions"], given["layers"], normalize=False)
    torch.nn.init.normal_(model.embedding.weight, std=0.1)
    optimiser = torch.optim.Adam(model.parameters(), lr=given["learning_rate"])

    @torch.no_grad()
    def propagated(x: torch.Tensor) -> torch.Tensor:
        found = x * model.alpha[0]
        for weight, convolution in zip(model.alpha[1:], model.convs, strict=True):
            x = convolution(x, graph)
            found = found + x * weight
        return found

    class Propagation(torch.autograd.Function):
        """Linear and symmetric, so its own derivative, for which autograd transposes matrices."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return propagated(x)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return propagated(gradient)

    users, items = (torch.from_numpy(part.astype(np.int64)) for part in matrix.nonzero())
    step = 0
    while step < max(given["steps"]):
        for rows in torch.randperm(len(users)).split(given["batch"]):
            some, liked = users[rows], items[rows] + n_users
            others = torch.randint(n_items, (len(rows),)) + n_users
            vectors = Propagation.apply(model.embedding.weight)
            better = (vectors[some] * vectors[liked]).sum(1)
            worse = (vectors[some] * vectors[others]).sum(1)
            nodes = torch.cat([some, liked, others])
            loss = model.recommendation_loss(better, worse, nodes, given["regularization"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if step in given["steps"]:
                found = propagated(model.embedding.weight).numpy().copy()
                yield {"steps": [step]}, partial(_products, found, n_users)
            if step >= max(given["steps"]):
                break


def _products(vectors: np.ndarray, n_users: int, users: np.ndarray) -> np.ndarray:
    return vectors[:n_users][users] @ vectors[n_users:].T


def _normalised(matrix: sp.csr_matrix) -> Any:
    """The bipartite graph as a sparse tensor, an edge weighing 1 / √(degree · degree)."""
    import torch

    graph = sp.bmat([[None, matrix], [matrix.T, None]]).tocsr()
    degrees = np.maximum(np.asarray(graph.sum(1)).ravel(), 1)
    scale = sp.diags(1 / np.sqrt(degrees))
    graph = (scale @ graph @ scale).tocsr().astype(np.float32)
    return torch.sparse_csr_tensor(
        torch.from_numpy(graph.indptr.astype(np.int64)),
        torch.from_numpy(graph.indices.astype(np.int64)),
        torch.from_numpy(graph.data),
        graph.shape,
    )


COMMANDS: dict[str, Callable[..., Iterator[tuple[dict[str, Any], Score]]]] = {
    "item-knn": _item_knn,
    "als": _als,
    "bpr": _bpr,
    "lightgcn": _light_gcn,
}

if __name__ == "__main__":
    main()
