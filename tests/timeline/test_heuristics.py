from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.post_marks import Mark
from actors.viewer_state import ViewerState
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline import candidate_rows
from tests.timeline.candidate_rows import NOW_MS, query
from tests.worlds import DAY_MS
from timeline import heuristics
from timeline.candidates import NONE, Candidates
from timeline.heuristics import FACTORS, document, product, rescore
from timeline.late_filters import late_filters
from timeline.predictions import LightScores
from timeline.query import Query

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "heuristics.md"
VERIFIED, CREATOR = {"marks": Mark.AUTHOR_VERIFIED}, {"marks": Mark.AUTHOR_CREATOR}
BOTH = {"marks": Mark.AUTHOR_VERIFIED | Mark.AUTHOR_CREATOR}
FOLLOWED, REPLY, REPOST = {"is_followed": 1}, {"is_reply": True}, {"repost_of_ids": 5}
PUBLISHED = {
    "verified_in_network": 4.0,
    "verified_out_of_network": 2.0,
    "creator_in_network": 1.1,
    "creator_out_of_network": 1.3,
}


def rows(*posts: dict[str, Any]) -> Candidates:
    """As the shared builder's, with the column `is_reply` as the feature of that name."""
    found = candidate_rows.rows(*posts)
    return replace(found, is_reply=found.feature("is_reply") > 0)


def asking(limit: int = 10, **factors: float) -> Query:
    return query(Settings(heuristics={"factors": factors}), limit)  # type: ignore[arg-type]


def factors_of(asked: Query, *posts: dict[str, Any]) -> dict[str, list[float]]:
    return {name: found.tolist() for name, found in rescore(asked, rows(*posts))}


TABLE: list[tuple[str, dict[str, float], dict[str, Any], float]] = [
    # Factor, settings, post, what it is multiplied by.
    ("out_of_network", {}, {}, 1),
    ("out_of_network", {"out_of_network": 0.75}, {}, 0.75),
    ("out_of_network", {"out_of_network": 0.75}, FOLLOWED, 1),
    ("out_of_network", {"out_of_network": 0.75}, {"author_ids": 0}, 0.75),
    ("reply", {}, {}, 1),
    ("reply", {}, REPLY, 0.75),
    ("reply", {}, REPLY | FOLLOWED, 0.75),
    ("reply", {"reply": 1}, REPLY, 1),
    ("verified", {}, VERIFIED | FOLLOWED, 1),
    ("verified", PUBLISHED, VERIFIED | FOLLOWED, 4),
    ("verified", PUBLISHED, VERIFIED, 2),
    ("verified", PUBLISHED, VERIFIED | REPLY | FOLLOWED, 1),
    ("verified", PUBLISHED, VERIFIED | REPOST | FOLLOWED, 1),
    ("verified", PUBLISHED, VERIFIED | {"links": [0, 5, 0]}, 2),
    ("verified", PUBLISHED, CREATOR, 1),
    ("creator", {}, CREATOR, 1),
    ("creator", PUBLISHED, CREATOR | FOLLOWED, 1.1),
    ("creator", PUBLISHED, CREATOR, 1.3),
    ("creator", PUBLISHED, CREATOR | REPLY, 1),
    ("creator", PUBLISHED, CREATOR | REPOST, 1),
    ("creator", PUBLISHED, VERIFIED, 1),
    ("media", {}, {"marks": Mark.VIDEO | Mark.IMAGE}, 1),
    ("media", {"image": 2, "video": 3}, {"marks": Mark.IMAGE}, 2),
    ("media", {"image": 2, "video": 3}, {"marks": Mark.VIDEO}, 3),
    ("media", {"image": 2, "video": 3}, {"marks": Mark.VIDEO | Mark.IMAGE}, 3),
    ("media", {"image": 2, "video": 3}, {"marks": Mark.SENSITIVE}, 1),
]


@pytest.mark.parametrize(("name", "settings", "post", "factor"), TABLE)
def test_factors_of_single_posts(
    name: str, settings: dict[str, float], post: dict[str, Any], factor: float
) -> None:
    found = factors_of(asking(**settings), post)
    assert found[name] == [pytest.approx(factor)]


def by_both(light: list[float], share: float, *posts: dict[str, Any]) -> Query:
    """As of posts (n,) whose scores are the heavy ranker's, the light ranker having said these."""
    said = LightScores(rows(*posts).post_ids, np.array(light, np.float32))
    return replace(asking(light_ranker_share=share), light_scores=said)


def test_the_light_ranker_has_its_share_of_the_heavy_rankers_scores() -> None:
    posts = [{"scores": 4.0}, {"scores": 0.25}, {"scores": 1.0}]
    light = [0.25, 0.25, 0.64]
    for share, factors in ((0.0, [1, 1, 1]), (0.5, [0.25, 1, 0.8]), (1.0, [0.0625, 1, 0.64])):
        asked = by_both(light, share, *posts)
        assert factors_of(asked, *posts)["light_ranker_share"] == pytest.approx(factors)
    # Without a heavy ranker the scores are the light ranker's own.
    assert factors_of(asking(light_ranker_share=0.5), *posts)["light_ranker_share"] == [1, 1, 1]


def test_of_an_author_the_best_by_both_rankers_comes_first() -> None:
    posts = [{"author_ids": 7, "scores": 1.0}, {"author_ids": 7, "scores": 0.64}]
    found = factors_of(by_both([0.16, 0.64], 0.5, *posts), *posts)
    assert found["light_ranker_share"] == pytest.approx([0.4, 1])
    assert found["author_diversity"] == [0.625, 1]
    alone = factors_of(by_both([0.16, 0.64], 0.0, *posts), *posts)
    assert alone["author_diversity"] == [1, 0.625]


def test_the_published_extremes() -> None:
    asked = asking(**PUBLISHED)
    worst = {"author_ids": 7}
    posts = [BOTH | FOLLOWED, BOTH, *(worst | {"scores": 9 - k} for k in range(4)), worst | REPLY]
    found = product(rescore(asked, rows(*posts)), len(posts))
    assert found[[0, 1]].tolist() == pytest.approx([4.4, 2.6])
    # The fifth post of its author, and a reply.
    assert found[-1] == pytest.approx(0.75 * 0.296875)


def test_author_diversity_is_the_published_sequence() -> None:
    scores = [0.4, 0.9, 0.1, 0.6, 0.5, 0.3]
    posts = [{"author_ids": 8 if k == 2 else 7, "scores": s} for k, s in enumerate(scores)]
    found = factors_of(asking(), *posts)["author_diversity"]
    assert found == [0.34375, 1, 1, 0.625, 0.4375, 0.296875]
    many = factors_of(asking(), *({"author_ids": 7, "scores": -k} for k in range(60)))
    assert many["author_diversity"][-1] == pytest.approx(0.25)


def test_author_diversity_ranks_by_the_score_before_other_factors() -> None:
    # A reply would come after the other post, were it ranked by 0.75 of its score.
    posts = ({"author_ids": 7, "scores": 1.0} | REPLY, {"author_ids": 7, "scores": 0.9})
    found = factors_of(asking(), *posts)
    assert found["author_diversity"] == [1, 0.625]
    assert product(rescore(asking(), rows(*posts)), 2).tolist() == [0.75, 0.625]


def test_posts_of_unknown_authors_are_not_taken_for_one_authors() -> None:
    found = factors_of(asking(), {"author_ids": 0}, {"author_ids": 0})
    assert found["author_diversity"] == [1, 1]


def test_equal_scores_are_ranked_by_id() -> None:
    posts = ({"author_ids": 7, "post_ids": 9}, {"author_ids": 7, "post_ids": 3})
    assert factors_of(asking(), *posts)["author_diversity"] == [0.625, 1]


def test_source_diversity() -> None:
    posts = [{"source": k % 2, "scores": -k} for k in range(5)]
    assert factors_of(asking(), *posts)["source_diversity"] == [1] * 5
    asked = asking(source_decay=0.5, source_floor=0.5)
    assert factors_of(asked, *posts)["source_diversity"] == [1, 1, 0.75, 0.75, 0.625]


def test_impressed_authors() -> None:
    posts = [{"author_ids": author} for author in (7, 8, 9, 10, 0)]
    seen = np.array([7, 8, 8, 9, 8, 0])
    asked = asking(impressed_author_decay=0.5, impressed_author_floor=0.0)
    asked.context = replace(
        asked.viewer, seen_author_ids=seen, affine_ids=np.array([9]), affinities=np.ones(1)
    )
    assert factors_of(asked, *posts)["impressed_author"] == [0.5, 0.125, 1, 1, 1]
    off = replace(asking(), context=asked.context)
    assert factors_of(off, *posts)["impressed_author"] == [1] * 5


def test_feedback_fatigue_is_one_of_them() -> None:
    state = ViewerState(
        feedback_author_ids=np.array([7]),
        feedback_kinds=np.array([Kind.SHOW_LESS], np.uint8),
        feedback_ms=np.array([NOW_MS - 14 * DAY_MS]),
    )
    asked = replace(asking(), state=state)
    found = factors_of(asked, {"author_ids": 7}, {})
    assert found["feedback_fatigue"] == pytest.approx([0.2, 1])


def test_what_others_found_is_one_factor_more() -> None:
    down = np.array([0.5, 1.0], np.float32)
    candidates = rows(REPLY, {})
    found = rescore(asking(), candidates, [("visibility", down)])
    assert found[-1][0] == "visibility"
    assert product(found, 2).tolist() == [0.375, 1.0]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3), st.integers(0, 9))))
def test_every_factor_is_pure_whatever_the_order(
    posts: list[tuple[bool, bool, int, int]],
) -> None:
    asked = asking(out_of_network=0.5, source_decay=0.5, image=2, **PUBLISHED)
    asked.light_scores = LightScores(
        np.arange(100, 100 + len(posts)), np.full(len(posts), 0.1, "f4")
    )
    candidates = rows(
        *(
            {
                "is_followed": a,
                "is_reply": b,
                "author_ids": c,
                "source": c,
                "scores": d,
                "marks": 63,
            }
            for a, b, c, d in posts
        )
    )
    copied = {name: column.copy() for name, column in vars(candidates).items()}
    shuffled = np.random.default_rng(5).permutation(len(candidates))
    moved = candidates.take(shuffled)
    for factor in FACTORS:
        found = factor.of(asked, candidates)
        assert found.dtype == np.float32
        assert found.shape == (len(candidates),)
        assert (found > 0).all()
        assert factor.of(asked, moved).tolist() == found[shuffled].tolist()
    for name, column in copied.items():
        np.testing.assert_array_equal(column, getattr(candidates, name))


def test_nothing_is_rescored_of_nothing() -> None:
    found = rescore(asking(**PUBLISHED), NONE)
    assert {values.shape for _, values in found} == {(0,)}
    assert product(found, 0).shape == (0,)


def test_by_default_only_the_published_factors_do_anything() -> None:
    posts = rows(*({"marks": 63, "source": 1, "is_followed": k % 2} for k in range(6)))
    found = dict(rescore(asking(), posts))
    assert {name for name, values in found.items() if (values != 1).any()} == set()
    assert heuristics.reply(asking(), rows(REPLY)).tolist() == [0.75]


def test_the_tables_name_settings_that_exist_and_every_part_once() -> None:
    settings = Settings()
    told = [*FACTORS, *late_filters()]
    names = [one.name for one in told]
    # Feedback fatigue is both: a filter first and a factor afterwards.
    assert sorted({n for n in names if names.count(n) > 1}) == ["feedback_fatigue"]
    for one in told:
        assert one.meaning
        assert one.source
        for path in one.settings:
            attrgetter(path)(settings)
    named = {path for factor in FACTORS for path in factor.settings}
    factors = {
        f"heuristics.factors.{name}" for name in type(settings.heuristics.factors).model_fields
    }
    assert factors <= named


def test_the_document_is_up_to_date(tmp_path: Path) -> None:
    assert DOCUMENT.read_text() == document(), "run `python -m timeline.heuristics`"
    heuristics.main([str(tmp_path / "again.md")])
    assert (tmp_path / "again.md").read_text() == document()
