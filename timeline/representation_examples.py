"""Examples of answers about representations, for OpenAPI."""

from typing import Any

_VERSIONS: dict[str, Any] = {"simclusters": "20260101T000000-0001", "twhin": "20260101T010000-0001"}
_COMMUNITY: dict[str, Any] = {
    "community": 17,
    "size": 138,
    "interested": 5120,
    "topics": [{"topic_id": "31", "cosine": 0.61}],
    "languages": [{"language": "en", "share": 0.83}],
}
_TOLD: dict[str, Any] = {"now_ms": 1700258400000, "degraded": [], "reason": None}
_NEAR: dict[str, Any] = {
    "kind": "near_in_twhin",
    "text": "near in the space of users (cosine 0.74)",
    "value": 0.74,
    "communities": [],
    "user_ids": [],
}
USERS_EXAMPLE: Any = {
    "user_id": "1033",
    "items": [
        {
            "user_id": "1207",
            "score": 0.81,
            "cosines": {
                "producers": 0.88,
                "interested_in": 0.52,
                "author_follow": 0.74,
                "user_follow": None,
            },
            "reasons": [
                {
                    "kind": "same_audience",
                    "text": "followed from the same communities: 17",
                    "value": 0.88,
                    "communities": [_COMMUNITY],
                    "user_ids": [],
                },
                _NEAR,
                {
                    "kind": "shared_followers",
                    "text": "followed by 1041, 1055 and 12 more, who follow both",
                    "value": 14.0,
                    "communities": [],
                    "user_ids": ["1041", "1055"],
                },
            ],
        }
    ],
    "versions": _VERSIONS,
    **_TOLD,
}
POSTS_EXAMPLE: Any = {
    "post_id": "1782850124272111879",
    "author_id": "1207",
    "items": [
        {
            "post_id": "1782850124272111901",
            "author_id": "1290",
            "uri": None,
            "created_ms": 1700258373520,
            "score": 0.7,
            "cosines": {"simclusters": 0.66, "twhin": 0.74},
            "reasons": [
                {
                    "kind": "shared_communities",
                    "text": "liked in the same communities: 17",
                    "value": 0.66,
                    "communities": [_COMMUNITY],
                    "user_ids": [],
                },
                _NEAR,
            ],
        }
    ],
    "versions": _VERSIONS,
    **_TOLD,
}
SCORE_EXAMPLE: Any = {
    "left": {"user_id": "1033", "post_id": None, "author_id": None},
    "right": {"user_id": None, "post_id": "1782850124272111879", "author_id": "1207"},
    "scores": [
        {
            "model": "simclusters",
            "left": "interested_in",
            "right": "post",
            "scores": {
                "dot": 0.31,
                "cosine": 0.66,
                "log_cosine": 1.21,
                "exp_scaled": 0.5,
                "jaccard": 0.25,
                "fuzzy_jaccard": 0.19,
                "max_product": 0.27,
            },
        },
        {"model": "twhin", "left": "user_engagement", "right": "post", "scores": None},
    ],
    "reputation": {"left": 41.5, "right": 63.0},
    "real_graph": None,
    "reasons": [
        {
            "kind": "shared_communities",
            "text": "the post is liked in communities the user is interested in: 17",
            "value": 0.66,
            "communities": [_COMMUNITY],
            "user_ids": [],
        },
        {
            "kind": "followed_engagers",
            "text": "liked or reposted by 1041, 1055 and 2 more, whom the user follows",
            "value": 4.0,
            "communities": [],
            "user_ids": ["1041", "1055"],
        },
    ],
    "versions": _VERSIONS,
    **_TOLD,
}
COMMUNITIES_EXAMPLE: Any = {
    "user_id": "1033",
    "interested_in": [
        {
            **_COMMUNITY,
            "scores": {"score": 0.42, "fav_score": 0.31, "follow_score": 0.12},
            "proof": {
                "followed_producers": 9,
                "favoured_producers": 4,
                "user_ids": ["1207", "1290"],
                "text": "9 producers known for it are followed, 4 favoured",
            },
        }
    ],
    "known_for": [{**_COMMUNITY, "scores": {"score": 0.07}, "proof": None}],
    "versions": _VERSIONS,
    **_TOLD,
}
