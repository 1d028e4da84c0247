"""Entries: what stands on a page, one below the other, as it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from timeline.ads import Ad
from timeline.candidates import QUOTE_OF, Candidates, Mask
from timeline.conversation import ConversationModules
from timeline.linked import Link, Linked, gone
from timeline.modules import Module, ModuleKind
from timeline.reasons import Reason

EntryKind = Literal["post", "conversation", "ad", "new_posts"] | ModuleKind


@dataclass(frozen=True)
class Flags:
    """What visibility says of posts, by row: names of rules, "" for none. Empty: nothing."""

    covered_by: Sequence[str] = ()
    limited_by: Sequence[str] = ()


NO_FLAGS = Flags()


@dataclass(frozen=True)
class ShownPost:
    """One post of an entry, with what it quotes or reposts inside."""

    post_id: int
    author_id: int
    created_ms: int
    covered_by: str = ""
    """The rule that covers it until the viewer asks for it; "" for none."""
    limited_by: str = ""
    """The rule that takes replies, likes and the like away; "" for none."""
    quoted: "ShownPost | None" = None
    reposted: "ShownPost | None" = None
    tombstone: bool = False
    """The post is gone: its id is all that may be shown."""


@dataclass(frozen=True)
class Entry:
    """One entry of a page: posts, or a module or an ad."""

    kind: EntryKind
    posts: tuple[ShownPost, ...] = ()
    """Oldest first: of a conversation root, ancestor and focal post, else the post alone."""
    context: Reason | None = None
    """The line over it."""
    content: Module | Ad | None = None
    """What it is if not posts."""
    row: int = -1
    """Which of the candidates shown is its focal post; −1 for none."""

    @property
    def focal(self) -> ShownPost:
        """The post that the entry is about; raises `LookupError` where it has none."""
        if not self.posts:
            raise LookupError(f"an entry of kind {self.kind} has no posts")
        return self.posts[-1]

    @property
    def post_ids(self) -> list[int]:
        """Every post that can be read in it: itself, above it or inside it; each once."""
        inside = [
            one
            for post in self.posts
            for one in (post, post.quoted, post.reposted)
            if one is not None and not one.tombstone
        ]
        return list(dict.fromkeys(post.post_id for post in inside))


def entries(
    shown: Candidates,
    linked: Linked,
    modules: ConversationModules,
    contexts: Sequence[Reason | None],
    *,
    flags: Flags = NO_FLAGS,
    linked_flags: Flags = NO_FLAGS,
    buried: Mask | None = None,
) -> list[Entry]:
    """The entries of posts, in order; everything is about the same k rows.

    `shown`, `linked` and `modules` have been taken to the focal posts of the page. `flags` are
    by row of `shown`, `linked_flags` by row of `linked.posts`, as is `buried` (m,): quoted
    posts in whose place a tombstone stands; without it, those that are gone.
    """
    posts = _shown(linked.posts, linked_flags)
    lost = gone(linked) if buried is None else buried
    quotable = [
        _tombstone(post.post_id) if is_lost else post
        for post, is_lost in zip(posts, lost.tolist(), strict=True)
    ]
    columns = zip(
        _shown(shown, flags),
        modules.ancestors.tolist(),
        linked.rows.tolist(),
        shown.links[:, QUOTE_OF].tolist(),
        contexts,
        strict=True,
    )
    found = []
    for row, (post, above, links, quoted_id, context) in enumerate(columns):
        if links[Link.QUOTED] >= 0:
            post = replace(post, quoted=quotable[links[Link.QUOTED]])
        elif quoted_id:
            post = replace(post, quoted=_tombstone(quoted_id))
        if links[Link.REPOSTED] >= 0:
            post = replace(post, reposted=posts[links[Link.REPOSTED]])
        ancestors = [posts[at] for at in above if at >= 0]
        kind: EntryKind = "conversation" if ancestors else "post"
        found.append(Entry(kind, (*ancestors, post), context, row=row))
    return found


def _tombstone(post_id: int) -> ShownPost:
    return ShownPost(post_id, 0, 0, tombstone=True)


def _shown(posts: Candidates, flags: Flags) -> list[ShownPost]:
    n = len(posts)
    columns = zip(
        posts.post_ids.tolist(),
        posts.author_ids.tolist(),
        posts.created_ms.tolist(),
        flags.covered_by or [""] * n,
        flags.limited_by or [""] * n,
        strict=True,
    )
    return [ShownPost(*column) for column in columns]
