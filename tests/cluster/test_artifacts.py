import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hnswlib
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from cluster.artifact_files import ArtifactInvalid
from cluster.artifact_manifest import MANIFEST, ArtifactCorrupt, ArtifactSchemaMismatch
from cluster.artifacts import ArtifactNotFound, ArtifactRefused, ArtifactStore

JANUARY_2_MS = 1_767_323_045_000  # 2026-01-02T03:04:05Z
WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)


class Clock:
    def __init__(self, now_ms: int = JANUARY_2_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts", clock)


def write(store: ArtifactStore, name: str = "light_ranker", **options: object) -> str:
    with store.writing(name, schema_version=3, **options) as draft:  # type: ignore[arg-type]
        draft.write_tensors("weights.safetensors", {"w": WEIGHTS})
        draft.write_json("names.json", ["a", "b"])
    assert draft.version is not None
    return draft.version


def drafts(store: ArtifactStore) -> list[Path]:
    return list(store.root.glob("*/.writing-*"))


def test_what_was_written_is_read_back(store: ArtifactStore) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    table = pa.table({"user_id": [1, 2], "score": pa.array([0.5, None], pa.float16())})
    options = {"depends_on": {"simclusters": "20251231T000000-0001"}, "data_range_ms": (5, 9)}
    with store.writing("twhin", schema_version=1, **options) as draft:  # type: ignore[arg-type]
        draft.write_tensors("v.safetensors", {"t": vectors.T}, {"dim": "4"})
        draft.write_table("users.arrow", table)
        draft.write_json("names.json", {"a": 1})
        index = hnswlib.Index("ip", 4)
        index.init_index(20)
        index.add_items(vectors)
        index.save_index(str(draft.file("posts.hnsw")))
        draft.metrics["auc"] = 0.75
    assert draft.version == "20260102T030405-0001"
    artifact = store.open("twhin", draft.version, schema_version=1)
    np.testing.assert_array_equal(artifact.tensors("v.safetensors")["t"], vectors.T)
    assert artifact.table("users.arrow").equals(table)
    assert artifact.json("names.json") == {"a": 1}
    again = hnswlib.Index("ip", 4)
    again.load_index(str(artifact.file("posts.hnsw")))
    assert again.get_current_count() == 20
    manifest = artifact.manifest
    assert (manifest.name, manifest.version) == ("twhin", draft.version)
    assert manifest.depends_on == options["depends_on"]
    assert manifest.metrics == {"auc": 0.75}
    assert manifest.data_range_ms == (5, 9)
    assert manifest.created_ms == JANUARY_2_MS
    assert set(manifest.files) == {"v.safetensors", "users.arrow", "names.json", "posts.hnsw"}
    with pytest.raises(ArtifactNotFound, match=r"has no file 'other\.json'"):
        artifact.file("other.json")


def test_versions_grow_also_when_the_clock_goes_back(store: ArtifactStore, clock: Clock) -> None:
    first, second = write(store), write(store)
    clock.now_ms -= 60_000
    third = write(store)
    clock.now_ms += 120_000
    fourth = write(store)
    expected = [f"20260102T030405-000{n}" for n in (1, 2, 3)] + ["20260102T030505-0001"]
    assert [first, second, third, fourth] == expected
    assert store.versions("light_ranker") == expected
    assert store.latest("light_ranker") == fourth


def test_versions_are_ordered_by_number_beyond_four_digits(store: ArtifactStore) -> None:
    write(store)
    home = store.root / "light_ranker"
    (home / "20260102T030405-0001").rename(home / "20260102T030405-9999")
    assert write(store) == "20260102T030405-10000"
    assert write(store) == "20260102T030405-10001"
    assert store.latest("light_ranker") == "20260102T030405-10001"


def test_two_writers_at_once_get_two_versions(store: ArtifactStore) -> None:
    with store.writing("light_ranker", schema_version=3) as slow:
        slow.write_json("who.json", "slow")
        with store.writing("light_ranker", schema_version=3) as quick:
            quick.write_json("who.json", "quick")
    versions = store.versions("light_ranker")
    assert [quick.version, slow.version] == versions
    found = [store.open("light_ranker", v).json("who.json") for v in versions]
    assert found == ["quick", "slow"]


def test_a_version_taken_in_the_last_moment_is_not_replaced(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(store)
    original = ArtifactStore._next_version
    stale = iter([first])  # as if the other writer committed after this one had looked
    monkeypatch.setattr(
        ArtifactStore,
        "_next_version",
        lambda self, name, now_ms: next(stale, None) or original(self, name, now_ms),
    )
    assert write(store) == "20260102T030405-0002"
    assert store.open("light_ranker", first).manifest.version == first


def test_latest_as_of_a_past_instant(store: ArtifactStore) -> None:
    assert store.versions("light_ranker") == []
    assert store.latest("light_ranker") is None
    first = write(store, data_range_ms=(0, 100))
    second = write(store, data_range_ms=(0, 200))
    third = write(store)
    assert store.latest("light_ranker") == third
    assert store.latest("light_ranker", data_until_ms=99) is None
    assert store.latest("light_ranker", data_until_ms=100) == first
    assert store.latest("light_ranker", data_until_ms=10_000) == second


def test_a_damaged_newest_version_is_passed_over(
    store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    versions = [write(store, data_range_ms=(0, end)) for end in (10, 20, 30)]
    assert store.open_latest("light_ranker", schema_version=3).manifest.version == versions[2]
    (store.root / "light_ranker" / versions[2] / MANIFEST).write_bytes(b"{")
    assert store.latest("light_ranker") == store.latest("light_ranker", 40) == versions[1]
    folder = store.root / "light_ranker" / versions[1]
    damaged = next(path for path in folder.iterdir() if path.name != MANIFEST)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = store.open_latest("light_ranker", 40, schema_version=3)
    assert found.manifest.version == versions[0]
    assert all(version in caplog.text for version in versions[1:])
    assert store.open_latest("light_ranker", 5, schema_version=3) is None
    assert store.open_latest("light_ranker", schema_version=1) is None


def test_a_failed_block_leaves_nothing(store: ArtifactStore) -> None:
    def fail() -> None:
        with store.writing("light_ranker", schema_version=3) as draft:
            draft.write_json("a.json", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.versions("light_ranker") == []
    assert drafts(store) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(store: ArtifactStore, bad: float) -> None:
    weights = np.array([1, bad], np.float32)
    nested = pa.array([[1.0], [bad]], pa.list_(pa.float64(), 1))
    writers = (
        lambda draft: draft.write_tensors("w.safetensors", {"w": weights}),
        lambda draft: draft.write_table("w.arrow", pa.table({"w": nested})),
        lambda draft: draft.write_json("w.json", [bad]),
        lambda draft: draft.metrics.update(auc=bad) or draft.write_json("good.json", 1),
        # A trainer that writes the file itself is checked all the same.
        lambda draft: save_file({"w": weights}, draft.file("w.safetensors")),
        lambda draft: draft.file("w.json").write_text(json.dumps([bad])),
    )
    for writer in writers:
        with (
            pytest.raises(ArtifactInvalid, match=r"^(w|manifest)\."),
            store.writing("light_ranker", schema_version=3) as draft,
        ):
            writer(draft)
    assert store.versions("light_ranker") == []
    assert drafts(store) == []


def test_only_forms_that_run_no_code_are_kept(store: ArtifactStore) -> None:
    for name in ("model.pkl", "model.pt", "sub/model.json", "../x.json", MANIFEST, ".x.json"):
        with (
            pytest.raises(ArtifactRefused, match="file name"),
            store.writing("light_ranker", schema_version=3) as draft,
        ):
            draft.write_json(name, 1)
    contents = {
        "model.pkl holds": lambda folder: (folder / "model.pkl").write_bytes(b"x"),
        "a flat folder": lambda folder: (folder / "more").mkdir(),
        "plain files": lambda folder: (folder / "a.json").symlink_to("/etc/hostname"),
        "holds no file": lambda folder: None,
        "not readable as safetensors": lambda folder: (folder / "a.safetensors").write_bytes(b"x"),
        "not readable as an Arrow": lambda folder: (folder / "a.arrow").write_bytes(b"x"),
        "not readable as JSON": lambda folder: (folder / "a.json").write_bytes(b"{"),
    }
    for message, put in contents.items():
        pattern = message.replace("model.pkl holds", "model.pkl: an artifact holds only")
        with (
            pytest.raises(ArtifactInvalid, match=pattern),
            store.writing("light_ranker", schema_version=3) as draft,
        ):
            put(draft.folder)
    assert store.versions("light_ranker") == []


BAD_NAMES = (
    "",
    "..",
    "../light_ranker",
    "a/b",
    "/etc",
    "s3://bucket/model",
    "file:///m",
    "A",
    "a\n",
)
BAD_VERSIONS = (
    "",
    "..",
    "latest",
    "../other/20260102T030405-0001",
    "https://x/20260102T030405-0001",
)


def test_names_outside_the_registry_are_refused(store: ArtifactStore) -> None:
    version = write(store)
    for name in BAD_NAMES:
        with pytest.raises(ArtifactRefused, match="artifact name"):
            store.open(name, version)
        with pytest.raises(ArtifactRefused, match="artifact name"):
            store.versions(name)
        with pytest.raises(ArtifactRefused, match="artifact name"):
            write(store, name)
    for bad in BAD_VERSIONS:
        with pytest.raises(ArtifactRefused, match="expected one such as"):
            store.open("light_ranker", bad)
        with pytest.raises(ArtifactRefused, match="expected one such as"):
            write(store, depends_on={"simclusters": bad})
    with pytest.raises(ArtifactRefused, match="not a URI"):
        ArtifactStore("s3://bucket/artifacts")


def test_a_link_out_of_the_registry_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    version = write(store)
    home = store.root / "light_ranker"
    (home / version).rename(tmp_path / "elsewhere")
    (home / version).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactRefused, match="is a link"):
        store.open("light_ranker", version)
    home.rename(tmp_path / "home")
    home.symlink_to(tmp_path / "home")
    (tmp_path / "home" / version).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "home" / version)
    with pytest.raises(ArtifactRefused, match="is a link"):
        store.open("light_ranker", version)


def test_unknown_names_and_versions(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound, match="'light_ranker'; there is none"):
        store.open("light_ranker", "20260102T030405-0001")
    version = write(store)
    with pytest.raises(ArtifactNotFound, match=f"the newest of 1 is {version}"):
        store.open("light_ranker", "20260102T030405-0002")


def test_it_reads_its_own_schema_and_the_one_before(store: ArtifactStore) -> None:
    version = write(store)
    for reads in (3, 4, None):
        assert store.open("light_ranker", version, schema_version=reads).manifest.version == version
    for reads in (2, 5):
        with pytest.raises(ArtifactSchemaMismatch, match=f"version 3; .* reads {reads - 1} and"):
            store.open("light_ranker", version, schema_version=reads)


def test_every_flipped_or_missing_byte_is_noticed(store: ArtifactStore) -> None:
    version = write(store)
    for path in (store.root / "light_ranker" / version).iterdir():
        good = path.read_bytes()
        rng = np.random.default_rng(len(good))
        flips = [(int(at), 1 << int(bit)) for at, bit in rng.integers(0, [len(good), 8], (40, 2))]
        damaged = [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at, bit in flips]
        damaged += [good[:-2], good[: len(good) // 2], b"", good + b"1"]
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(ArtifactCorrupt, match=path.name):
                store.open("light_ranker", version)
        path.write_bytes(good)
        assert store.open("light_ranker", version).manifest.version == version


def test_the_damaged_file_is_named_with_both_checksums(store: ArtifactStore) -> None:
    version = write(store)
    path = store.root / "light_ranker" / version / "weights.safetensors"
    good = store.manifest("light_ranker", version).files["weights.safetensors"]["sha256"]
    path.write_bytes(b"x")
    bad = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"
    with pytest.raises(ArtifactCorrupt) as caught:
        store.open("light_ranker", version)
    for part in (f"light_ranker {version}", "weights.safetensors", bad, good):
        assert part in str(caught.value)


def test_files_more_or_fewer_than_listed(store: ArtifactStore) -> None:
    version = write(store)
    folder = store.root / "light_ranker" / version
    (folder / "extra.json").write_text("1")
    with pytest.raises(
        ArtifactCorrupt, match=r"\['extra.json'\], which its manifest does not list"
    ):
        store.open("light_ranker", version)
    (folder / "extra.json").unlink()
    content = (folder / "names.json").read_bytes()
    (folder / "names.json").unlink()
    with pytest.raises(ArtifactCorrupt, match=r"names\.json is missing"):
        store.open("light_ranker", version)
    (folder.parent / "names.json").write_bytes(content)
    (folder / "names.json").symlink_to("../names.json")
    with pytest.raises(ArtifactCorrupt, match="not a plain file"):
        store.open("light_ranker", version)


def test_an_artifact_in_anothers_place_is_noticed(store: ArtifactStore) -> None:
    version = write(store)
    other = store.root / "light_ranker" / "20270102T030405-0001"
    (store.root / "light_ranker" / version).rename(other)
    with pytest.raises(ArtifactCorrupt, match=f"its manifest is light_ranker {version}'s"):
        store.open("light_ranker", other.name)


def test_abandoned_drafts_are_ignored_and_removed(store: ArtifactStore, clock: Clock) -> None:
    write(store)
    home = store.root / "light_ranker"
    for name in (".writing-old", ".writing-young"):
        (home / name).mkdir()
        (home / name / "a.json").write_text("1")
    clock.now_ms = time.time_ns() // 1_000_000
    past_s = clock.now_ms / 1000 - 3_700
    for path in (home / ".writing-old" / "a.json", home / ".writing-old"):
        os.utime(path, (past_s, past_s))
    assert len(store.versions("light_ranker")) == 1
    with store.writing("light_ranker", schema_version=3) as alive:
        alive.write_json("a.json", 1)
        for path in (alive.folder / "a.json", alive.folder):
            os.utime(path, (past_s, past_s))
        write(store)
        assert set(home.glob(".writing-*")) == {alive.folder, home / ".writing-young"}
    assert alive.version in store.versions("light_ranker")


CHILD = """
import os, signal, sys
import numpy as np
from pathlib import Path
from cluster.artifacts import ArtifactStore

root, kill_at = Path(sys.argv[1]), 0
store = ArtifactStore(root, lambda: 1_767_323_045_000)
weights = np.arange(100_000, dtype=np.float32)

def write(value):
    with store.writing("light_ranker", schema_version=1) as draft:
        draft.write_json("a.json", value)
        draft.write_tensors("w.safetensors", {"w": weights + value})
        draft.write_json("b.json", value)

steps = 0
def step(*_):
    global steps
    steps += 1
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(call):
    def before_and_after(*args, **kwargs):
        step()
        answer = call(*args, **kwargs)
        step()
        return answer
    return before_and_after

write(0)
while True:
    kill_at += 1
    child = os.fork()
    if child == 0:
        os.fsync, os.rename = counted(os.fsync), counted(os.rename)
        sys.addaudithook(lambda event, _: step() if event in ("open", "os.mkdir") else None)
        write(kill_at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(kill_at, status, flush=True)
    if status != signal.SIGKILL:
        break
"""


def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    runs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(runs) > 20
    assert [status for _, status in runs] == [signal.SIGKILL] * (len(runs) - 1) + [0]

    store = ArtifactStore(tmp_path)
    written = []
    for version in store.versions("light_ranker"):
        artifact = store.open("light_ranker", version)
        value = artifact.json("a.json")
        assert artifact.json("b.json") == value
        np.testing.assert_array_equal(
            artifact.tensors("w.safetensors")["w"], np.arange(100_000, dtype=np.float32) + value
        )
        written.append(value)
    # Killed before the rename: only the old ones. After it: the new one, whole.
    assert written[0] == 0
    assert written[1:] == list(range(written[1], len(runs) + 1))
    assert 10 < written[1] < len(runs)
    assert len(list(tmp_path.glob("light_ranker/.writing-*"))) > 0
