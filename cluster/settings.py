"""Typed settings: one YAML file, environment overrides, and presets."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cluster.analytics_settings import AnalyticsSettings
from cluster.heuristics_settings import HeuristicsSettings
from cluster.mixer_settings import MixerSettings
from cluster.product_settings import ProductSettings
from cluster.ranker_settings import HeavyRankerSettings
from cluster.setting_group import Group
from cluster.source_settings import SourceSettings
from cluster.switch_settings import SwitchSettings
from cluster.switches import SwitchError, Switches
from cluster.training_settings import TrainingSettings
from cluster.user_state_settings import UserStateSettings
from cluster.visibility_settings import VisibilitySettings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER_MS = 200 * 365 * DAY_MS
"""A window that never closes; small enough to be subtracted from any timestamp."""


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the path and suggests a repair."""


class LogSettings(Group):
    """Where events are made durable."""

    kind: Literal["sqlite", "jetstream"] = "sqlite"
    lanes: int = Field(16, ge=1, le=1024)
    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """JetStream servers (ignored by SQLite)."""
    replicas: int = Field(1, ge=1, le=5)
    """JetStream replicas of the stream; three on a cluster."""
    append_timeout_s: float = Field(10.0, gt=0)


class ShardSettings(Group):
    """The actors that hold the state."""

    count: int = Field(2, ge=1, le=1024)
    kinds: tuple[Literal["graph", "posts", "vectors", "aggregates"], ...] = (
        *("graph", "posts", "vectors", "aggregates"),
    )
    threads: int = Field(4, ge=1, le=64)
    """Queries one shard answers at the same time."""
    poll_ms: int = Field(25, ge=1)
    """How often a shard looks for new events when it has caught up."""
    slice_rows: int = Field(2_000, ge=1)
    """Rows applied between two queries: 5 ms, in a shard of millions of engagements 12."""
    stale_after_ms: int = Field(2_000, ge=100)
    """A shard this far behind the log counts as down."""
    snapshot_every_s: float = Field(600.0, gt=0)
    snapshots_kept: int = Field(2, ge=1)


PublicKind = Literal[
    "favourite", "repost", "reply", "quote", "bookmark", "share", "click", "video_watch"
]


class GraphSettings(Group):
    """Sizes of the user–post interaction graph of one shard (GraphJet's parameters)."""

    segments: int = Field(8, ge=1)
    edges_per_segment: int = Field(2_000_000, ge=1)
    public_kinds: tuple[PublicKind, ...] = ("favourite", "repost", "reply", "quote")
    """Engagements others may see; only these are social proof."""


class Windows(Group):
    """How far back each part of the system looks, in milliseconds."""

    dedup_ms: int = 24 * HOUR_MS
    in_network_ms: int = 24 * HOUR_MS
    in_network_light_ms: int = 48 * HOUR_MS
    """For light users, whose follows post too little in a day."""
    out_of_network_ms: int = 24 * HOUR_MS
    seen_ms: int = 2 * DAY_MS
    served_ms: int = 600_000
    affinity_ms: int = 14 * DAY_MS
    popular_ms: int = 24 * HOUR_MS
    interactions_ms: int = 7 * DAY_MS
    """Interaction segments whose newest edge is older, and beyond affinity's reach, go."""
    negative_ms: int = 90 * DAY_MS
    signals_ms: int = 180 * DAY_MS
    """How long it is kept how long a viewer stayed: the longest window of a user signal."""
    following_ms: int = 14 * DAY_MS
    trace_ms: int = 24 * HOUR_MS


class VectorSettings(Group):
    """Embeddings and nearest vectors of a shard's posts (the original's streaming job)."""

    half_life_ms: int = Field(8 * HOUR_MS, ge=1)
    """In which what a favourite adds to its post decays (published: 8 hours)."""
    communities_per_post: int = Field(50, ge=1)
    """Published."""
    posts_per_community: int = Field(1_600, ge=1)
    """Best posts that a search finds of each community (published)."""
    max_age_ms: int = Field(72 * HOUR_MS, ge=1)
    """Older posts have no embedding and no vector, and are forgotten (published: 72 hours)."""
    recent_ms: int = Field(48 * HOUR_MS, ge=1)
    """Engagements kept to make the embeddings of a new version of the models from."""
    max_recent: int = Field(8_000_000, ge=10)
    """Not published, like the two below: beyond them the oldest are forgotten first."""
    max_posts: int = Field(4_000_000, ge=10)
    max_entries: int = Field(8_000_000, ge=10)
    """Pairs of a post and a community that one shard holds, each about 70 bytes."""
    rebuild_after: int = Field(20_000, ge=1)
    """Vectors compared one by one before another process takes them into the index."""


class AggregateSettings(Group):
    """Decayed counters of viewers, authors, posts and topics, inputs of the heavy ranker."""

    bytes: int = Field(256 * 2**20, ge=2**20)
    """Of one shard's real-time counters, in equal parts for their groups: where a group's are
    used up, its rows used least recently go."""
    max_age_ms: int = Field(5 * DAY_MS, ge=1)
    """A row without events for so long is gone (published: 5 days)."""
    batch_bytes: int = Field(2 * 2**30, ge=2**20)
    """The same for the counters of the job `aggregates`."""


class ForYouSettings(Group):
    """Limits of the For You timeline; the published values unless a comment says else."""

    max_follows: int = Field(1_000, ge=1)
    in_network_hits: int = 5_000
    """Posts of followed authors looked at, per shard (published: 1,000 of far more shards)."""
    in_network_results: int = 600
    max_seeds: int = 100
    edges_per_seed: int = 500
    out_of_network_results: int = 300
    """Of the user-tweet-entity graph, by authors whom the viewer does not follow."""
    max_proofs: int = 10
    popular_results: int = 200
    """Not published: supply for viewers with little network of their own."""
    max_in_network: int = 60
    max_out_of_network: int = 60
    diversity_decay: float = Field(0.5, gt=0, le=1)
    diversity_floor: float = Field(0.25, ge=0, le=1)
    max_seen: int = 5_000
    skip_newest_ms: int = Field(0, ge=0)
    """The original skips the newest 15 s, until they are fully indexed; ours are at once."""
    max_chain: int = Field(1_000, ge=1)
    """Posts one cursor chain may serve before it ends."""


class HttpSettings(Group):
    """The HTTP interface."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    max_body_bytes: int = 32 * 2**20
    max_events: int = 100_000
    """Events in one request."""
    deadline_ms: int = Field(1_500, ge=10)
    """For one timeline request as a whole."""
    max_ongoing: int = Field(64, ge=1)
    replicas: int = Field(1, ge=1)
    tokens_file: Path | None = None
    """`token scope,scope` a line; default `tokens` in the data directory."""
    cursor_ttl_s: int = 3_600


class Settings(BaseSettings):
    """Everything an operator or a researcher may change."""

    model_config = SettingsConfigDict(
        env_prefix="MURMURATION_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    preset: Literal["laptop", "twitter", "research"] = "laptop"
    data_dir: Path = Path("murmuration-data")
    archive_uri: str = ""
    """Where Parquet goes; default `archive` in the data directory."""
    namespace: str = Field("murmuration", pattern=r"^[a-z][a-z0-9-]{0,40}$")
    """Ray namespace: two systems on one Ray cluster need two names."""
    log: LogSettings = LogSettings()
    shards: ShardSettings = ShardSettings()
    graph: GraphSettings = GraphSettings()
    vectors: VectorSettings = VectorSettings()
    aggregates: AggregateSettings = AggregateSettings()
    windows: Windows = Windows()
    for_you: ForYouSettings = ForYouSettings()
    sources: SourceSettings = SourceSettings()
    http: HttpSettings = HttpSettings()
    training: TrainingSettings = TrainingSettings()
    heavy_ranker: HeavyRankerSettings = HeavyRankerSettings()
    heuristics: HeuristicsSettings = HeuristicsSettings()
    visibility: VisibilitySettings = VisibilitySettings()
    mixer: MixerSettings = MixerSettings()
    products: ProductSettings = ProductSettings()
    user_states: UserStateSettings = UserStateSettings()
    analytics: AnalyticsSettings = AnalyticsSettings()
    switches: SwitchSettings = SwitchSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over, which has merged file, environment and preset."""
        return (init_settings,)

    @property
    def archive_root(self) -> str:
        """URI or path of the Parquet archive."""
        return self.archive_uri or str(self.data_dir / "archive")


_NO_WINDOWS = dict.fromkeys(
    [name for name in Windows.model_fields if name not in ("served_ms", "trace_ms")], FOREVER_MS
)

PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {},
    "twitter": {
        # Recos services: 8 segments of 2^27 edges over a machine's graph.
        "graph": {"segments": 8, "edges_per_segment": 2**27},
        "vectors": {"max_recent": 20_000_000, "max_entries": 40_000_000},
        "aggregates": {"bytes": 4 * 2**30, "batch_bytes": 64 * 2**30},
        "analytics": {"max_rows": 20_000_000},
        "log": {"kind": "jetstream", "replicas": 3},
        "shards": {"count": 16},
        "for_you": {"skip_newest_ms": 15_000},
        "sources": {
            "cr_mixer": {"viewer_engines": ["interested_in"]},
            "follow_recommendations": {"salsa_neighbours": 2_000},
            "user_tweet_entity_graph": {"min_proofs": {"repost": 0, "reply": 0, "quote": 0}},
            "user_tweet_graph": {"min_query_degree": 10, "min_result_degree": 50},
            "user_video_graph": {
                "min_query_degree": 10,
                "min_result_degree": 50,
                "min_cooccurrence_posts": 5,
            },
        },
        "heuristics": {"factors": {"light_ranker_share": 0.0}},
        "heavy_ranker": {
            "features": "twitter",
            "mask_width": 1_024,
            "block_width": 1_024,
            "backbone": (2_048,),
            "towers": (256, 128),
            "batch": 2_048,
            "epochs": 1,
            "anew_below": 0,
            "learning_rate_scale": 1.0,
            "precision": "int8",
        },
        "training": {
            "light_ranker": {
                "own_models": "always",
                "in_network": {"negatives": 0.08},
                "out_of_network": {"positives": 0.5, "negatives": 0.04},
            },
            "tweepcred": {"max_iterations": 20, "tolerance": 1e-3, "scale": "published"},
            "twhin": {
                "dimensions": 200,
                "min_degree": 5,
                "workers": 16,
                "sharding": "row_wise",
            },
            "real_graph": {
                "day_length": 1.0,
                "inputs": "published",
                "rounds": 20,
                "learning_rate": 0.3,
                "depth": 6,
                "subsample": 0.01,
                "pair_share": 0.01,
                "negatives_per_positive": 1.0,
            },
            "simclusters": {
                "min_followers": 400,
                "producers_per_community": 138,
                "neighbours": 400,
                "spread": False,
                "sampler_threads": 16,
                "min_audience": 101,
                "min_topic_followers": 100,
            },
        },
    },
    "research": {
        # Historical data: nothing expires by the clock on the wall.
        "windows": _NO_WINDOWS,
        "vectors": {"max_age_ms": FOREVER_MS, "recent_ms": FOREVER_MS},
        "aggregates": {"max_age_ms": FOREVER_MS},
        "for_you": {"max_follows": 3_000},
        "sources": {
            "simclusters_ann": {"max_age_ms": FOREVER_MS},
            "twhin_ann": {"max_age_ms": FOREVER_MS},
            "user_tweet_graph": {"max_age_ms": FOREVER_MS},
            "user_video_graph": {"max_age_ms": FOREVER_MS},
            "follow_recommendations": dict.fromkeys(
                [
                    *("window_ms", "engagement_window_ms", "graph_window_ms"),
                    *("popular_window_ms", "topic_window_ms", "inactive_ms"),
                ],
                FOREVER_MS,
            ),
        },
    },
}


def load(path: Path | None = None, *, default_preset: str = "laptop", **overrides: Any) -> Settings:
    """Settings from a YAML file, the environment and overrides; the last named wins.

    `path` defaults to `MURMURATION_CONFIG`, else `murmuration.yaml` where it exists. The
    preset named by any of them, else `default_preset`, lies beneath all of them. Raises
    `SettingsError`.
    """
    if path is None:
        named = os.environ.get("MURMURATION_CONFIG")
        path = Path(named) if named else Path("murmuration.yaml")
        if not named and not path.exists():
            path = None
    given: dict[str, Any] = _read_yaml(path) if path else {}
    given = _merge(given, _from_environment())
    given = _merge(given, overrides)
    preset = given.setdefault("preset", default_preset)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise SettingsError(f"preset: {preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    try:
        settings = Settings(**_merge(PRESETS[preset], given))
        Switches(settings, settings.switches)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from error
    except SwitchError as error:
        raise SettingsError(f"switches: {error}") from error
    return settings


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: must be a mapping of settings")
    return content


def _from_environment() -> dict[str, Any]:
    known = {"MURMURATION_CONFIG", "MURMURATION_DATA", "MURMURATION_TOKEN", "MURMURATION_TOKENS"}
    for name in os.environ:
        if name.startswith("MURMURATION_") and name not in known:
            top = name.removeprefix("MURMURATION_").lower().split("__")[0]
            if top not in Settings.model_fields:
                hint = difflib.get_close_matches(top, list(Settings.model_fields), n=1)
                guess = f"; did you mean MURMURATION_{hint[0].upper()}?" if hint else ""
                raise SettingsError(f"{name}: no such setting in the environment{guess}")
    return EnvSettingsSource(Settings)()


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        both = isinstance(lower, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(lower, value) if both else value  # type: ignore[arg-type]
    return merged


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"]
        if problem["type"] == "extra_forbidden":
            message = "no such setting"
            hint = difflib.get_close_matches(str(problem["loc"][-1]), _fields(problem["loc"]), n=1)
            message += f"; did you mean {hint[0]!r}?" if hint else ""
        else:
            message += f"; got {problem['input']!r}"
        lines.append(f"{where}: {message}")
    return (f"{path}: " if path else "") + "; ".join(lines)


def _fields(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
