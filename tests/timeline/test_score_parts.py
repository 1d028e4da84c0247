"""The parts of a score make up the score, and ranks are those the pipeline had."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.binned import BinnedModel, LightRanker
from actors.features.light import FEATURES
from actors.features.tasks import TASK_NAMES
from actors.features.weighted_score import weighted_score
from actors.models import HEAVY_RANKER, LIGHT_RANKER
from cluster.ranker_settings import HeadWeights
from cluster.settings import Settings
from tests.timeline.candidate_rows import NOW_MS, VIEWER, query, rows
from timeline.candidates import Candidates
from timeline.explain import Explained, pack_trace, stage_kinds
from timeline.mixing import best_first
from timeline.pages import Page
from timeline.pipeline import Extend, Filter, Pipeline, Refine, Rescore, Score, Select, Stage
from timeline.predictions import Predictions
from timeline.query import Query

N = 30


def a_light_ranker(rng: np.random.Generator) -> LightRanker:
    edges = np.sort(rng.standard_normal((len(FEATURES), 6)).astype(np.float32), axis=1)
    sides = [
        BinnedModel(FEATURES, edges, rng.normal(0, 0.2, (len(FEATURES), 7)).astype("f4"), -1.0)
        for _ in range(2)
    ]
    return LightRanker(*sides)


class Product:
    """Both rankers, factors, filters and orders over random candidates."""

    def __init__(self, seed: int, weights: HeadWeights, with_heavy: bool = True) -> None:
        rng = np.random.default_rng(seed)
        posts = rows(*({"post_ids": 100 + k} for k in rng.permutation(N).tolist()))
        features = rng.standard_normal((N, len(FEATURES))).astype(np.float32)
        features[:, FEATURES.index("is_followed")] = rng.random(N) < 0.5
        self.posts = replace(posts, features=features)
        self.light = a_light_ranker(rng)
        self.heads = rng.random((N, len(TASK_NAMES))).astype(np.float32) ** 4
        self.factors = rng.uniform(0.1, 2, (4, N)).astype(np.float32)
        self.factors[:, rng.random(N) < 0.3] = 1
        self.predictions: Predictions | None = None
        self.weights = weights
        heavy = [Score(HEAVY_RANKER, self._heavy)] if with_heavy else []
        late = Filter("late", lambda q, c: c.post_ids % 5 != 1)
        self.stages: list[Stage] = [
            Extend("load", lambda q, c: self.posts),
            Filter("early", lambda q, c: c.post_ids % 7 != 3),
            Score(LIGHT_RANKER, self._light),
            Select("best", lambda q, c: np.sort(best_first(c)[:20])),
            *heavy,
            Rescore("diversity", lambda q, c: self._of(0, c)),
            Rescore("heuristics", lambda q, c: [(f"f{k}", self._of(k, c)) for k in (1, 2, 3)]),
            Refine("refine", lambda q, c: c, [late], lambda q, c: len(c) > 8, lambda q: 6),
            Select("page", lambda q, c: best_first(c)[::-1][:7]),
        ]

    def _light(self, query: Query, candidates: Candidates) -> Any:
        followed = candidates.feature("is_followed") > 0
        return 1 / (1 + np.exp(-self.light.logits(candidates.features, followed)))

    def _heavy(self, query: Query, candidates: Candidates) -> Any:
        heads = self.heads[candidates.post_ids - 100]
        self.predictions = Predictions("h", candidates.post_ids, heads, None)  # type: ignore[arg-type]
        return weighted_score(heads, self.weights)

    def _of(self, number: int, candidates: Candidates) -> Any:
        return self.factors[number][candidates.post_ids - 100]

    def page(self) -> tuple[Page, Explained]:
        product = Pipeline("for_you", self.stages)
        shown, trace = product.run(query())
        page = Page(
            *("for_you", VIEWER, "r", NOW_MS, [], None, None, [], {}),
            *(shown, trace, ["in_network"], Settings()),
            model_version="h",
            light_version="l",
            predictions=self.predictions,
            weights=self.weights.model_dump(),
        )
        packed = pack_trace(page, stage_kinds(product))
        return page, Explained(packed, lambda version: self.light)


WEIGHTS = (
    HeadWeights(),
    HeadWeights(is_reported=-20_000.0),
    HeadWeights(**dict.fromkeys(TASK_NAMES, 0.0)),
)


@settings(max_examples=30)
@given(
    st.integers(0, 2**32), st.sampled_from([*WEIGHTS, HeadWeights(is_replied=0.0)]), st.booleans()
)
def test_parts_make_up_the_score(seed: int, weights: HeadWeights, with_heavy: bool) -> None:
    page, explained = Product(seed, weights, with_heavy).page()
    by_id = dict(zip(page.shown.post_ids.tolist(), page.shown.scores.tolist(), strict=True))
    assert len(by_id) == 7
    for post_id, used in by_id.items():
        score = explained.of(post_id)["score"]
        assert score["final"] == pytest.approx(used, rel=1e-6)
        base = score[HEAVY_RANKER] if with_heavy else score[LIGHT_RANKER]
        product = float(np.prod(list(score["factors"].values())))
        assert set(score["factors"]) == {"diversity", "f1", "f2", "f3"}
        assert base * product == pytest.approx(used, rel=1e-6)
        added = sum(one["adds"] for one in score["contributions"]) + score["others"]
        assert score["bias"] + added == pytest.approx(score["logit"], rel=1e-6)
        assert 1 / (1 + np.exp(-score["logit"])) == pytest.approx(score[LIGHT_RANKER], rel=1e-6)
        if with_heavy:
            combined = score["combined"]
            total = sum(one["adds"] for one in score["predicted"])
            assert combined["sum"] == pytest.approx(total, rel=1e-6)
            made = combined["scale"] * total + combined["offset"]
            assert made == pytest.approx(score[HEAVY_RANKER], rel=1e-6)
            for one in score["predicted"]:
                if one["engagement"] != "is_good_clicked":
                    assert one["adds"] == one["probability"] * one["weight"]


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_ranks_are_those_that_the_pipeline_had(seed: int) -> None:
    made = Product(seed, HeadWeights())
    page, explained = made.page()
    for n in range(3, len(made.stages) + 1):
        last = made.stages[n - 1]
        if isinstance(last, Refine):
            continue
        left, _ = Pipeline("part", made.stages[:n]).run(query())
        order = np.arange(len(left)) if last.name == "page" else best_first(left)
        for rank, post_id in enumerate(left.post_ids[order].tolist()):
            ranks = {one["stage"]: one for one in explained.of(post_id)["ranks"]}
            assert ranks[last.name]["after"] == rank
    told = {post: explained.of(post) for post in made.posts.post_ids.tolist()}
    for one in told.values():
        assert all(a["after"] == b["before"] for a, b in pairwise(one["ranks"]))
        if one["verdict"] == "shown":
            assert one["ranks"][-1]["after"] == one["position"]
        elif one["ranks"]:
            assert one["ranks"][-1] == {
                **{"stage": one["dropped_by"], "before": one["ranks"][-1]["before"]},
                "after": None,
            }
    assert {p for p, one in told.items() if one["verdict"] == "shown"} == set(
        page.shown.post_ids.tolist()
    )
    assert {one["dropped_by"] for one in told.values()} >= {"early", "best", "refine", None}
