"""Everything that can happen: the event kinds, their columns, and their Arrow form."""

from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa

SCHEMA_VERSION = 2
"""Of 2 are `mention`, `unmention` and `media_embedding`."""
MEDIA_DIMENSIONS = 256
"""Numbers of a `media_embedding`."""


class Kind(IntEnum):
    """What happened. The number is stored; the name is what JSON and people use."""

    USER_CREATE = 1
    USER_UPDATE = 2
    USER_DEACTIVATE = 3
    USER_REACTIVATE = 4
    USER_SUSPEND = 5
    USER_UNSUSPEND = 6
    USER_DELETE = 7

    POST_CREATE = 10
    POST_EDIT = 11
    POST_DELETE = 12

    FOLLOW = 20
    UNFOLLOW = 21
    BLOCK = 22
    UNBLOCK = 23
    MUTE = 24
    UNMUTE = 25
    SUBSCRIBE = 26
    UNSUBSCRIBE = 27
    MENTION = 28
    UNMENTION = 29

    FAVOURITE = 30
    UNFAVOURITE = 31
    REPOST = 32
    UNREPOST = 33
    REPLY = 34
    UNREPLY = 35
    QUOTE = 36
    UNQUOTE = 37
    BOOKMARK = 38
    UNBOOKMARK = 39
    SHARE = 40
    CLICK = 41
    DWELL = 42
    PROFILE_CLICK = 43
    VIDEO_WATCH = 44
    LINK_OPEN = 45
    PHOTO_EXPAND = 46
    NOTIFICATION_OPEN = 47

    SHOW_LESS = 60
    UNDO_SHOW_LESS = 61
    NOT_INTERESTED = 62
    UNDO_NOT_INTERESTED = 63
    REPORT = 64
    UNDO_REPORT = 65
    TOPIC_MUTE = 66
    TOPIC_UNMUTE = 67
    PREFERENCE = 68
    DISMISS = 69

    KEYWORD_MUTE = 70
    KEYWORD_UNMUTE = 71
    TOPIC_FOLLOW = 72
    TOPIC_UNFOLLOW = 73
    LIST_CREATE = 74
    LIST_DELETE = 75
    LIST_ADD = 76
    LIST_REMOVE = 77

    SAFETY_LABEL = 80
    SAFETY_UNLABEL = 81

    SERVED = 90
    IMPRESSION = 91
    MODULE_SERVED = 92

    ARTIFACT_ACTIVATE = 99

    @property
    def label(self) -> str:
        """The name in JSON: `favourite`."""
        return self.name.lower()


KIND_OF_LABEL: dict[str, Kind] = {kind.label: kind for kind in Kind}

ENGAGEMENTS = (
    Kind.FAVOURITE,
    Kind.REPOST,
    Kind.REPLY,
    Kind.QUOTE,
    Kind.BOOKMARK,
    Kind.SHARE,
    Kind.CLICK,
    Kind.DWELL,
    Kind.PROFILE_CLICK,
    Kind.VIDEO_WATCH,
    Kind.LINK_OPEN,
    Kind.PHOTO_EXPAND,
    Kind.NOTIFICATION_OPEN,
)
"""Positive engagements with a post, in the order in which their counters are kept."""

NEGATIVE_FEEDBACK = (Kind.SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT)

UNDONE_BY: dict[Kind, Kind] = {
    Kind.UNFAVOURITE: Kind.FAVOURITE,
    Kind.UNREPOST: Kind.REPOST,
    Kind.UNREPLY: Kind.REPLY,
    Kind.UNQUOTE: Kind.QUOTE,
    Kind.UNBOOKMARK: Kind.BOOKMARK,
    Kind.UNDO_SHOW_LESS: Kind.SHOW_LESS,
    Kind.UNDO_NOT_INTERESTED: Kind.NOT_INTERESTED,
    Kind.UNDO_REPORT: Kind.REPORT,
}
"""Undo kind → the kind it takes back."""

EDGES = (
    *(Kind.FOLLOW, Kind.UNFOLLOW, Kind.BLOCK, Kind.UNBLOCK, Kind.MUTE, Kind.UNMUTE),
    *(Kind.SUBSCRIBE, Kind.UNSUBSCRIBE),
)
"""What ties one user to another, and its undoing. Who subscribes reads a creator's posts that
are `exclusive`."""

MENTIONS = (Kind.MENTION, Kind.UNMENTION)
"""A post of the actor names a user (`target_id`), and no longer does, since it was edited or
deleted. One for each user named; whom a post replies to or quotes needs none."""

CORE = pa.schema(
    [
        pa.field("event_id", pa.int64(), nullable=False),
        pa.field("kind", pa.uint8(), nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("actor_id", pa.int64(), nullable=False),
        pa.field("post_id", pa.int64(), nullable=False),
        pa.field("author_id", pa.int64(), nullable=False),
        pa.field("target_id", pa.int64(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),
    ]
)
"""Columns every batch has; 0 means *not given* in the id columns and in `value`."""

OPTIONAL = pa.schema(
    [
        pa.field("reply_to_id", pa.int64()),
        pa.field("reply_to_author_id", pa.int64()),
        pa.field("root_id", pa.int64()),
        pa.field("root_author_id", pa.int64()),
        pa.field("quote_of_id", pa.int64()),
        pa.field("quote_of_author_id", pa.int64()),
        pa.field("repost_of_id", pa.int64()),
        pa.field("repost_of_author_id", pa.int64()),
        pa.field("edit_of_id", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("topics", pa.list_(pa.int64())),
        pa.field("image_count", pa.int16()),
        pa.field("video_duration_ms", pa.int64()),
        pa.field("link_count", pa.int16()),
        pa.field("media_embedding", pa.list_(pa.float32())),
        pa.field("sensitive", pa.bool_()),
        pa.field("exclusive", pa.bool_()),
        pa.field("uri", pa.string()),
        pa.field("name", pa.string()),
        pa.field("country", pa.string()),
        pa.field("age_years", pa.int16()),
        pa.field("verified", pa.bool_()),
        pa.field("protected", pa.bool_()),
        pa.field("creator", pa.bool_()),
        pa.field("allow_sensitive", pa.bool_()),
        pa.field("label", pa.string()),
        pa.field("keyword", pa.string()),
        pa.field("surface", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("position", pa.int16()),
        pa.field("source", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("settings_version", pa.string()),
        pa.field("experiment_arm", pa.string()),
    ]
)
"""Columns that a batch has only where some row uses them."""

COLUMNS: dict[str, pa.DataType] = {f.name: f.type for f in [*CORE, *OPTIONAL]}
OPTIONAL_NAMES = frozenset(OPTIONAL.names)


@dataclass(frozen=True)
class Rule:
    """What an event of one kind must and may carry besides `time_ms` and `event_id`."""

    needs: tuple[str, ...]
    may: frozenset[str] = frozenset()
    user_target: bool = False
    """`target_id` is a user, whose partition is concerned too."""


_USER_MAY = frozenset(
    {
        *("name", "uri", "language", "country", "age_years"),
        *("verified", "protected", "creator", "allow_sensitive"),
    }
)
_CONTENT = frozenset(
    {
        *("text", "language", "topics", "image_count", "video_duration_ms"),
        *("link_count", "media_embedding", "sensitive", "exclusive", "uri"),
    }
)
_LINKS = frozenset(
    {
        *("reply_to_id", "reply_to_author_id", "root_id", "root_author_id"),
        *("quote_of_id", "quote_of_author_id", "repost_of_id", "repost_of_author_id"),
        "edit_of_id",
    }
)
_CONTEXT = frozenset({"value", "surface", "request_id", "position"})
_SERVED = frozenset({"source", "model_version", "settings_version", "experiment_arm"})

_USER = Rule(("actor_id",))
_EDGE = Rule(("actor_id", "target_id"), user_target=True)
_ON_POST = Rule(("actor_id", "post_id", "author_id"), _CONTEXT)

RULES: dict[Kind, Rule] = {
    Kind.USER_CREATE: Rule(("actor_id",), _USER_MAY),
    Kind.USER_UPDATE: Rule(("actor_id",), _USER_MAY),
    Kind.USER_DEACTIVATE: _USER,
    Kind.USER_REACTIVATE: _USER,
    Kind.USER_SUSPEND: _USER,
    Kind.USER_UNSUSPEND: _USER,
    Kind.USER_DELETE: _USER,
    Kind.POST_CREATE: Rule(("post_id", "author_id"), _CONTENT | _LINKS),
    Kind.POST_EDIT: Rule(("post_id", "author_id"), _CONTENT),
    Kind.POST_DELETE: Rule(("post_id", "author_id")),
    **dict.fromkeys(EDGES, _EDGE),
    **dict.fromkeys(MENTIONS, Rule(("actor_id", "post_id", "target_id"), user_target=True)),
    **dict.fromkeys((*ENGAGEMENTS, *NEGATIVE_FEEDBACK, *UNDONE_BY), _ON_POST),
    Kind.PROFILE_CLICK: Rule(("actor_id", "author_id"), _CONTEXT | {"post_id"}),
    Kind.KEYWORD_MUTE: Rule(("actor_id", "keyword")),
    Kind.KEYWORD_UNMUTE: Rule(("actor_id", "keyword")),
    Kind.TOPIC_FOLLOW: Rule(("actor_id", "target_id")),
    Kind.TOPIC_UNFOLLOW: Rule(("actor_id", "target_id")),
    Kind.TOPIC_MUTE: Rule(("actor_id", "target_id")),
    Kind.TOPIC_UNMUTE: Rule(("actor_id", "target_id")),
    Kind.PREFERENCE: Rule(("actor_id", "name"), frozenset({"value"})),
    Kind.DISMISS: Rule(("actor_id", "name")),
    Kind.LIST_CREATE: Rule(("actor_id", "target_id"), frozenset({"name", "uri"})),
    Kind.LIST_DELETE: Rule(("actor_id", "target_id")),
    Kind.LIST_ADD: Rule(("actor_id", "target_id", "author_id")),
    Kind.LIST_REMOVE: Rule(("actor_id", "target_id", "author_id")),
    Kind.SAFETY_LABEL: Rule(("author_id", "label"), frozenset({"post_id", "value"})),
    Kind.SAFETY_UNLABEL: Rule(("author_id", "label"), frozenset({"post_id"})),
    Kind.SERVED: Rule(
        ("actor_id", "post_id", "author_id", "request_id", "position"),
        _SERVED | {"value", "surface"},
    ),
    Kind.IMPRESSION: Rule(
        ("actor_id", "post_id", "author_id"), frozenset({"request_id", "position", "surface"})
    ),
    Kind.MODULE_SERVED: Rule(
        ("actor_id", "name"), frozenset({"request_id", "position", "surface"})
    ),
    Kind.ARTIFACT_ACTIVATE: Rule(("name", "model_version")),
}
"""Kind → what it must and may carry. A list event names its owner (`actor_id`), the list
(`target_id`) and the member (`author_id`); a safety label without a post is its author's. What
`preference`, `dismiss` and `module_served` name is in `cluster.controls`."""

REFERENCES = {
    "reply_to_id": "reply_to_author_id",
    "quote_of_id": "quote_of_author_id",
    "repost_of_id": "repost_of_author_id",
}
"""Link of a post → the author of what it links to; each needs the other. The author of the root
(`root_author_id`) may be left out, and the post is no news to that author's shard."""
