"""What a Bluesky post record says: its content, and the posts it links to."""

from collections.abc import Iterator
from typing import Any

from cluster.importers.atproto import POST, Malformed, RecordUri, parse_did, parse_uri

UNKNOWN_DURATION_MS = 1
"""A post record does not say how long its video is, only that there is one."""

_MAX_COUNT = 2**15 - 1
_SENSITIVE = {"sexual", "nudity", "porn", "graphic-media"}
_LINK_FACET = "app.bsky.richtext.facet#link"
_MENTION_FACET = "app.bsky.richtext.facet#mention"
MAX_MENTIONS = 50
"""Users whom one post may name; the rest is left out."""


def content_of(record: dict[str, Any], uri: RecordUri) -> dict[str, Any]:
    """The content columns of a post. Raises `Malformed` naming the field."""
    text = record.get("text", "")
    if type(text) is not str:
        raise Malformed(f"record.text must be a string; got {text!r:.80}")
    content: dict[str, Any] = {"text": text, "uri": uri.text, "sensitive": _is_sensitive(record)}
    languages = _list(record, "langs")
    if languages and type(languages[0]) is str:
        # Languages are compared by their first subtag: pt-BR is Portuguese.
        content["language"] = languages[0].split("-")[0].lower()
    media = _media(record)
    kind = media.get("$type")
    links = {str(feature.get("uri")) for feature in _features(record, _LINK_FACET)}
    if kind == "app.bsky.embed.images":
        content["image_count"] = min(len(_list(media, "images")), _MAX_COUNT)
    elif kind == "app.bsky.embed.video":
        content["video_duration_ms"] = UNKNOWN_DURATION_MS
    elif kind == "app.bsky.embed.external":
        links.add(str(_object(media, "external").get("uri")))
    if links:
        content["link_count"] = min(len(links), _MAX_COUNT)
    return content


def links_of(record: dict[str, Any]) -> dict[str, RecordUri]:
    """`parent` and `root` of a reply and the `quote`d post, as far as there are such."""
    links = {}
    if record.get("reply") is not None:
        reply = _object(record, "reply")
        for name in ("parent", "root"):
            links[name] = parse_uri(_object(reply, name).get("uri"), f"record.reply.{name}.uri")
            if links[name].collection != POST:
                raise Malformed(f"record.reply.{name}.uri must be a post; got {links[name].text}")
    embed = _optional(record, "embed")
    quoted = None
    if embed.get("$type") == "app.bsky.embed.record":
        quoted = _object(embed, "record")
    elif embed.get("$type") == "app.bsky.embed.recordWithMedia":
        quoted = _object(_object(embed, "record"), "record")
    if quoted is not None:
        uri = parse_uri(quoted.get("uri"), "record.embed.record.uri")
        if uri.collection == POST:  # lists, feeds and starter packs are embedded alike
            links["quote"] = uri
    return links


def mentions_of(record: dict[str, Any]) -> list[str]:
    """The DIDs of the users whom a post names, each once; raises `Malformed` for another name."""
    named = [
        parse_did(feature.get("did"), "record.facets.features.did")
        for feature in _features(record, _MENTION_FACET)
    ]
    return list(dict.fromkeys(named))[:MAX_MENTIONS]


def _media(record: dict[str, Any]) -> dict[str, Any]:
    embed = _optional(record, "embed")
    if embed.get("$type") == "app.bsky.embed.recordWithMedia":
        return _object(embed, "media")
    return embed


def _is_sensitive(record: dict[str, Any]) -> bool:
    values = _list(_optional(record, "labels"), "values")
    return any(type(value) is dict and value.get("val") in _SENSITIVE for value in values)


def _features(record: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """What parts of the text are, of one kind."""
    for facet in _list(record, "facets"):
        for feature in _list(facet, "features") if type(facet) is dict else ():
            if type(feature) is dict and feature.get("$type") == kind:
                yield feature


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    if type(value) is dict:
        return value
    raise Malformed(f"{name} must be an object; got {value!r:.80}")


def _optional(holder: dict[str, Any], name: str) -> dict[str, Any]:
    return {} if holder.get(name) is None else _object(holder, name)


def _list(holder: dict[str, Any], name: str) -> list[Any]:
    value = holder.get(name)
    if value is None:
        return []
    if type(value) is list:
        return value
    raise Malformed(f"{name} must be an array; got {value!r:.80}")
