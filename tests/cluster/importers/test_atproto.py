import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.importers.atproto import (
    Malformed,
    RecordUri,
    parse_did,
    parse_tid,
    parse_uri,
    tid_time_us,
)
from tests.cluster.importers.jetstream_messages import tid


@given(st.integers(0, 2**53 - 1), st.integers(0, 1023))
def test_a_tid_is_a_time_and_a_clock(time_us: int, clock: int) -> None:
    parsed = parse_tid(tid(time_us, clock), "rkey")
    assert parsed == time_us << 10 | clock
    assert tid_time_us(parsed) == time_us


@pytest.mark.parametrize(
    "text", ["", "3l3qo2vuowo2", "3l3qo2vuowo2bb", "zl3qo2vuowo2b", "3l3qo2vuowo21", None, 3]
)
def test_refuses_what_is_no_tid(text: object) -> None:
    with pytest.raises(Malformed, match="rkey must be a TID"):
        parse_tid(text, "rkey")


@pytest.mark.parametrize(
    "text", ["did:plc:abc123", "did:web:example.com", "did:web:localhost%3A80"]
)
def test_accepts_dids(text: str) -> None:
    assert parse_did(text, "did") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:plc:",
        "DID:plc:a",
        "did:plc:a b",
        "did:plc:a:",
        "did:x",
        None,
        1,
        "did:plc:" + "a" * 2048,
    ],
)
def test_refuses_what_is_no_did(text: object) -> None:
    with pytest.raises(Malformed, match="did must be a DID"):
        parse_did(text, "did")


def test_takes_a_uri_apart() -> None:
    text = "at://did:plc:abc/app.bsky.feed.post/3l3qo2vuowo2b"
    assert parse_uri(text, "uri") == RecordUri(
        text, "did:plc:abc", "app.bsky.feed.post", "3l3qo2vuowo2b"
    )


@pytest.mark.parametrize(
    "text",
    [
        "at://did:plc:abc",
        "at://alice.example/app.bsky.feed.post/3l3qo2vuowo2b",
        "https://x/y/z",
        "at://did:plc:abc/a/b/c",
        "at://did:plc:abc//b",
        None,
    ],
)
def test_refuses_what_is_no_uri_of_a_record(text: object) -> None:
    with pytest.raises(Malformed, match="uri must be an AT-URI"):
        parse_uri(text, "uri")
