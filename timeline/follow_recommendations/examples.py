"""An example of an answer about whom to follow, for OpenAPI."""

from typing import Any

EXAMPLE: Any = {
    "user_id": "1033",
    "items": [
        {
            "user_id": "1207",
            "score": 1.83,
            "sources": ["online_stp", "two_hop_random_walk", "pop_country"],
            "reasons": [
                {
                    "kind": "followed_by",
                    "text": "followed by 1041 and 1055 and 4 more, whom you follow",
                    "value": 6.0,
                    "user_ids": ["1041", "1055", "1060"],
                },
                {
                    "kind": "popular_in_country",
                    "text": "popular in your country",
                    "value": 312.0,
                    "user_ids": [],
                },
            ],
        }
    ],
    "now_ms": 1700258400000,
    "degraded": [],
    "reason": None,
}
