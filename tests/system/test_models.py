"""Models on a running system: trained, made to serve, moved by events, safe from damage."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from actors.features.safety import TRUST_AND_SAFETY
from actors.models import HEAVY_RANKER, Models
from actors.stores.sparse_embeddings import SIMCLUSTERS
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from tests.running import RunningSystem, wait_until
from training.refresh import JOB_NAMES

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("trained")]

FRESH_S = 1.0
"""Within which an acknowledged event shows in what is derived from it."""
AUTHOR = 900_001


@pytest.fixture(scope="module")
def trained(system: RunningSystem, simulated: None) -> list[dict[str, Any]]:
    """What became of every model."""
    return list(json.loads(system.warm_cli("train", "all", "--json")))


def get(system: RunningSystem, path: str, **parameters: Any) -> dict[str, Any]:
    with system.client("read") as client:
        answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def send(system: RunningSystem, *events: dict[str, Any]) -> float:
    """Send events; returns when they were acknowledged."""
    now_ms = time.time_ns() // 1_000_000
    with system.client("write") as client:
        answer = client.post("/v1/events", json=[{"time_ms": now_ms, **event} for event in events])
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == len(events), answer.text
    return time.monotonic()


def post(number: int, text: str = "something new") -> dict[str, Any]:
    return {"kind": "post_create", "post_id": number, "author_id": AUTHOR, "text": text}


def favourite(user_id: int, number: int) -> dict[str, Any]:
    ids = {"actor_id": user_id, "post_id": number, "author_id": AUTHOR}
    return {"kind": "favourite", **ids}


def interested_users(system: RunningSystem) -> list[int]:
    """Users whose favourites say something about a post."""
    found = []
    for user_id in range(1_000, 1_300):
        with system.client("read") as client:
            answer = client.get(f"/v1/users/{user_id}/communities")
        if answer.status_code == 200 and any(
            (one["scores"]["fav_score"] or 0) > 0.3 for one in answer.json()["interested_in"]
        ):
            found.append(user_id)
        if len(found) == 3:
            break
    return found


def embedding_scores(system: RunningSystem, user_id: int, number: int) -> Any:
    """What the model of communities says of a user and a post, or None."""
    ids = {"user_id": user_id, "other_post_id": number, "other_author_id": AUTHOR}
    told = get(system, "/v1/score", **ids)
    [scores] = [
        one["scores"]
        for one in told["scores"]
        if one["model"] == "simclusters" and one["left"] == "interested_in"
    ]
    return scores


def test_every_model_was_trained_and_serves(
    system: RunningSystem, trained: list[dict[str, Any]]
) -> None:
    models = {one["name"]: one for one in trained}
    assert set(models) == set(JOB_NAMES)
    assert all(one["version"] for one in trained), trained
    refused = {n for n, one in models.items() if one["metrics"].get("gate") == "refused"}
    assert refused <= {HEAVY_RANKER}
    assert {name for name, one in models.items() if not one["activated"]} == refused
    active = {name: one["version"] for name, one in models.items() if name not in refused}
    for shard in system.status()["shards"]:
        assert shard["active"] == active
        assert shard["counters"].get("refused_activations", 0) == 0
    assert models["real_graph"]["metrics"]["auc"] > 0.5
    again = json.loads(system.warm_cli("train", "all", "--json"))
    rankers = ("light_ranker", HEAVY_RANKER)
    assert not any(one["version"] for one in again if one["name"] not in rankers), again


def test_a_favourite_moves_a_post_within_a_second(system: RunningSystem) -> None:
    first, second, *_ = interested_users(system)
    send(system, post(800_001))
    wait_until(
        lambda: embedding_scores(system, first, 800_001) is None, 5, "the post is known, unliked"
    )
    acknowledged_s = send(system, favourite(first, 800_001))
    wait_until(lambda: embedding_scores(system, first, 800_001) is not None, 5, "it is embedded")
    assert time.monotonic() - acknowledged_s < FRESH_S
    before = embedding_scores(system, first, 800_001)
    acknowledged_s = send(system, favourite(second, 800_001))
    wait_until(lambda: embedding_scores(system, first, 800_001) != before, 5, "it moved")
    assert time.monotonic() - acknowledged_s < FRESH_S


def test_a_follow_moves_the_two_hop_counts_within_a_second(system: RunningSystem) -> None:
    subject = interested_users(system)[0]
    like = get(system, f"/v1/users/{subject}/similar", limit=1)["items"][0]["user_id"]

    def shared() -> float:
        items = get(system, f"/v1/users/{subject}/similar", limit=20)["items"]
        [reasons] = [item["reasons"] for item in items if item["user_id"] == like]
        return sum(one["value"] for one in reasons if one["kind"] == "shared_followers")

    before = shared()
    newcomer = {"kind": "follow", "actor_id": 900_777}
    acknowledged_s = send(
        system, {**newcomer, "target_id": subject}, {**newcomer, "target_id": int(like)}
    )
    wait_until(lambda: shared() == before + 1, 5, "one follows both")
    assert time.monotonic() - acknowledged_s < FRESH_S


def test_topics_explain_what_communities_found(system: RunningSystem) -> None:
    """Of somebody's posts for somebody: a topic that is named is one that the post is about."""
    events = Archive(system.data_dir / "archive").scan(
        (Kind.POST_CREATE,), columns=["post_id", "topics"]
    )
    topics_of = dict(
        zip(events.column("post_id").to_pylist(), events.column("topics").to_pylist(), strict=True)
    )
    named = 0
    for user in range(1_000, 1_040):
        for item in get(system, f"/v1/timelines/for-you/{user}", limit=40)["items"]:
            for reason in item["reasons"]:
                if reason["kind"] == "topic":
                    named += 1
                    about = topics_of[int(item["post_id"])]
                    assert {int(topic) for topic in reason["topic_ids"]} <= set(about)
                    assert f"on topic {reason['topic_ids'][0]}" in reason["text"]
    assert named


def twice_as_interested(system: RunningSystem) -> tuple[str, str]:
    """The serving version of the communities, and one that doubles every user's interests."""
    artifacts = ArtifactStore(system.data_dir / "artifacts")
    serving = system.status()["shards"][0]["active"][SIMCLUSTERS]
    artifact = artifacts.open(SIMCLUSTERS, serving)
    with artifacts.writing(
        SIMCLUSTERS,
        schema_version=artifact.manifest.schema_version,
        data_range_ms=artifact.manifest.data_range_ms,
    ) as draft:
        for name in artifact.manifest.files:
            if name.endswith(".json"):
                draft.write_json(name, artifact.json(name))
            elif name == "interested_in.arrow":
                draft.write_table(name, doubled(artifact.table(name)))
            else:
                draft.write_table(name, artifact.table(name))
    return serving, draft.written


def doubled(entries: pa.Table) -> pa.Table:
    for name in entries.column_names:
        # Whose favourites count at all goes by `fav_score`, and stays as it is.
        if name != "fav_score" and pa.types.is_floating(entries.schema.field(name).type):
            column = pc.multiply(entries.column(name), 2).cast(entries.schema.field(name).type)
            entries = entries.set_column(entries.column_names.index(name), name, column)
    return entries


def test_no_answer_mixes_two_versions_while_they_change(system: RunningSystem) -> None:
    """Doubled interests double the user's side of a score and the post's, whose embedding is
    made of its favouriters' interests: an answer of both versions would be twice the first."""
    old, new = twice_as_interested(system)
    users = interested_users(system)
    send(system, post(800_050))
    send(system, *(favourite(user_id, 800_050) for user_id in users))
    wait_until(lambda: embedding_scores(system, users[0], 800_050) is not None, 5, "embedded")
    first = [embedding_scores(system, user_id, 800_050)["dot"] for user_id in users]
    answers: list[tuple[int, float]] = []
    problems: list[str] = []
    stop = threading.Event()

    def load(at: int) -> None:
        while not stop.is_set():
            try:
                scores = embedding_scores(system, users[at], 800_050)
                answers.append((at, scores["dot"] / first[at]))
                page = get(system, f"/v1/timelines/for-you/{users[at]}", limit=10)
                assert not page["degraded"], page["degraded"]
            except (AssertionError, TypeError, ValueError) as problem:
                problems.append(repr(problem))

    threads = [threading.Thread(target=load, args=(at,)) for at in range(len(users))]
    for thread in threads:
        thread.start()
    try:
        for version in (new, old, new, old):
            system.warm_cli("activate", SIMCLUSTERS, version)
            enough = len(answers) + 4 * len(users)
            wait_until(lambda n=enough: bool(problems) or len(answers) >= n, 30, "answers of it")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems, problems[:3]
    of_either = [min((1.0, 4.0), key=lambda one: abs(one - ratio)) for _, ratio in answers]
    assert set(of_either) == {1.0, 4.0}
    for (_, ratio), expected in zip(answers, of_either, strict=True):
        # What a favourite adds halves in eight hours: next to nothing in this test.
        assert ratio == pytest.approx(expected, rel=0.05)


def test_a_new_post_gets_the_label_its_text_earns(system: RunningSystem) -> None:
    artifacts = ArtifactStore(system.data_dir / "artifacts")
    version = system.status()["shards"][0]["active"][TRUST_AND_SAFETY]
    model = Models(artifacts).safety(version)
    archive = Archive(str(system.data_dir / "archive"))
    texts = archive.scan([Kind.POST_CREATE], columns=["text"]).column("text").drop_null()
    texts = texts.unique().to_pylist()
    earned = (model.labels_of(model.scores(texts), None) > 0).any(axis=1)
    assert earned.any(), "a model that was taught by its world finds something in it"
    chosen = [text for text, one in zip(texts, earned, strict=True) if one][:20]
    before = system.status()["labeller"]["labels"]
    send(system, *(post(800_100 + k, text) for k, text in enumerate(chosen)))
    wait_until(
        lambda: system.status()["labeller"]["labels"] >= before + len(chosen),
        60,
        "every post was labelled",
    )


def test_a_damaged_model_is_refused_and_the_old_one_serves_on(system: RunningSystem) -> None:
    artifacts: Path = system.data_dir / "artifacts" / "simclusters"
    version = system.status()["shards"][0]["active"]["simclusters"]
    damaged = artifacts / f"{version[:-1]}{int(version[-1]) + 1}"
    damaged.mkdir()
    for path in (artifacts / version).iterdir():
        content = path.read_bytes()
        (damaged / path.name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused = system.warm("activate", "simclusters", damaged.name)
    assert refused.returncode == 1
    assert "error:" in refused.stderr
    assert damaged.name in refused.stderr
    assert "Traceback" not in refused.stderr
    now_ms = time.time_ns() // 1_000_000
    event = {"kind": "artifact_activate", "name": "simclusters", "model_version": damaged.name}
    with system.client("admin") as client:
        answer = client.post("/v1/events", json=[{**event, "time_ms": now_ms}])
    assert answer.json()["accepted"] == 1, answer.text
    wait_until(
        lambda: all(
            shard["counters"].get("refused_activations", 0) > 0
            for shard in system.status()["shards"]
        ),
        20,
        "every shard refused it",
    )
    assert all(s["active"]["simclusters"] == version for s in system.status()["shards"])
    told = get(system, f"/v1/users/{interested_users(system)[0]}/communities")
    assert told["interested_in"]
    assert told["versions"]["simclusters"] == version
