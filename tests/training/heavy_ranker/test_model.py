from typing import Any

import numpy as np
import pytest
import torch

from actors.features.inputs import Embedding, Level, Schema
from actors.features.tasks import TASK_NAMES
from tests.training.heavy_ranker.numpy_model import forward
from tests.training.heavy_ranker.synthetic import examples_of, schema_of, settings_of
from training.heavy_ranker.hashing import table_rows
from training.heavy_ranker.model import HeavyRanker
from training.heavy_ranker.tensors import Batch


def test_the_published_sizes_make_the_published_number_of_parameters() -> None:
    given = schema_of(2_117, 59, tables=False).inputs
    vectors = tuple(Embedding(f"v{i}", Level.VIEWER, 200, "") for i in range(3))
    settings = settings_of(
        blocks=4, mask_width=1024, block_width=1024, backbone=(2048,), towers=(256, 128)
    )
    with torch.device("meta"):
        model = HeavyRanker(Schema(given, vectors), settings)
    assert sum(parameter.numel() for parameter in model.parameters()) == 48_115_108


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", ["parallel", "serial"])
@pytest.mark.parametrize("tables", [True, False])
def test_it_is_the_specified_function(form: str, tables: bool, training: bool) -> None:
    schema = schema_of(tables=tables)
    model = HeavyRanker(schema, settings_of(form=form, dropout=False)).train(training)
    shake(model)
    examples = examples_of(schema, 30)
    examples.continuous[0, 0], examples.continuous[1, 1] = np.nan, np.inf
    examples.continuous[:, 2] *= 1e30
    expected = as_numpy(model, examples, schema, form=form, training=training)
    np.testing.assert_allclose(logits(model, examples, schema), expected, rtol=1e-3, atol=1e-4)
    assert model.tasks == TASK_NAMES


def test_equal_inputs_everywhere_give_numbers() -> None:
    """A published eps of 0 in the layer norm makes such a row NaN."""
    schema = schema_of(tables=False)
    model = HeavyRanker(schema, settings_of()).eval()
    nothing = examples_of(schema, 3)
    for values in (nothing.continuous, nothing.binary, *nothing.embeddings.values()):
        values[:] = 0
    assert np.isfinite(logits(model, nothing, schema)).all()


def test_dropout_is_of_the_towers_that_have_it() -> None:
    schema = schema_of(tables=False)
    model = HeavyRanker(schema, settings_of())
    examples = examples_of(schema, 40)
    first, second = logits(model, examples, schema), logits(model, examples, schema)
    moved = {task for t, task in enumerate(TASK_NAMES) if (first != second)[:, t].any()}
    assert moved == {"is_negative_feedback", "is_reported"}


def test_an_id_of_a_table_is_a_row_and_no_other() -> None:
    buckets = np.array([10, 1_000])
    rows = table_rows(np.array([[0, 0], [9, 9], [10, 999], [-1, 1 << 62]]), buckets)
    assert rows[:2].tolist() == [[0, 0], [9, 9]]
    assert rows[2, 1] == 999
    assert (rows[[2, 3, 3], [0, 0, 1]] >= 1).all()
    assert (rows < buckets).all()
    many = table_rows(np.arange(10**6, 10**6 + 20_000)[:, None], np.array([101]))[:, 0]
    counts = np.bincount(many, minlength=101)
    assert counts[0] == 0
    assert 120 < counts[1:].min() <= counts[1:].max() < 290
    with pytest.raises(ValueError, match="needs 2 rows, and has 1"):
        table_rows(np.array([[1]]), np.array([1]))


def shake(model: HeavyRanker) -> None:
    """Make nothing 0 or 1 that begins so."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        noise = torch.rand(tensor.shape, generator=generator)
        tensor.add_(noise * (1.0 if "running" in name else 0.3))


def as_numpy(
    model: HeavyRanker, examples: Any, schema: Schema, *, form: str, training: bool
) -> Any:
    w = {name: tensor.double().numpy().copy() for name, tensor in model.state_dict().items()}
    buckets = np.array([given.buckets for given in schema.discrete], np.int64)
    rows = table_rows(examples.discrete, buckets)
    tables = [
        w[f"tables.embedding_bags.{given.name}.weight"][rows[:, i]]
        for i, given in enumerate(schema.discrete)
    ]
    continuous = examples.continuous.astype(np.float64)
    return forward(
        w, model.tasks, continuous, examples.binary, examples.embeddings, tables,
        form=form, training=training,
    )  # fmt: skip


def logits(model: HeavyRanker, examples: Any, schema: Schema) -> Any:
    batch = Batch.of(examples, schema)
    with torch.no_grad():
        return model(batch.continuous, batch.binary, batch.embeddings, batch.lookups).numpy()
