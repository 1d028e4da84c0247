"""What a user may say of oneself: every kind, every form, and ids that meet nobody else's."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.events import Kind
from cluster.own_events import OWN_KINDS
from cluster.validation import check_batch, check_objects
from tests.cluster.test_validation import KINDS, NOW_MS, Checked, event, favourite

ADA, BOB, EVE = 11, 12, 13
FOR_SERVERS = {
    *(Kind.USER_CREATE, Kind.USER_UPDATE, Kind.USER_DEACTIVATE, Kind.USER_REACTIVATE),
    *(Kind.USER_SUSPEND, Kind.USER_UNSUSPEND, Kind.USER_DELETE),
    *(Kind.POST_CREATE, Kind.POST_EDIT, Kind.POST_DELETE, Kind.MENTION, Kind.UNMENTION),
    # To follow a protected account shows what it writes, to subscribe what is paid for.
    *(Kind.FOLLOW, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE),
    *(Kind.SAFETY_LABEL, Kind.SAFETY_UNLABEL),
    *(Kind.SERVED, Kind.MODULE_SERVED, Kind.ARTIFACT_ACTIVATE),
}


def by(*users: int, objects: list[Any]) -> Checked:
    return check_objects(objects, now_ms=NOW_MS, own=frozenset(users))


def told(checked: Checked) -> list[tuple[int, str]]:
    return [(problem.index, problem.field) for problem in checked.problems]


def test_every_kind_is_a_users_or_a_servers() -> None:
    assert OWN_KINDS.isdisjoint(FOR_SERVERS)
    assert set(Kind) == OWN_KINDS | FOR_SERVERS


@KINDS
@pytest.mark.parametrize("full", [False, True])
def test_a_user_tells_what_a_user_does(kind: Kind, full: bool) -> None:
    one = event(kind, full=full)
    mine = by(ADA, objects=[one])
    theirs = by(BOB, objects=[one])
    if kind in OWN_KINDS:
        assert not mine.problems
        assert mine.batch.num_rows == 1
        assert told(theirs) == [(0, "actor_id")]
        expected = f"actor_id must be 12, whose token this is ({kind.label})"
        assert theirs.problems[0].message == expected
    else:
        for checked in (mine, theirs):
            assert told(checked) == [(0, "kind")]
            message = f"kind needs a token with the scope write ({kind.label})"
            assert checked.problems[0].message == message
    assert theirs.batch.num_rows == 0


def test_a_post_of_ones_own_is_no_name_to_act_in() -> None:
    """Being the author of a post does not make what others do with it one's own."""
    assert told(by(ADA, objects=[favourite(actor_id=EVE, author_id=ADA)])) == [(0, "actor_id")]
    added = event(Kind.LIST_ADD, actor_id=EVE, author_id=ADA)
    assert told(by(ADA, objects=[added])) == [(0, "actor_id")]


@pytest.mark.parametrize("actor", [None, 0, EVE, "13", -11, 2**63, "x", True, [11]])
def test_no_other_way_to_write_an_id_passes(actor: Any) -> None:
    assert told(by(ADA, objects=[favourite(actor_id=actor)])) == [(0, "actor_id")]


def test_the_rest_of_a_batch_is_kept_and_places_are() -> None:
    batch = [favourite(actor_id=EVE), favourite(actor_id="011"), 5, event(Kind.POST_CREATE)]
    checked = by(ADA, objects=batch)
    assert told(checked) == [(0, "actor_id"), (2, ""), (3, "kind")]
    assert checked.batch.column("actor_id").to_pylist() == [ADA]


def test_a_token_of_several_users() -> None:
    batch = [favourite(actor_id=user) for user in (ADA, BOB, EVE)]
    checked = by(BOB, ADA, objects=batch)
    assert checked.batch.column("actor_id").to_pylist() == [ADA, BOB]
    assert checked.problems[0].message.startswith("actor_id must be 11 or 12, whose token")


def test_what_is_paid_for_is_not_for_users_to_set() -> None:
    free = event(Kind.PREFERENCE) | {"name": "ad_free", "value": 1}
    assert told(by(ADA, objects=[free])) == [(0, "name")]
    assert not check_objects([free], now_ms=NOW_MS).problems
    # A list may be called so.
    assert not by(ADA, objects=[event(Kind.LIST_CREATE, name="ad_free")]).problems


def test_columns_are_read_as_strictly() -> None:
    kinds = ["favourite", "favourite", "post_create", "preference"]
    table = pa.table(
        {
            "kind": kinds,
            "time_ms": [NOW_MS] * 4,
            "actor_id": ["11", "13", None, "11"],
            "post_id": [1, 1, 1, None],
            "author_id": [33, ADA, ADA, None],
            "name": [None, None, None, "ad_free"],
            "value": [0.0, 0.0, 0.0, 1.0],
        }
    )
    checked = check_batch(table, now_ms=NOW_MS, own=frozenset({ADA}))
    assert told(checked) == [(1, "actor_id"), (2, "kind"), (3, "name")]
    codes = pa.array([int(Kind[kind.upper()]) for kind in kinds], pa.int64())
    same = check_batch(table.set_column(0, "kind", codes), now_ms=NOW_MS, own={ADA})
    assert same == checked


def test_ids_meet_those_of_nobody_else() -> None:
    def id_of(user: int, **given: Any) -> int:
        [one] = by(user, objects=[favourite(actor_id=user, **given)]).batch.column("event_id")
        return int(one.as_py())

    assert id_of(ADA) == id_of(ADA), "sent again it counts once"
    for event_id in (900, "a-name", None):
        one = favourite(event_id=event_id)
        [server] = check_objects([one], now_ms=NOW_MS).batch.column("event_id")
        users = id_of(ADA, event_id=event_id), id_of(BOB, event_id=event_id)
        assert len({*users, server.as_py()}) == 3
    assert id_of(ADA, event_id="7") == id_of(ADA, event_id=7)


@given(
    kinds=st.lists(st.sampled_from(Kind), max_size=6),
    actor=st.sampled_from([ADA, BOB, EVE, 2**63 - 1]),
    users=st.sets(st.sampled_from([ADA, BOB]), min_size=1),
)
def test_nothing_passes_that_is_not_ones_own(
    kinds: list[Kind], actor: int, users: set[int]
) -> None:
    batch = [event(kind, full=True) | {"actor_id": actor} for kind in kinds]
    passed = check_objects(batch, now_ms=NOW_MS, own=users).batch
    assert set(passed.column("actor_id").to_pylist()) <= users
    assert set(passed.column("kind").to_pylist()) <= OWN_KINDS
