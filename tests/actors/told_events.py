"""Events as the slow model of aggregates takes them, by its own reading of what they say."""

from collections.abc import Iterable, Sequence

from cluster.events import KIND_OF_LABEL, Kind
from tests.actors.features.slow_aggregates import Told
from tests.worlds import Event

LABELS = {
    Kind.FAVOURITE: "is_favorited is_positive_explicit",
    Kind.REPOST: "is_reposted is_reposted_without_quote is_positive_explicit",
    Kind.REPLY: "is_replied is_positive_explicit",
    Kind.QUOTE: "is_reposted is_quoted is_positive_explicit",
    Kind.BOOKMARK: "is_bookmarked is_positive_explicit",
    Kind.SHARE: "is_shared is_positive_explicit",
    Kind.FOLLOW: "is_followed is_positive_explicit",
    Kind.CLICK: "is_clicked is_positive_implicit",
    Kind.DWELL: "is_dwelled is_positive_implicit",
    Kind.PROFILE_CLICK: "is_profile_clicked is_positive_implicit",
    Kind.VIDEO_WATCH: "is_video_viewed is_positive_implicit",
    Kind.LINK_OPEN: "is_link_opened is_positive_implicit",
    Kind.PHOTO_EXPAND: "is_photo_expanded is_positive_implicit",
    Kind.IMPRESSION: "is_impressed",
    Kind.SHOW_LESS: "is_dont_like is_negative",
    Kind.NOT_INTERESTED: "is_not_interested is_negative",
    Kind.REPORT: "is_reported is_negative",
    Kind.BLOCK: "is_blocked is_negative",
    Kind.MUTE: "is_muted is_negative",
}
_LINKS = ((Kind.REPLY, "reply_to"), (Kind.QUOTE, "quote_of"), (Kind.REPOST, "repost_of"))


def acts(events: Iterable[Event]) -> list[tuple[Event, Kind, int, int, int]]:
    """(event, kind, actor, author, post) of everything done to others."""
    found = []
    for event in events:
        kind = KIND_OF_LABEL[event["kind"]]
        if kind is Kind.POST_CREATE:
            found += [
                (event, link, event["author_id"], event[f"{name}_author_id"], event[f"{name}_id"])
                for link, name in _LINKS
                if f"{name}_id" in event
            ]
        elif kind in LABELS:
            author = event.get("target_id") or event["author_id"]
            found.append((event, kind, event["actor_id"], author, event.get("post_id", 0)))
    return [act for act in found if act[2] != act[3]]


def told_by(events: Sequence[Event]) -> tuple[list[Told], list[Told]]:
    """What the viewers' shards and what the authors' shards count of events in time order.

    For worlds whose posts are not edited; without stays, lists and new accounts.
    """
    viewers, authors = [], []
    for event, kind, actor, author, post in acts(events):
        labels = frozenset(LABELS[kind].split())
        keys = {"viewer_id": [actor], "author_id": [author], "post_id": [post]}
        viewers.append(Told(event["time_ms"], labels, keys))
        made = next(
            (e for e in events if e["kind"] == "post_create" and e["post_id"] == post), None
        )
        features: dict[str, float] = {}
        if made is not None and made["time_ms"] < event["time_ms"]:
            for name, column in (
                *(("is_reply", "reply_to_id"), ("is_quote", "quote_of_id")),
                ("is_repost", "repost_of_id"),
            ):
                features[name] = float(column in made)
            features["is_original"] = float(not any(features.values()))
            features["has_photo"] = float(made.get("image_count", 0) > 0)
            keys = keys | {"topics": made.get("topics", [])[:1]}
        authors.append(Told(event["time_ms"], labels, keys, features))
    return viewers, authors
