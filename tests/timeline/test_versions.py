"""No request mixes two versions of a model, whenever the shards change from one to the other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from actors.features.light import FEATURES
from actors.models import LIGHT_RANKER, LIGHT_RANKER_SCHEMA, SIDES, Models
from actors.router import LocalRouter
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings
from tests.worlds import NOW_MS, SECRET, USERS, Clock, Event, apply
from timeline.pages import Page
from timeline.timelines import Timelines

N_SHARDS = 4
FLIPS = 15
READERS = 4


def ranker(store: ArtifactStore, seed: int) -> str:
    """A light ranker whose weights are unlike those of every other seed."""
    rng = np.random.default_rng(seed)
    shape, bins = (len(SIDES), len(FEATURES)), 8
    with store.writing(LIGHT_RANKER, schema_version=LIGHT_RANKER_SCHEMA) as draft:
        edges = np.sort(rng.random((*shape, bins - 1), np.float32) * 4, axis=2)
        weights = rng.normal(size=(*shape, bins)).astype(np.float32)
        tensors = {"edges": edges, "weights": weights, "biases": np.zeros(2, np.float32)}
        draft.write_tensors("model.safetensors", tensors)
        draft.write_json("features.json", list(FEATURES))
    return str(draft.version)


def world() -> list[Event]:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, USERS[0], other) for other in USERS[1:]]
    for number in range(60):
        author = USERS[1 + number % (len(USERS) - 1)]
        events.append(clock.post(5_000 + number, author, text="word " * (number % 9)))
        fans = USERS[1 : 1 + number % 5]
        events += [clock.on_post(Kind.FAVOURITE, fan, 5_000 + number, author) for fan in fans]
    return events


def scores(page: Page) -> list[tuple[int, float]]:
    assert page.degraded == []
    return [(item.post_id, item.score) for item in page.items]


def test_pages_made_while_shards_change_are_of_one_version(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    versions = [ranker(store, seed) for seed in (1, 2)]
    # As in a running system, every shard and the timeline hold models of their own.
    states = [ShardState(Settings(), Models(store), n, N_SHARDS) for n in range(N_SHARDS)]
    apply(states, world(), imported=True)
    timelines = Timelines(Settings(), LocalRouter(states), Models(store), SECRET)

    def ask() -> Page:
        return timelines.for_you(USERS[0], 20, now_ms=NOW_MS)

    expected = {}
    for turn, version in enumerate(versions, 1):
        for state in states:
            state.activate(LIGHT_RANKER, version, turn)
        expected[version] = scores(ask())
    assert expected[versions[0]] != expected[versions[1]]

    over = threading.Event()

    def read() -> set[str]:
        seen = set()
        while not over.is_set():
            page = ask()
            assert scores(page) == expected[page.model_version]
            seen.add(page.model_version)
        return seen

    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read) for _ in range(READERS)]
        try:
            rng = np.random.default_rng(0)
            for turn in range(FLIPS):
                for shard in rng.permutation(N_SHARDS).tolist():
                    states[shard].activate(LIGHT_RANKER, versions[turn % 2], 10 + turn)
                    ask()
        finally:
            over.set()
        seen = set().union(*(reader.result(60) for reader in readers))
    assert seen == set(versions)
