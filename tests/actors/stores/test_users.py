"""The user table: every attribute a register, in whatever order its writes come."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.users import FIELDS, UserTable
from actors.stores.versions import versions_of
from cluster.events import Kind
from tests.worlds import Event, checked


def write(table: UserTable, *events: Event) -> None:
    batch = checked(events)
    times_ms, event_ids = (batch.column(n).to_numpy() for n in ("time_ms", "event_id"))
    table.write(batch, versions_of(times_ms, event_ids))


def event(kind: Kind, time_ms: int, user_id: int = 1, **given: Any) -> Event:
    given = {"event_id": time_ms, "actor_id": user_id, **given}
    return {"kind": kind.label, "time_ms": time_ms, **given}


def row_of(table: UserTable, user_id: int) -> dict[str, Any]:
    row = table.rows_of(np.array([user_id]))[0]
    assert row >= 0
    found = {name: table[name][row].item() for name in (*FIELDS, "created_ms")}
    for name in ("language", "country"):
        found[name] = table.words.words(table[name][row : row + 1])[0].as_py()
    for name in ("name", "uri"):
        found[name] = table.texts(name, np.array([row], np.int64))[0].as_py()
    return found


def test_attributes_are_written_one_by_one() -> None:
    table = UserTable()
    write(table, event(Kind.USER_UPDATE, 300, language="de", verified=True))
    write(table, event(Kind.USER_CREATE, 100, language="en", name="Ada", age_years=30))
    write(table, event(Kind.USER_UPDATE, 200, language="fr", name="Ada L."))
    assert row_of(table, 1) == {
        **{"language": "de", "country": None, "age_years": 30, "verified": True},
        **{"protected": False, "creator": False, "allow_sensitive": False, "created_ms": 100},
        **{"name": "Ada L.", "uri": None},
    }
    assert table.language_of(0) == "de"


def test_gone() -> None:
    table = UserTable()
    users = np.array([1, 2, 3, 4, 5])
    write(table, event(Kind.USER_SUSPEND, 20, 1), event(Kind.USER_UNSUSPEND, 10, 1))
    write(table, event(Kind.USER_DEACTIVATE, 20, 2), event(Kind.USER_REACTIVATE, 30, 2))
    write(table, event(Kind.USER_DELETE, 10, 3), event(Kind.USER_CREATE, 20, 3))
    write(table, event(Kind.USER_CREATE, 20, 4))
    assert table.gone(users).tolist() == [True, False, True, False, False]


KINDS = st.sampled_from(
    [
        *(Kind.USER_CREATE, Kind.USER_UPDATE, Kind.USER_DEACTIVATE, Kind.USER_REACTIVATE),
        *(Kind.USER_SUSPEND, Kind.USER_UNSUSPEND, Kind.USER_DELETE),
    ]
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["Ada", "Grace"]),
        "language": st.sampled_from(["en", "de"]),
        "age_years": st.integers(0, 99),
        "protected": st.booleans(),
    },
)
WRITES = st.lists(st.tuples(KINDS, st.integers(1, 8), st.integers(1, 3), ATTRIBUTES), max_size=15)


@settings(max_examples=60)
@given(WRITES, st.randoms())
def test_users_against_model(
    writes: list[tuple[Kind, int, int, dict[str, Any]]], random: Any
) -> None:
    events = []
    for event_id, (kind, time_ms, user_id, attributes) in enumerate(writes, 1):
        given = attributes if kind in (Kind.USER_CREATE, Kind.USER_UPDATE) else {}
        events.append(event(kind, time_ms, user_id, event_id=event_id, **given))
    model: dict[int, dict[str, Any]] = {}
    for e in sorted(events, key=lambda e: (e["time_ms"], e["event_id"])):
        user = model.setdefault(e["actor_id"], {"created_ms": 0, "gone": set()})
        state, _, undone = {
            "user_suspend": ("suspended", "+", ""), "user_unsuspend": ("", "", "suspended"),
            "user_deactivate": ("off", "+", ""), "user_reactivate": ("", "", "off"),
            "user_delete": ("deleted", "+", ""),
        }.get(e["kind"], ("", "", ""))  # fmt: skip
        user["gone"] = (user["gone"] | ({state} - {""})) - {undone}
        if e["kind"] == "user_create":
            user["created_ms"] = user["created_ms"] or e["time_ms"]
        user |= {k: v for k, v in e.items() if k in ("name", "language", "age_years", "protected")}
    random.shuffle(events)
    half = len(events) // 2
    table = UserTable()
    for part in (events[:half], events[half:]):
        if part:
            write(table, *part)
        restored = UserTable()
        restored.restore(table.columns())
        table = restored
    for user_id, user in model.items():
        found = row_of(table, user_id)
        assert found["created_ms"] == user["created_ms"]
        assert found["name"] == user.get("name")
        assert found["language"] == user.get("language")
        assert found["age_years"] == user.get("age_years", 0)
        assert found["protected"] == user.get("protected", False)
        assert table.gone(np.array([user_id])).tolist() == [bool(user["gone"])]
