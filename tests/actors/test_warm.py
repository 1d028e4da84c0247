"""After a warm-up no request and no event waits for the compiler."""

import subprocess
import sys

_SCRIPT = """
import pickle
import numpy as np
import pyarrow as pa
from numba.core import event
from pathlib import Path
from actors.models import Models
from actors.router import LocalRouter
from actors.state import Failed, ShardState
from actors.stores.cluster_search import FoundByCommunity
from actors.two_hop import LeftLists
from actors.warm import warm
from actors.warm_models import (
    question_of_lists, questions_of_models, serve_tiny_models, warm_tables
)
from actors.warm_ranker import warm_inputs
from cluster.artifacts import ArtifactStore
from cluster.routing import route
from cluster.settings import Settings
from simulation.run import simulate
from timeline.timelines import Timelines

warm()
compiled = []

class Listener(event.Listener):
    def on_start(self, happened):
        compiled.append(str(happened.data.get("dispatcher")))

    def on_end(self, happened):
        pass

def through_ray(value):
    '''Arrays come read-only out of Ray: a type of its own to Numba.'''
    buffers = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(b.raw()) for b in buffers])

class Remote(LocalRouter):
    def ask(self, wave, timeout_s):
        return through_ray(super().ask(through_ray(dict(wave)), timeout_s))

settings = Settings()
models = Models(ArtifactStore(Path(".")))
states = [ShardState(settings, models, shard, 2) for shard in range(2)]
world = []
with event.install_listener("numba:compile", Listener()):
    for offset, batch in enumerate(simulate(100, 1, 0), 1):
        now_ms = int(batch.column("time_ms").to_numpy().max())
        parts = [pa.table(part) for part in route(batch, settings.log.lanes).values()]
        rows = pa.concat_tables(parts, promote_options="default").combine_chunks().to_batches()[0]
        world.append(rows)
        for state in states:
            state.apply(rows, np.full(rows.num_rows, offset), True)
    timelines = Timelines(settings, Remote(states), models, bytes(32))
    pages = [timelines.for_you(user, 20, now_ms=now_ms) for user in range(1000, 1050)]
    timelines.following(1000, 20, now_ms=now_ms)
    # The same where trained models are active, whose arrays are mapped and so read-only.
    state = ShardState(settings, models)
    users = through_ray(np.arange(1000, 1100))
    posts = through_ray(np.unique(np.concatenate([rows.column("post_id") for rows in world]))[1:])
    serve_tiny_models(state, users.tolist(), posts.tolist(), now_ms)
    for offset, rows in enumerate(world, 1):
        state.apply(rows, np.full(rows.num_rows, offset), True)
    for user in (1000, 1001):
        asked = questions_of_models("tiny", user, users, posts[-50:], now_ms)
        found = through_ray(state.ask(through_ray(asked)))
        [left] = [answer for answer in found if isinstance(answer, LeftLists)]
        found += state.ask(through_ray([question_of_lists(left, users)]))
        assert not any(isinstance(answer, Failed) for answer in found), found
        seen = [answer for answer in found if isinstance(answer, FoundByCommunity)]
        assert any(len(answer.post_ids) for answer in seen)
    warm_tables(users)
    warm_inputs(state, 1000, through_ray(posts[-50:]), now_ms)
    state.expire(now_ms + 10 * 86_400_000)
assert any(page.items for page in pages)
assert not any(page.degraded for page in pages)
assert not compiled, compiled
"""


def test_nothing_is_compiled_after_a_warm_up(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
