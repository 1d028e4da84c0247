"""What is marked on a post and known of its author, beside the safety labels, in one number."""

from enum import IntFlag


class Mark(IntFlag):
    """Flags of a post, kept as uint16; the number is what shards answer."""

    SENSITIVE = 1
    """The author said that the post is sensitive."""
    EXCLUSIVE = 2
    """For the author's subscribers only."""
    IMAGE = 4
    VIDEO = 8
    AUTHOR_VERIFIED = 16
    AUTHOR_CREATOR = 32
    """The author has subscribers' posts."""
