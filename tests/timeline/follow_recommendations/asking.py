"""Asking account sources in small worlds, as the flow asks them."""

from collections.abc import Mapping, Sequence
from typing import Any

from actors.router import LocalRouter
from actors.state import ShardState
from cluster.events import Kind
from cluster.settings import Settings
from tests.worlds import NOW_MS, Clock, Event, states_of
from timeline.findings import Finding, ask_together
from timeline.follow_recommendations.accounts import Accounts, AccountSource
from timeline.follow_recommendations.flow import seek
from timeline.hydration import fetch_viewer
from timeline.query import Query

ME = 1


def settings_of(**given: Any) -> Settings:
    """Settings in which a hand-made world is large enough."""
    return Settings(sources={"follow_recommendations": given})  # type: ignore[arg-type]


def asked_of(states: Sequence[ShardState], viewer: int = ME, router: Any = None) -> Query:
    router = router or LocalRouter(states)
    query = Query(viewer, NOW_MS, 10, "request", states[0].settings, router)
    assert fetch_viewer(query)
    return query


def query_of(events: list[Event], n_shards: int = 1, viewer: int = ME, **given: Any) -> Query:
    return asked_of(states_of(events, n_shards, settings_of(**given)), viewer)


def run(query: Query, finding: Finding[Any]) -> Any:
    return ask_together(query, {"asked": finding}, 1.0)["asked"]


def accounts_of(source: AccountSource, query: Query) -> Mapping[str, Accounts]:
    """What a source finds for a query, by name."""

    # The viewer's ties as of now, not of when the viewer was fetched.
    query.told.clear()

    def find() -> Finding[Mapping[str, Accounts]]:
        seeker = yield from seek(query)
        assert seeker is not None
        found = yield from source.find(seeker)
        return found

    found: Mapping[str, Accounts] = run(query, find())
    assert set(found) <= set(source.names)
    return found


def shown(accounts: Accounts) -> list[tuple[int, float, list[int]]]:
    """(account, score, who led there) in order."""
    return [
        (user, round(score, 6), [proof for proof in proofs if proof])
        for user, score, proofs in zip(
            accounts.user_ids.tolist(),
            accounts.scores.tolist(),
            accounts.proof_ids.tolist(),
            strict=True,
        )
    ]


def follows(clock: Clock, pairs: Mapping[int, Sequence[int]]) -> list[Event]:
    """Each follows the others named, in their order."""
    return [clock.edge(Kind.FOLLOW, a, b) for a, others in pairs.items() for b in others]
