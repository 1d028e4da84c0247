"""Settings of the training jobs, a group for each."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cluster.setting_group import Group


class SimClustersSettings(Group):
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
    min_topic_share: float = Field(0.25, gt=0, le=1)
    """Of a producer's favourites those of posts on a topic, to be known for it (in the original
    people choose)."""
    producers_per_topic: int = Field(1_000, ge=1)
    """Known producers that stand for a topic (published)."""
    threads: int = Field(2, ge=1, le=256)
    """Of the parts whose outcome does not depend on it."""
    sampler_threads: int = Field(1, ge=1, le=256)
    """Of the search for communities (published: 16): with more than one, runs differ a little."""


class TrustAndSafetySettings(Group):
    """How the text models of trust and safety are trained (pToxicity, pAbuse, pNSFWText)."""

    labelled_text: Path | None = None
    """Folder (or one CSV or NDJSON file) of texts with labels, beside what the archive holds."""
    media_embeddings: Path | None = None
    """`.npz` or `.arrow` of image embeddings with a label 0 or 1, beside what the archive holds
    (`media_embedding` of posts that people labelled `nsfw_media`)."""
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


class TwhinSettings(Group):
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


class RealGraphSettings(Group):
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


class TweepcredSettings(Group):
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


class KeepRates(Group):
    """Which share of the examples a model learns from; each then weighs as those left out."""

    positives: float = Field(1.0, gt=0, le=1)
    negatives: float = Field(1.0, gt=0, le=1)


class LightRankerSettings(Group):
    """The light ranker's two models; the published rates stand in preset `twitter`."""

    in_network: KeepRates = KeepRates()
    """Published: all positives, 8 % of the negatives."""
    out_of_network: KeepRates = KeepRates()
    """Published: half of the positives, 4 % of the negatives."""
    min_positives: int = Field(100, ge=1)
    """And as many negatives, to learn from: a side with fewer has no model of its own."""
    own_models: Literal["always", "better"] = "better"
    """Whether a side that has enough is served by its own model, as published, or only where
    that does better on the latest part of the training examples than a model of both sides:
    in societies of hundreds the one learns more from both."""


class TrainingSettings(Group):
    """What the training jobs read and how much of it."""

    negatives_per_positive: int = Field(4, ge=1)
    """Sampled for data that has no impressions."""
    max_examples: int = Field(80_000, ge=100)
    """A random part is taken where there are more: about half a minute of replay on a core."""
    validation_share: float = Field(0.2, gt=0, lt=1)
    """The latest part of the examples, by time."""
    label_window_ms: int = Field(24 * 3_600_000, ge=1)
    """An engagement counts for an impression that it follows within this time."""
    bins: int = Field(16, ge=2, le=256)
    """Bins of each feature of the light ranker, one of them for zero."""
    seed: int = Field(0, ge=0)
    light_ranker: LightRankerSettings = LightRankerSettings()
    tweepcred: TweepcredSettings = TweepcredSettings()
    real_graph: RealGraphSettings = RealGraphSettings()
    trust_and_safety: TrustAndSafetySettings = TrustAndSafetySettings()
    simclusters: SimClustersSettings = SimClustersSettings()
    twhin: TwhinSettings = TwhinSettings()
