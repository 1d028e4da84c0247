from cluster.events import (
    COLUMNS,
    CORE,
    ENGAGEMENTS,
    KIND_OF_LABEL,
    NEGATIVE_FEEDBACK,
    OPTIONAL,
    REFERENCES,
    RULES,
    UNDONE_BY,
    Kind,
)


def test_every_kind_has_a_rule_about_columns_that_exist() -> None:
    assert set(RULES) == set(Kind)
    for rule in RULES.values():
        assert {*rule.needs, *rule.may} <= set(COLUMNS)
        assert not set(rule.needs) & rule.may


def test_kinds_fit_their_column() -> None:
    assert all(0 < kind < 256 for kind in Kind)
    assert len(KIND_OF_LABEL) == len(Kind)
    assert KIND_OF_LABEL["favourite"] is Kind.FAVOURITE


def test_core_and_optional_columns_are_apart() -> None:
    assert not set(CORE.names) & set(OPTIONAL.names)
    assert set(REFERENCES) | set(REFERENCES.values()) <= set(OPTIONAL.names)


def test_every_undo_takes_back_something() -> None:
    assert set(UNDONE_BY.values()) <= {*ENGAGEMENTS, *NEGATIVE_FEEDBACK}
    assert not set(UNDONE_BY) & set(UNDONE_BY.values())
