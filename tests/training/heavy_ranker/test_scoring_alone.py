"""A candidate's score does not depend on which others are scored with it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.inputs import RankerInputs
from tests.training.heavy_ranker.scored_models import (
    draw_inputs,
    draw_model,
    part_of,
    schema_of,
    write_model,
)
from training.heavy_ranker.packed_linear import Precision
from training.heavy_ranker.scoring import Floats, HeavyRankerModel

SCHEMA = schema_of((37, 21, 29), (3, 2, 5), (1, 1, 2))
CANDIDATES = 1_500
TOLERANCES = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.0}

Scored = tuple[HeavyRankerModel, RankerInputs, Floats]


@pytest.fixture(scope="module", params=["fp32", "bf16", "int8"])
def scored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    rng = np.random.default_rng(11)
    tensors, described = draw_model(
        SCHEMA, rng, blocks=4, mask_width=130, block_width=70, backbone=(150,), towers=(40, 24)
    )
    folder: Path = write_model(tmp_path_factory.mktemp("model"), tensors, described)
    precision: Precision = request.param
    model = HeavyRankerModel.read(folder, SCHEMA, precision=precision, threads=2)
    inputs = draw_inputs(SCHEMA, CANDIDATES, 400, rng)
    return model, inputs, model.score(inputs)


def _check(scored: Scored, rows: np.ndarray) -> None:
    model, inputs, together = scored
    found = model.score(part_of(inputs, rows))
    np.testing.assert_allclose(
        found, together[rows], rtol=0, atol=TOLERANCES[model.precision], strict=True
    )


def test_one_by_one(scored: Scored) -> None:
    for row in range(0, CANDIDATES, 150):
        _check(scored, np.array([row]))


def test_in_another_order(scored: Scored) -> None:
    _check(scored, np.random.default_rng(0).permutation(CANDIDATES))


@given(st.integers(1, CANDIDATES), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_in_any_company(scored: Scored, n: int, seed: int) -> None:
    _check(scored, np.random.default_rng(seed).choice(CANDIDATES, n, replace=False))
