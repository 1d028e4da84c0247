"""Examples of answers about an author's reach and labels, for OpenAPI."""

from typing import Any

_TODAY: Any = {
    "impressions": 412,
    "viewers": 371,
    "served": 655,
    "served_by": {"in_network": 540, "user_tweet_entity_graph": 115},
    "engagements": {"favourite": 23, "reply": 4, "repost": 3},
    "rates": {"favourite": 0.0558, "reply": 0.0097, "repost": 0.0073},
    "follows": 2,
    "unfollows": 1,
}

ANALYTICS: Any = {
    "user_id": "1033",
    "since_ms": 1700179200000,
    "followers": 318,
    "viewers_error": 0.065,
    "total": _TODAY,
    "by_day": [{"day_ms": 1700179200000, **_TODAY}],
    "top_posts": [
        {
            "post_id": "90017",
            "created_ms": 1700211600000,
            "impressions": 208,
            "engagements": {"favourite": 15, "reply": 4},
            "rates": {"favourite": 0.0721, "reply": 0.0192},
        }
    ],
    "now_ms": 1700258400000,
    "degraded": [],
}

LABELS: Any = {
    "user_id": "1033",
    "account": [],
    "posts": [
        {
            "post_id": "90017",
            "created_ms": 1700211600000,
            "labels": [
                {
                    "label": "nsfw_high_precision",
                    "value": 1.0,
                    "by_model": False,
                    "effects": [
                        {
                            "level": "for_you_in",
                            "action": "interstitial",
                            "rule": "cover_nsfw_high_precision",
                            "reason": "sensitive: nsfw_high_precision",
                        }
                    ],
                }
            ],
        }
    ],
    "now_ms": 1700258400000,
    "degraded": [],
}
