import numpy as np
import pytest

from actors.features.light import POST_FEATURES
from cluster.events import Kind
from tests.actors.ranker_inputs.named import told
from tests.worlds import HOUR_MS, NOW_MS, Clock, states_of

VIEWER, AUTHOR, OTHER = 1, 2, 3


def test_linked_posts_have_the_light_rankers_features() -> None:
    clock = Clock(NOW_MS - 2 * HOUR_MS)
    events = [
        clock.post(30, OTHER, image_count=1),
        clock.post(31, OTHER),
        clock.post(32, OTHER),
        clock.post(20, AUTHOR, reply_to_id=30, reply_to_author_id=OTHER),
        clock.post(21, AUTHOR, repost_of_id=31, repost_of_author_id=OTHER),
        clock.post(22, AUTHOR, quote_of_id=32, quote_of_author_id=OTHER),
        clock.post(23, AUTHOR, reply_to_id=99, reply_to_author_id=OTHER),
        clock.event(Kind.POST_DELETE, post_id=32, author_id=OTHER),
        clock.on_post(Kind.FAVOURITE, 9, 30, OTHER),
        clock.on_post(Kind.FAVOURITE, 9, 31, OTHER),
    ]
    [state] = states_of(events)
    found = told(state, VIEWER, [20, 21, 22, 23], NOW_MS)
    assert found["in_reply_to.known"] == [1, 0, 0, 0]
    assert found["source.known"] == [0, 1, 0, 0]
    # What was deleted is known of no more.
    assert found["quoted.known"] == [0, 0, 0, 0]
    one = round(float(np.log(2)), 4)
    assert found["in_reply_to.favourites"] == pytest.approx([one, 0, 0, 0], abs=1e-4)
    assert found["source.favourites"] == pytest.approx([0, one, 0, 0], abs=1e-4)
    assert found["source.reposts"] == pytest.approx([0, one, 0, 0], abs=1e-4)
    assert found["in_reply_to.has_image"] == [1, 0, 0, 0]
    assert found["in_reply_to.age_hours"] == pytest.approx([2, 0, 0, 0], abs=1e-3)
    assert "in_reply_to.is_repost" not in found
    assert "is_repost" in POST_FEATURES
