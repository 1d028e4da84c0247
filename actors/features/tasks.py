"""What the heavy ranker predicts: ten engagements, matched by name everywhere.

What each is worth in a post's score is a setting (`cluster.ranker_settings.HeadWeights`).
"""

from typing import NamedTuple


class Task(NamedTuple):
    """One head of the model: an engagement, and how it is learnt.

    Names and rates are those of the published training configuration (2023).
    """

    name: str
    meaning: str
    learning_rate: float
    """Of the head's own parameters."""
    ramp_steps: int
    """Over which the learning rate rises from 0."""
    dropout: float = 0.0


BACKBONE_LEARNING_RATE, BACKBONE_RAMP_STEPS = 1e-4, 1_000
"""Of all parameters that no head owns (published)."""

TASKS = (
    Task("is_favorited", "favours the post", 8e-4, 5_000),
    Task("is_good_clicked", "opens the conversation and favours or replies", 1e-4, 2_000),
    Task("is_good_clicked_v2", "opens the conversation and stays 2 minutes", 2e-4, 1_000),
    Task("is_negative_feedback", "sees fewer, mutes or blocks", 5e-4, 5_000, 0.1),
    Task("is_profile_clicked", "opens the author's profile and engages", 3e-4, 1_000),
    Task("is_replied", "replies", 1e-3, 1_000),
    Task("is_reply_engaged_by_author", "replies; the author engages with that", 1e-4, 1_000),
    Task("is_reported", "reports the post", 1e-4, 3_000, 0.2),
    Task("is_reposted", "reposts or quotes", 1e-4, 1_000),
    Task("is_video_watched", "watches half of the video", 3e-3, 1_000),
)

TASK_NAMES = tuple(task.name for task in TASKS)
