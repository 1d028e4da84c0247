from pathlib import Path
from typing import Any

import pytest

from cluster.settings import FOREVER_MS, HOUR_MS, PRESETS, SettingsError, load


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "PRESET"):
        monkeypatch.delenv(f"MURMURATION_{name}", raising=False)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


def test_the_default_is_a_laptop() -> None:
    settings = load()
    assert (settings.preset, settings.shards.count, settings.log.kind) == ("laptop", 2, "sqlite")
    assert settings.archive_root == "murmuration-data/archive"
    assert load(archive_uri="s3://a/b").archive_root == "s3://a/b"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    assert load(preset=preset).preset == preset


def test_what_presets_change() -> None:
    twitter = load(preset="twitter")
    assert (twitter.graph.segments, twitter.graph.edges_per_segment) == (8, 2**27)
    assert twitter.log.kind == "jetstream"
    # As published: the heavy ranker ranks alone, and goes on from its weights.
    assert twitter.heuristics.factors.light_ranker_share == twitter.heavy_ranker.anew_below == 0
    research = load(preset="research")
    assert research.windows.in_network_ms == research.windows.dedup_ms == FOREVER_MS
    assert research.windows.served_ms == load().windows.served_ms
    of_accounts = research.sources.follow_recommendations.model_dump()
    windows = {name: ms for name, ms in of_accounts.items() if name.endswith("window_ms")}
    assert set(windows.values()) == {FOREVER_MS}
    assert research.sources.user_tweet_graph.max_age_ms == FOREVER_MS


def test_the_last_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(
        tmp_path, "preset: research\nshards: {count: 3, threads: 8}\nwindows: {seen_ms: 5}\n"
    )
    assert load(path).shards.count == 3
    assert load(path).for_you.max_follows == 3_000
    monkeypatch.setenv("MURMURATION_SHARDS__COUNT", "5")
    monkeypatch.setenv("MURMURATION_HTTP__PORT", "9000")
    settings = load(path)
    assert (settings.shards.count, settings.shards.threads) == (5, 8)
    assert (settings.http.port, settings.windows.seen_ms) == (9000, 5)
    assert settings.windows.affinity_ms == FOREVER_MS
    assert load(path, shards={"count": 7}).shards.count == 7


def test_the_preset_lies_beneath_whoever_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMURATION_PRESET", "twitter")
    assert load().shards.count == 16
    assert load(shards={"count": 4}).shards.count == 4


def test_a_file_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "murmuration.yaml").write_text("shards: {count: 6}")
    assert load().shards.count == 6
    monkeypatch.setenv("MURMURATION_CONFIG", str(written(tmp_path, "shards: {count: 9}")))
    assert load().shards.count == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shard: {count: 3}", "shard: no such setting; did you mean 'shards'?"),
        ("shards: {cuont: 3}", "shards.cuont: no such setting; did you mean 'count'?"),
        ("shards: {count: many}", "shards.count: "),
        ("shards: {count: 0}", "got 0"),
        ("preset: laptob", "preset: 'laptob' is unknown; choose one of laptop, twitter, research"),
        ("preset: [laptop]", "preset"),
        ("graph: {public_kinds: [like]}", "graph.public_kinds.0: "),
        ("for_you: {diversity_floor: 2}", "for_you.diversity_floor: "),
        ("- a list", "must be a mapping of settings"),
        ("a: b: c", "is not YAML"),
        ("zzz: 1", "zzz: no such setting"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        load(path)
    assert message in str(refused.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml")


def test_misspelled_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMURATION_SHARD__COUNT", "5")
    with pytest.raises(SettingsError, match="did you mean MURMURATION_SHARDS"):
        load()


@pytest.mark.parametrize("value", ["x", "-3"])
def test_bad_values_in_the_environment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MURMURATION_SHARDS__COUNT", value)
    with pytest.raises(SettingsError, match=r"shards\.count: "):
        load()


@pytest.mark.parametrize("given", [{"windows": {"seen": HOUR_MS}}, {"nope": 1}])
def test_bad_overrides(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="no such setting"):
        load(**given)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().shards.count = 5
