from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cluster.events import Kind
from cluster.importers.contract import UnreadableImport
from cluster.importers.formats import open_import
from cluster.importers.mapping import DEFAULT_EPOCH_MS

NOW_MS = 1_767_225_600_000

EXPECTED: dict[str, dict[str, int]] = {
    # 15,327 timed engagements are these favourites and the authors' 589 posts.
    "christianity": {"follow": 35_624, "post_create": 589, "favourite": 14_738},
    "android": {"follow": 48_573, "post_create": 679, "favourite": 28_343},
    "flickr": {"follow": 187_273, "post_create": 82_120, "favourite": 327_815},
    "kuairand": {
        "post_create": 11_888,
        "impression": 41_828,
        "click": 252_494 + 27_484,
        "video_watch": 19_320,
        "follow": 304,
        "reply": 1_258,
        "repost": 326,
        "profile_click": 2_214,
        "favourite": 33_745,
        "not_interested": 41_828 - 33_745,
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_data_set_is_whole_and_in_order(data_dir: Path, name: str) -> None:
    import_ = open_import("dataset", data_dir / name, {"name": name}, now_ms=NOW_MS)
    counts: Counter[str] = Counter()
    created: set[int] = set()
    event_ids: set[int] = set()
    last_ms = 0
    for item in import_:
        batch = item.batch
        kinds = batch.column("kind").to_numpy()
        times_ms = batch.column("time_ms").to_numpy()
        counts.update(Kind(kind).label for kind in kinds.tolist())
        assert times_ms[0] >= last_ms
        assert (np.diff(times_ms) >= 0).all()
        last_ms = int(times_ms[-1])
        post_ids = batch.column("post_id").to_numpy()
        created.update(post_ids[kinds == Kind.POST_CREATE].tolist())
        assert set(post_ids[post_ids != 0].tolist()) <= created
        event_ids.update(batch.column("event_id").to_pylist())
    assert counts == EXPECTED[name]
    assert import_.report.bad == 0
    # KuaiRand has 124 of its impressions twice, which give 328 events; the log keeps one each.
    repeated = 328 if name == "kuairand" else 0
    assert len(event_ids) + repeated == import_.report.events == counts.total()


def test_the_epoch_moves_what_has_no_date_of_its_own(data_dir: Path) -> None:
    options = {"name": "christianity", "epoch": "2012-01-01"}
    first = next(iter(open_import("dataset", data_dir / "christianity", options, now_ms=NOW_MS)))
    moved_ms = first.batch.column("time_ms").to_numpy().min() - DEFAULT_EPOCH_MS
    assert moved_ms == 730 * 86_400_000


def test_an_unknown_or_absent_data_set_is_named(tmp_path: Path) -> None:
    for options, message in [
        ({"name": "myspace"}, "'myspace' is unknown; there are christianity"),
        ({"name": "flickr"}, "flickr needs .*flickr.net, which is not there"),
        ({"name": "flickr", "epoch": "then"}, "epoch = 'then'"),
        ({"name": "flickr", "colour": 1}, "'colour' is unknown"),
    ]:
        with pytest.raises(UnreadableImport, match=message):
            next(iter(open_import("dataset", tmp_path, options, now_ms=NOW_MS)))
