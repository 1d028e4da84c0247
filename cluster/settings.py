"""Typed settings: one YAML file, environment overrides, and presets."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER_MS = 200 * 365 * DAY_MS
"""A window that never closes; small enough to be subtracted from any timestamp."""


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the path and suggests a repair."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(_Group):
    """Where events are made durable."""

    kind: Literal["sqlite", "jetstream"] = "sqlite"
    lanes: int = Field(16, ge=1, le=1024)
    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """JetStream servers (ignored by SQLite)."""
    replicas: int = Field(1, ge=1, le=5)
    """JetStream replicas of the stream; three on a cluster."""
    append_timeout_s: float = Field(10.0, gt=0)


class ShardSettings(_Group):
    """The actors that hold the state."""

    count: int = Field(2, ge=1, le=1024)
    kinds: tuple[Literal["graph", "posts", "vectors"], ...] = ("graph", "posts", "vectors")
    threads: int = Field(4, ge=1, le=64)
    """Queries one shard answers at the same time."""
    poll_ms: int = Field(10, ge=1)
    """How often a shard looks for new events when it has caught up."""
    slice_rows: int = Field(2_000, ge=1)
    """Rows applied between two queries: about 5 ms."""
    stale_after_ms: int = Field(2_000, ge=100)
    """A shard this far behind the log counts as down."""
    snapshot_every_s: float = Field(600.0, gt=0)
    snapshots_kept: int = Field(2, ge=1)


PublicKind = Literal[
    "favourite", "repost", "reply", "quote", "bookmark", "share", "click", "video_watch"
]


class GraphSettings(_Group):
    """Sizes of the user–post interaction graph of one shard (GraphJet's parameters)."""

    segments: int = Field(8, ge=1)
    edges_per_segment: int = Field(2_000_000, ge=1)
    public_kinds: tuple[PublicKind, ...] = ("favourite", "repost", "reply", "quote")
    """Engagements others may see; only these are social proof."""


class Windows(_Group):
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


class VectorSettings(_Group):
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
    """Vectors compared one by one before another process builds an index of all."""


class ForYouSettings(_Group):
    """Limits of the For You timeline; the published values unless a comment says else."""

    max_follows: int = Field(1_000, ge=1)
    in_network_hits: int = 5_000
    """Posts of followed authors looked at, per shard (published: 1,000 of far more shards)."""
    in_network_results: int = 600
    max_seeds: int = 100
    edges_per_seed: int = 500
    out_of_network_results: int = 800
    min_proof: int = Field(1, ge=1)
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


class HttpSettings(_Group):
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


class SimClustersSettings(_Group):
    """Sizes and thresholds of SimClusters; the published values stand in preset `twitter`."""

    min_followers: int = Field(5, ge=1)
    """A producer with fewer is not clustered (published: 400)."""
    max_producers: int = Field(20_000_000, ge=1)
    """Those with most followers are clustered (published)."""
    producers_per_community: int = Field(15, ge=1)
    """Sets the number of communities (published: 20 M producers in 145,000, so 138)."""
    min_communities: int = Field(8, ge=1)
    """For worlds too small for the share above; a few producers each at least."""
    neighbours: int = Field(15, ge=1)
    """Similar producers kept of each (published: 400). Many more than a community has members
    make one community of a small world."""
    spread: bool = True
    """Square the similarities, which sets the closest apart (published: off)."""
    max_follows: int = Field(10_000, ge=1)
    """Who follows more says nothing about which producers are alike."""
    weight_coefficient: float = Field(10.0, gt=0)
    """What similarity inside a community is worth, against strangers in it (α)."""
    epochs: int = Field(4, ge=1)
    """Sweeps over all producers, from the communities of an earlier version (published)."""
    cold_epochs: int = Field(30, ge=1)
    """Sweeps where there is no earlier version."""
    half_life_days: float = Field(100.0, gt=0)
    """Of favourites (published: 14, 50 and 100; InterestedIn reads 100)."""
    max_neighbours: int = Field(2_000, ge=1)
    """Producers kept of a consumer."""
    min_proofs: int = Field(2, ge=1)
    """Producers of a community that one must follow or favour to be interested in it."""
    communities_per_user: int = Field(50, ge=1)
    min_audience: int = Field(5, ge=1)
    """Favourers (or followers) without which a producer gets no embedding (published: 101)."""
    communities_per_producer: int = Field(60, ge=1)
    producers_per_embedding_community: int = Field(300, ge=1)
    """Best producers kept of each community, among all producer embeddings."""
    min_producer_score: float = Field(0.01, ge=0)
    min_topic_followers: int = Field(5, ge=1)
    """Topics followed by fewer get no embedding (published: 100)."""
    communities_per_topic: int = Field(50, ge=1)
    min_topic_score: float = Field(0.001, ge=0)
    threads: int = Field(2, ge=1, le=256)
    """Of the parts whose outcome does not depend on it."""
    sampler_threads: int = Field(1, ge=1, le=256)
    """Of the search for communities (published: 16): with more than one, runs differ a little."""


class TrustAndSafetySettings(_Group):
    """How the text models of trust and safety are trained (pToxicity, pAbuse, pNSFWText)."""

    labelled_text: Path | None = None
    """Folder (or one CSV or NDJSON file) of texts with labels, beside what the archive holds."""
    media_embeddings: Path | None = None
    """`.npz` or `.arrow` of image embeddings with a label 0 or 1; none: no media head."""
    buckets: int = Field(2**18, ge=2**8, le=2**24)
    """Into which n-grams are hashed; a power of two."""
    candidates: tuple[Literal["linear", "embeddings"], ...] = Field(
        ("linear", "embeddings"), min_length=1
    )
    """Models compared by cross-validation; the better one is kept."""
    folds: int = Field(5, ge=2, le=20)
    """Of the cross-validation (published: 5)."""
    precisions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field((0.85, 0.95), min_length=1)
    """At which thresholds are set: for care, and for acting (published roles: low, abusive)."""
    prevalence: float | None = Field(0.05, gt=0, lt=1)
    """Share of what is judged that earns a label. Labelled sets hold far more of it, for which
    probabilities and precisions are corrected; null: as in the labelled texts."""
    min_examples: int = Field(50, ge=2)
    """Positive and negative examples that a label needs, and a language for thresholds."""
    unlabelled_per_labelled: int = Field(4, ge=0)
    """Posts that nobody labelled, taken as negative for the labels people gave to others."""


class TwhinSettings(_Group):
    """TwHIN's network, model and workers; sizes of a cluster stand in preset `twitter`."""

    dimensions: int = Field(64, ge=8, le=1024, multiple_of=8)
    """Of every table. Two column-wise shards of a multiple of four each."""
    min_degree: int = Field(3, ge=1)
    """Nodes with fewer edges get no vector (proposed: 5)."""
    holdout_share: float = Field(0.1, gt=0, lt=1)
    """Latest share of the edge events, held out for evaluation; never more than a day."""
    shard_edges: int = Field(1_000_000, ge=1)
    """Edges in a file (proposed)."""
    epochs: int = Field(10, ge=1)
    batch: int = Field(2_048, ge=1)
    """Positive edges of one worker's step (published: 500)."""
    in_batch_negatives: int = Field(10, ge=1)
    """Of each side, shared by a relation's edges in the batch (published)."""
    global_negatives: int = Field(100, ge=0)
    """Of each table, drawn uniformly for every batch (published: 0; proposed: 100–1,000)."""
    log_q: bool = True
    """Correct in-batch negatives for being drawn by frequency."""
    optimiser: Literal["adagrad", "sgd"] = "adagrad"
    """Adagrad is row-wise, as fbgemm fuses it into the backward pass."""
    learning_rate: float = Field(0.03, gt=0)
    """Proposed for Adagrad: 0.05–0.1, at which small networks are learnt by heart."""
    workers: int = Field(1, ge=1, le=1_024)
    """One trains in the job's own process; more are workers of Ray Train, whose start takes
    longer than all of a small network's training (32–48 s against 3 s on two busy cores)."""
    sharding: Literal["table_wise", "row_wise", "column_wise"] = "table_wise"
    """How the tables are divided among workers."""
    checkpoint_steps: int = Field(2_000, ge=1)
    checkpoints_kept: int = Field(2, ge=1)
    max_failures: int = Field(3, ge=0)
    """Times that lost workers are replaced and training resumes from its last checkpoint."""


class RealGraphSettings(_Group):
    """Real Graph: who interacts with whom. A *day* of it lasts `day_length`."""

    day_length: float = Field(0.0, ge=0)
    """In days of 24 h; 1 as published, where each day is rolled up and labels the one before.
    0: a day where the data allow it, shorter for data of less than eight days, longer where
    the last two days have too few interactions to learn and to judge by."""
    window_days: int = Field(30, ge=1)
    """How far back an interaction makes a pair a candidate."""
    decay: float = Field(0.955, gt=0, lt=1)
    """What history counts for after a day (published: a half-life of 15.05 days)."""
    candidates_per_source: int = Field(2_000, ge=1)
    top_authors: int = Field(1_000, ge=1)
    """Kept of each viewer, of those followed and again of the others."""
    label: Literal["any", "explicit"] = "any"
    """What has to happen on the next day: any interaction, or one that others can see."""
    model: Literal["gbdt", "logistic"] = "gbdt"
    inputs: Literal["published", "all"] = "all"
    """The eight published inputs, or those of the rollup too."""
    rounds: int = Field(100, ge=1)
    """Of boosting, at most; it stops where sources left out gain no more (published: 20)."""
    learning_rate: float = Field(0.1, gt=0, le=1)
    """Published: 0.3, too coarse where few interact; so is a depth of 6."""
    depth: int = Field(4, ge=1, le=16)
    subsample: float = Field(1.0, gt=0, le=1)
    """Of the examples, for each round."""
    pair_share: float = Field(1.0, gt=0, le=1)
    """Of the candidate pairs, for training."""
    negatives_per_positive: float = Field(5.0, gt=0)
    """Sampled for training (published: 1)."""
    calibration: Literal["none", "platt", "isotonic"] = "platt"
    """After the sampling of negatives is undone."""


class TweepcredSettings(_Group):
    """User reputation: PageRank over follows; the published values stand in preset `twitter`."""

    jump: float = Field(0.1, gt=0, le=1)
    """Chance that the walk leaves for a user drawn by prior mass (published)."""
    max_iterations: int = Field(200, ge=1)
    """Published: 20."""
    tolerance: float = Field(1e-9, gt=0)
    """The walk has settled when ranks move less than this in sum (published: 0.001)."""
    threads: int = Field(2, ge=1, le=256)
    warm_start: bool = True
    """Begin at the ranks of the artifact before, as published."""
    weighted: bool = False
    """Follow edges by Real Graph's scores instead of all alike."""
    real_graph_version: str = ""
    """Where those are from; empty for the newest whose data ends in time."""
    weight_floor: float = Field(0.01, gt=0)
    """Weight of a follow that Real Graph scores lower or not at all (published: 1, above every
    score, so that all follows weigh the same)."""
    post_adjust: bool = True
    """Take reputation from users who follow far more than follow them."""
    scale: Literal["fitted", "published"] = "fitted"
    """The line from log ranks to 0–100: through this graph's own extremes, or Twitter's."""


class TrainingSettings(_Group):
    """What the training jobs read and how much of it."""

    negatives_per_positive: int = Field(4, ge=1)
    """Sampled for data that has no impressions."""
    max_examples: int = Field(80_000, ge=100)
    """A random part is taken where there are more: about half a minute of replay on a core."""
    validation_share: float = Field(0.2, gt=0, lt=1)
    """The latest part of the examples, by time."""
    label_window_ms: int = Field(24 * HOUR_MS, ge=1)
    """An engagement counts for an impression that it follows within this time."""
    bins: int = Field(16, ge=2, le=256)
    """Bins of each feature of the light ranker, one of them for zero."""
    seed: int = Field(0, ge=0)
    tweepcred: TweepcredSettings = TweepcredSettings()
    real_graph: RealGraphSettings = RealGraphSettings()
    trust_and_safety: TrustAndSafetySettings = TrustAndSafetySettings()
    simclusters: SimClustersSettings = SimClustersSettings()
    twhin: TwhinSettings = TwhinSettings()


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
    windows: Windows = Windows()
    for_you: ForYouSettings = ForYouSettings()
    http: HttpSettings = HttpSettings()
    training: TrainingSettings = TrainingSettings()

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
        "log": {"kind": "jetstream", "replicas": 3},
        "shards": {"count": 16},
        "for_you": {"skip_newest_ms": 15_000},
        "training": {
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
        "for_you": {"max_follows": 3_000},
    },
}


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Settings from a YAML file, the environment and overrides; the last named wins.

    `path` defaults to `MURMURATION_CONFIG`, else `murmuration.yaml` where it exists. The
    preset named by any of them lies beneath all of them. Raises `SettingsError`.
    """
    if path is None:
        named = os.environ.get("MURMURATION_CONFIG")
        path = Path(named) if named else Path("murmuration.yaml")
        if not named and not path.exists():
            path = None
    given: dict[str, Any] = _read_yaml(path) if path else {}
    given = _merge(given, _from_environment())
    given = _merge(given, overrides)
    preset = given.get("preset", "laptop")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise SettingsError(f"preset: {preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    try:
        return Settings(**_merge(PRESETS[preset], given))
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from error


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
