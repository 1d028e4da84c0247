"""Settings of the heavy ranker: its inputs, its sizes, how it is trained and served."""

from typing import Literal

from pydantic import Field

from cluster.setting_group import Group


class HeadWeights(Group):
    """What each predicted probability is worth in a post's score (published, April 2023).

    Bounds are the published ones of each weight's switch.
    """

    is_favorited: float = Field(0.5, ge=0, le=100)
    is_good_clicked: float = Field(11.0, ge=0, le=1e6)
    is_good_clicked_v2: float = Field(10.0, ge=0, le=1e6)
    is_negative_feedback: float = Field(-74.0, ge=-1_000, le=0)
    is_profile_clicked: float = Field(12.0, ge=0, le=1e6)
    is_replied: float = Field(13.5, ge=0, le=100)
    is_reply_engaged_by_author: float = Field(75.0, ge=0, le=200)
    is_reported: float = Field(-369.0, ge=-20_000, le=0)
    is_reposted: float = Field(1.0, ge=0, le=100)
    is_video_watched: float = Field(0.005, ge=0, le=100)


class HeavyRankerSettings(Group):
    """The heavy ranker; the published sizes stand in preset `twitter`."""

    max_scored: int = Field(1_500, ge=1)
    """Candidates of a request that it scores: the best by the light ranker (published: ≈ 1,500)."""
    weights: HeadWeights = HeadWeights()
    home: Literal["timeline", "deployment"] = "timeline"
    """Whether each replica of the timeline scores in its own process, or a deployment of its
    own does, scaled alone and on a GPU where there is one."""
    replicas: int = Field(1, ge=1)
    """Of the deployment."""
    gpus: float = Field(0.0, ge=0)
    """Of each of them."""
    threads: int = Field(2, ge=1, le=256)
    """That score on a CPU, for all requests together."""
    at_once: int = Field(4, ge=1)
    """Requests that a process scores at the same time; others wait, as long as their deadlines
    allow."""
    features: Literal["laptop", "twitter"] = "laptop"
    """Which inputs of the registry the model reads: a few hundred, or 2,117 continuous,
    59 binary and three vectors of 200 (published)."""
    row_norm: bool = True
    """A layer norm over the continuous and binary inputs of each example (published): it takes
    away how far from usual an example is as a whole."""
    form: Literal["parallel", "serial"] = "parallel"
    """How mask blocks are put together (published: parallel)."""
    blocks: int = Field(4, ge=1, le=16)
    mask_width: int = Field(128, ge=1)
    """Hidden units of the network that makes a block's mask (published: 1,024)."""
    block_width: int = Field(128, ge=1)
    """Outputs of a block (published: 1,024)."""
    backbone: tuple[int, ...] = (256,)
    """Layers above the blocks (published: 2,048)."""
    towers: tuple[int, ...] = (64, 32)
    """Hidden layers of each task's tower (published: 256, 128)."""
    tables: bool = True
    """Learn embeddings of discrete inputs and ids (published, but not used there)."""
    table_dimensions: int = Field(16, ge=4, multiple_of=4)
    precision: Literal["fp32", "bf16", "int8"] = "bf16"
    """Of the weights in serving; training is fp32. A CPU without instructions for it scores in
    fp32."""

    batch: int = Field(256, ge=2)
    """Examples of one worker's step (published: 128 in all)."""
    epochs: int = Field(2, ge=1)
    """In the closed loop, where there are some ten thousand examples a day, what was learnt in two
    ranks better than what was learnt in four."""
    anew_below: int = Field(200_000, ge=0)
    """While the accepted version has learnt from fewer examples, the next one learns from all that
    there are, from the beginning; later ones go on from its weights with the newest (published)."""
    learning_rate_scale: float = Field(15.0, gt=0)
    """By which the published learning rates of all tasks are multiplied (published: 1, for
    millions of steps; a small network that sees thousands has learnt nothing by then)."""
    table_learning_rate: float = Field(0.02, gt=0)
    """Of the tables, by row-wise Adagrad fused into the backward pass."""
    learning_rate_decay: Literal["none", "linear"] = "none"
    """Whether learning rates stay after they have risen (published) or fall to 0 at the end."""
    tower_rates: Literal["published", "backbone"] = "published"
    """Learning rates of towers: each task's own, made for the published tasks, or as below them."""
    task_weights: Literal["equal", "entropy"] = "equal"
    """What tasks count in the loss: the same (published), or more the rarer they are, by the
    entropy of their base rate, where few examples must teach rare tasks too."""
    table_start: float = Field(0.1, ge=0)
    """Rows of tables begin within ± this."""
    dropout: bool = True
    workers: int = Field(1, ge=1, le=1_024)
    """One trains in the job's own process; more are workers of Ray Train."""
    sharding: Literal["planned", "table_wise", "row_wise", "column_wise"] = "planned"
    """How tables are divided among workers; planned: by torchrec's planner."""
    checkpoint_steps: int = Field(1_000, ge=1)
    checkpoints_kept: int = Field(2, ge=1)
    max_failures: int = Field(3, ge=0)
    negatives_kept: float = Field(1.0, gt=0, le=1)
    """Share of examples without any engagement that are learnt from."""
    sampling_corrected: Literal["weights", "probabilities"] = "weights"
    """How: each negative kept weighs 1 / share, or probabilities are corrected afterwards."""
    attribution_ms: int = Field(3 * 3_600_000, ge=1)
    """From serving to impression, and to engagement (published: 3 h)."""
    max_examples: int = Field(2_000_000, ge=1)
    replayed_from: float = Field(0.05, ge=0, le=1)
    """Share of examples of which no inputs were logged from which on the archive is replayed for
    them, from its beginning; fewer are left out, and counted. 1: only where nothing was logged."""
    retried_from: float = Field(0.1, ge=0)
    """New examples, as a share of those with which a version was refused, before another try."""
    min_judged_positives: int = Field(20, ge=1)
    """A task with fewer positives, or negatives, among the latest examples is not judged."""
    auroc_tolerance: float = Field(0.01, ge=0)
    """By which the mean AUROC within pages of what a new version would rank by, the score of both
    rankers, may be below that of the light ranker alone, or it is refused."""
    rce_tolerance: float = Field(1.0, ge=0)
    """By which its mean RCE (per cent) may be below the earlier version's, and below that of the
    best version so far."""
    seed: int = 0
