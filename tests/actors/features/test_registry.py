from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from actors.features.families import Place, Selection
from actors.features.inputs import Level, Sort
from actors.features.registry import (
    FAMILIES,
    columns_of,
    document,
    families_of,
    plan_of,
    schema_for,
    schema_of,
)
from cluster.settings import load

SELECTIONS: tuple[Selection, ...] = get_args(Selection)
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "features.md"


def test_twitter_has_the_published_numbers_of_inputs() -> None:
    schema = schema_of("twitter")
    assert (len(schema.continuous), len(schema.binary)) == (2_117, 59)
    assert [(e.name, e.dimensions) for e in schema.embeddings] == [
        ("user_follow", 200),
        ("user_engagement", 200),
        ("author_follow", 200),
    ]
    vectors = sum(e.dimensions for e in schema.embeddings)
    assert len(schema.continuous) + len(schema.binary) + vectors == 2_776
    assert schema.width(Level.POST) <= 1_000


def test_laptop_has_a_few_hundred_and_all_of_them_are_among_twitters() -> None:
    laptop, twitter = (schema_of(selection) for selection in SELECTIONS)
    assert 250 <= len(laptop.continuous) + len(laptop.binary) <= 400
    sorts = {given.name: (given.sort, given.level) for given in twitter.inputs}
    odd = {g.name for g in laptop.inputs if sorts.get(g.name) != (g.sort, g.level)}
    # Which engagements count as impressions is the group's own choice.
    assert not {name for name in odd if ".pair." not in name}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_input_is_named_once_and_says_what_it_means(selection: Selection) -> None:
    inputs = schema_of(selection).inputs
    names = [given.name for given in inputs]
    assert len(set(names)) == len(names)
    assert all(given.meaning and given.group for given in inputs)
    for given in inputs:
        assert (given.buckets > 0) == (given.dimensions > 0) == (given.sort == Sort.DISCRETE)
        assert given.dimensions % 4 == 0


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("level", Level)
def test_every_column_is_told_in_one_place(selection: Selection, level: Level) -> None:
    told = np.zeros(len(columns_of(selection, level)), int)
    for place in Place:
        plan = plan_of(selection, level, place)
        written = np.zeros(len(plan), int)
        for runs in plan.parts.values():
            for put, _ in runs:
                written[put] += 1
        assert (written == 1).all()
        for put, _ in plan.runs:
            told[put] += 1
    assert (told == 1).all()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_block_goes_to_the_columns_of_its_names(selection: Selection) -> None:
    """Each family writes numbers that name its columns; they end where the schema says."""
    number = {given.name: k for k, given in enumerate(schema_of("twitter").inputs)}
    for level in Level:
        named = [given.name for given in columns_of(selection, level)]
        values = np.full((2, len(named)), np.nan, np.float32)
        for place in Place:
            plan = plan_of(selection, level, place)
            block = plan.empty(2)
            for family in FAMILIES:
                mine = [number.get(column.name, -1) for column in family.columns]
                if family.level == level and family.place == place:
                    plan.write(block, family.name, np.array([mine] * 2, np.float32))
            plan.place(values, block)
        of_families = {column.name for family in FAMILIES for column in family.columns}
        for k, name in enumerate(named):
            if name in of_families:
                assert values[1, k] == number[name]


def test_vectors_have_the_dimensions_of_the_settings() -> None:
    settings = load(training={"twhin": {"dimensions": 16}})
    assert [e.dimensions for e in schema_for(settings).embeddings] == [16, 16, 16]
    assert schema_for(settings).fingerprint != schema_for(load()).fingerprint


def test_the_viewers_counters_make_up_the_number() -> None:
    counted = [f for f in families_of("twitter") if f.level == Level.VIEWER and ".pair." in str(f)]
    assert sum(len(family.columns) for family in counted) > 700


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == document(), "run python -m actors.features.registry"
