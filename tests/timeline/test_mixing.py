import numpy as np
import pytest

from cluster.settings import Settings
from tests.timeline.candidate_rows import query, rows
from timeline import mixing
from timeline.candidates import NONE


def test_best_first() -> None:
    candidates = rows(
        {"scores": 1, "post_ids": 9}, {"scores": 2, "post_ids": 5}, {"scores": 1, "post_ids": 3}
    )
    assert mixing.best_first(candidates).tolist() == [1, 2, 0]


def test_the_best_of_each_stranger_and_source() -> None:
    candidates = rows(
        {"author_ids": 7, "scores": 1},
        {"author_ids": 7, "scores": 2},
        {"author_ids": 7, "scores": 0, "source": 1},
        {"author_ids": 8, "scores": 1, "is_followed": 1},
        {"author_ids": 8, "scores": 2, "is_followed": 1},
    )
    kept = mixing.best_per_author_out_of_network(query(), candidates)
    assert sorted(kept.tolist()) == [1, 2, 3, 4]


def test_a_page_has_its_best_within_the_caps() -> None:
    caps = {"max_in_network": 2, "max_out_of_network": 1}
    settings = Settings(for_you=caps)  # type: ignore[arg-type]
    candidates = rows(*({"scores": -k, "is_followed": k % 2} for k in range(8)))
    assert mixing.page(query(settings), candidates).tolist() == [0, 1, 3]
    assert mixing.page(query(settings, limit=2), candidates).tolist() == [0, 1]


@pytest.mark.parametrize("choose", [mixing.best_per_author_out_of_network, mixing.page])
def test_nothing_is_chosen_from_nothing(choose: object) -> None:
    assert np.asarray(choose(query(), NONE)).tolist() == []  # type: ignore[operator]
