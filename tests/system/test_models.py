"""Models on a running system: trained, made to serve, moved by events, safe from damage."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from actors.features.safety import TRUST_AND_SAFETY
from actors.models import HEAVY_RANKER, Models
from actors.stores.sparse_embeddings import SIMCLUSTERS
from actors.vector_models import TWHIN
from cluster.archive import Archive
from cluster.artifact_files import Tensors
from cluster.artifacts import ArtifactStore
from cluster.events import MEDIA_DIMENSIONS, Kind
from tests.running import RunningSystem, wait_until
from training.refresh import JOB_NAMES

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("trained")]

FRESH_S = 1.0
"""Within which an acknowledged event shows in what is derived from it."""
AUTHOR = 900_001


@pytest.fixture(scope="module")
def trained(system: RunningSystem, simulated: None) -> list[dict[str, Any]]:
    """What became of every model.

    In so small a world too few posts show anything adult: some more come with embeddings, and
    people's labels.
    """
    adult = [post(700_000 + k, embedding=embedding(k, adult=True)) for k in range(40)]
    plain = [post(700_100 + k, embedding=embedding(k, adult=False)) for k in range(80)]
    label = {"kind": "safety_label", "author_id": AUTHOR, "label": "nsfw_media"}
    send(system, *adult, *plain, *({**label, "post_id": one["post_id"]} for one in adult))
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


def post(
    number: int, text: str = "something new", embedding: list[float] | None = None
) -> dict[str, Any]:
    told = {"kind": "post_create", "post_id": number, "author_id": AUTHOR, "text": text}
    return {**told, "media_embedding": embedding}


def embedding(seed: int, *, adult: bool) -> list[float]:
    """Of a picture that nobody took: noise, around another point where it is adult."""
    noise = np.random.default_rng([seed, adult]).normal(size=MEDIA_DIMENSIONS)
    return list(map(float, noise + (1.0 if adult else -1.0)))


def publish(system: RunningSystem, *posts: dict[str, Any]) -> None:
    """Send posts, and wait until their author's shard knows them."""
    send(system, *posts)
    ids = {"user_id": 1_000, "other_post_id": posts[-1]["post_id"], "other_author_id": AUTHOR}
    with system.client("read") as client:

        def are_known() -> bool:
            return client.get("/v1/score", params=ids).status_code == 200

        wait_until(are_known, 10, "the posts are known")


def favourite(user_id: int, number: int) -> dict[str, Any]:
    ids = {"actor_id": user_id, "post_id": number, "author_id": AUTHOR}
    return {"kind": "favourite", **ids}


def interested_users(system: RunningSystem, n: int = 3) -> list[int]:
    """Users whose favourites say something about a post, by their communities."""
    found = []
    for user_id in range(1_000, 1_300):
        with system.client("read") as client:
            answer = client.get(f"/v1/users/{user_id}/communities")
        if answer.status_code == 200 and any(
            (one["scores"]["fav_score"] or 0) > 0.3 for one in answer.json()["interested_in"]
        ):
            found.append(user_id)
        if len(found) == n:
            break
    return found


def embedding_scores(system: RunningSystem, user_id: int, number: int) -> Any:
    """What the model of communities says of a user and a post, or None."""
    return scores_by_model(system, user_id, number)[SIMCLUSTERS]


def scores_by_model(system: RunningSystem, user_id: int, number: int) -> dict[str, Any]:
    """What communities and vectors say of a user and a post, or None, and under which versions."""
    ids = {"user_id": user_id, "other_post_id": number, "other_author_id": AUTHOR}
    told = get(system, "/v1/score", **ids)
    found = {one["model"]: one["scores"] for one in told["scores"]}
    assert set(found) == {SIMCLUSTERS, TWHIN}
    return {**found, "versions": told["versions"]}


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
    publish(system, post(800_001))
    assert embedding_scores(system, first, 800_001) is None, "nobody has liked it"
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


def changed(
    system: RunningSystem,
    model: str,
    tables: Mapping[str, Callable[[pa.Table], pa.Table]],
    tensors: Mapping[str, Callable[[Tensors], Tensors]] = MappingProxyType({}),
) -> tuple[str, str]:
    """The serving version of a model, and one that differs from it in a few files."""
    artifacts = ArtifactStore(system.data_dir / "artifacts")
    serving = system.status()["shards"][0]["active"][model]
    artifact = artifacts.open(model, serving)
    with artifacts.writing(
        model,
        schema_version=artifact.manifest.schema_version,
        data_range_ms=artifact.manifest.data_range_ms,
    ) as draft:
        for name in artifact.manifest.files:
            if name in tables:
                draft.write_table(name, tables[name](artifact.table(name)))
            elif name in tensors:
                draft.write_tensors(name, tensors[name](artifact.tensors(name)))
            elif name.endswith(".json"):
                draft.write_json(name, artifact.json(name))
            elif name.endswith(".arrow"):
                draft.write_table(name, artifact.table(name))
            else:
                draft.file(name).write_bytes(artifact.file(name).read_bytes())
    return serving, draft.written


def turned(vectors: pa.Table) -> pa.Table:
    """Every vector twice as long, in the opposite direction."""
    column = vectors.column("vector").combine_chunks()
    numbers = pa.array(column.flatten().to_numpy() * np.float32(-2))
    lists = pa.FixedSizeListArray.from_arrays(numbers, column.type.list_size)
    return vectors.set_column(vectors.column_names.index("vector"), "vector", lists)


def with_centres_turned(relations: Tensors) -> Tensors:
    """The same for what is taken off engagers' vectors, where a post's is made of them."""
    return relations | {"engager_centres": relations["engager_centres"] * np.float32(-2)}


def doubled(entries: pa.Table) -> pa.Table:
    for name in entries.column_names:
        # Whose favourites count at all goes by `fav_score`, and stays as it is.
        if name != "fav_score" and pa.types.is_floating(entries.schema.field(name).type):
            column = pc.multiply(entries.column(name), 2).cast(entries.schema.field(name).type)
            entries = entries.set_column(entries.column_names.index(name), name, column)
    return entries


def test_no_answer_mixes_two_versions_while_they_change(system: RunningSystem) -> None:
    """A score is made of the user's side and the post's, which is made of its favouriters'.

    Doubled interests double both: a product of four, and one of two where an answer mixes
    versions. Vectors twice as long the other way round make a product of two, for a post's
    vector is of length one: of −2 or −1 where an answer mixes.
    """
    versions = {
        SIMCLUSTERS: changed(system, SIMCLUSTERS, {"interested_in.arrow": doubled}),
        TWHIN: changed(
            *(system, TWHIN),
            {"user_engagement.arrow": turned},
            {"relations.safetensors": with_centres_turned},
        ),
    }
    products = {SIMCLUSTERS: 4.0, TWHIN: 2.0}
    # TwHIN knows only those who had engaged before its held-out edges.
    users = interested_users(system, 12)
    publish(system, post(800_050))
    send(system, *(favourite(user_id, 800_050) for user_id in users))

    def dots(user_id: int) -> dict[str, float]:
        found = scores_by_model(system, user_id, 800_050)
        return {model: found[model]["dot"] for model in versions if found[model]}

    def known() -> list[int]:
        return [user_id for user_id in users if len(dots(user_id)) == 2]

    wait_until(lambda: len(known()) >= 3, 10, "embedded by both models")
    users = known()[:3]
    first = {user_id: dots(user_id) for user_id in users}
    answers: list[dict[str, tuple[str, float]]] = []
    problems: list[str] = []
    stop = threading.Event()

    def load(user_id: int) -> None:
        while not stop.is_set():
            try:
                found = scores_by_model(system, user_id, 800_050)
                answers.append(
                    {
                        model: (
                            found["versions"][model],
                            found[model]["dot"] / first[user_id][model],
                        )
                        for model in versions
                    }
                )
                page = get(system, f"/v1/timelines/for-you/{user_id}", limit=10)
                assert not page["degraded"], page["degraded"]
            except (AssertionError, TypeError, ValueError) as problem:
                problems.append(repr(problem))

    threads = [threading.Thread(target=load, args=(user_id,)) for user_id in users]
    for thread in threads:
        thread.start()
    try:
        for number in (1, 0):
            for model, both in versions.items():
                system.warm_cli("activate", model, both[number])
                enough = len(answers) + 4 * len(users)
                wait_until(
                    lambda n=enough: bool(problems) or len(answers) >= n, 30, "answers of it"
                )
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems, problems[:3]
    for model, (old, new) in versions.items():
        expected = {old: 1.0, new: products[model]}
        assert {answer[model][0] for answer in answers} == {old, new}
        for version, product in (answer[model] for answer in answers):
            # What a favourite adds halves in eight hours: next to nothing in this test.
            assert product == pytest.approx(expected[version], rel=0.05), model
    pairs = {(answer[SIMCLUSTERS][0], answer[TWHIN][0]) for answer in answers}
    assert len(pairs) >= 3, "each model changed while the other did not"


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


def test_a_new_post_gets_the_label_its_media_earn(system: RunningSystem) -> None:
    def labels(number: int) -> set[str]:
        told = get(system, f"/v1/users/{AUTHOR}/posts/{number}/labels")
        return {one["label"] for about in told["posts"] for one in about["labels"]}

    publish(
        system,
        post(700_500, embedding=embedding(900, adult=True)),
        post(700_501, embedding=embedding(901, adult=False)),
        post(700_502, embedding=embedding(902, adult=True)),
    )
    # Posts are labelled in their order, so what comes last is labelled last.
    wait_until(lambda: "p_nsfw_media" in labels(700_502), 60, "the label is there")
    assert "p_nsfw_media" in labels(700_500)
    assert "p_nsfw_media" not in labels(700_501)


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
