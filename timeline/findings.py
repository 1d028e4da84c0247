"""Findings: work that asks shards in steps, so that many such works share each wave.

A finding is a generator. It yields what to ask which shard, is sent the answers, and may ask
again; what it returns is what it found. Findings that run together ask together: the first
questions of all travel in one wave, then the second ones of those that have any. A finding
made of others passes their questions on (`together`), so depth costs no waves.
"""

import logging
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from actors.state import Failed, Question
from timeline.query import Query

T = TypeVar("T")

Questions = Mapping[int, Sequence[Question]]
"""What to ask, by shard; empty to ask nothing this time."""
Answers = Mapping[int, Sequence[Any]]
"""What was answered, by shard, in the order asked; shards without a good answer are missing."""
Finding = Generator[Questions, Answers, T]

_LOG = logging.getLogger(__name__)


class Shared(Generic[T]):
    """A finding that several others want: it runs once, in the waves of whoever comes first."""

    def __init__(self, finding: Finding[T]) -> None:
        self._finding: Finding[T] | None = finding
        self._found: list[T] = []
        self._over = False

    def result(self) -> Finding[T]:
        """What was found; raises `LookupError` for those who waited for one that failed."""
        finding, self._finding = self._finding, None
        if finding is not None:
            try:
                self._found.append((yield from finding))
            finally:
                self._over = True
        while not self._over:
            yield {}
        if not self._found:
            raise LookupError("what was to be shared was not found")
        return self._found[0]


def in_time(query: Query, finding: Finding[T]) -> Finding[T | None]:
    """A finding that asks nothing more once the query has no time left: None then."""
    answers: Answers | None = None
    while True:
        try:
            questions = next(finding) if answers is None else finding.send(answers)
        except StopIteration as done:
            found: T = done.value
            return found
        if query.left_s() <= 0:
            return None
        answers = yield questions


class _Shared(dict[int, list[Question]]):
    """Questions of several findings, each of which minds its own failed answers."""


def together(query: Query, named: Mapping[str, Finding[T]]) -> Finding[dict[str, T | None]]:
    """Several findings as one: their results by name, in the order given.

    One that raises costs what it would have found (None), not the others; a shard that fails
    to answer one of its questions counts, for it alone, as not having answered. Both are
    noted in the query under its name.
    """
    found: dict[str, T | None] = dict.fromkeys(named)
    asked: dict[str, Questions] = {}
    for name, finding in named.items():
        _go_on(query, name, finding, None, asked, found)
    while asked:
        wave = _Shared()
        places: dict[str, dict[int, slice]] = {}
        for name, questions in asked.items():
            mine = places.setdefault(name, {})
            for shard, of_shard in questions.items():
                before = wave.setdefault(shard, [])
                mine[shard] = slice(len(before), len(before) + len(of_shard))
                before.extend(of_shard)
        answers = yield wave
        waiting, shared = list(asked), {n for n, q in asked.items() if isinstance(q, _Shared)}
        asked = {}
        for name in waiting:
            given = {s: answers[s][at] for s, at in places[name].items() if s in answers}
            if name not in shared:
                given = _good(query, name, given)
            _go_on(query, name, named[name], given, asked, found)
    return found


def ask_together(
    query: Query, named: Mapping[str, Finding[T]], share: float
) -> dict[str, T | None]:
    """Run findings to their ends; each wave may take `share` of the time then left.

    Facts that the query wants of posts travel with waves that go anyway.
    """
    finding = together(query, named)
    answers: Answers | None = None
    while True:
        try:
            wave = next(finding) if answers is None else finding.send(answers)
        except StopIteration as done:
            results: dict[str, T | None] = done.value
            return results
        if not wave:
            answers = {}
            continue
        facts = query.ahead.questions() if query.ahead else {}
        asked = {s: [*wave.get(s, ()), *facts.get(s, ())] for s in {**wave, **facts}}
        replies = query.ask(asked, share).replies
        ends = {shard: len(wave.get(shard, ())) for shard in replies}
        answers = {s: reply.answers[: ends[s]] for s, reply in replies.items() if s in wave}
        if query.ahead:
            told = {s: reply.answers[ends[s] :] for s, reply in replies.items() if s in facts}
            query.ahead.learn(facts, told)


def _good(query: Query, name: str, answers: dict[int, Sequence[Any]]) -> dict[int, Sequence[Any]]:
    good = {s: all(not isinstance(a, Failed) for a in given) for s, given in answers.items()}
    if not all(good.values()):
        query.note(name)
    return {shard: given for shard, given in answers.items() if good[shard]}


def _go_on(
    query: Query,
    name: str,
    finding: Finding[T],
    answers: Answers | None,
    asked: dict[str, Questions],
    found: dict[str, T | None],
) -> None:
    """Run one finding to its next question or its end."""
    try:
        questions = next(finding) if answers is None else finding.send(answers)
        while (told := _told(query, questions)) is not None:
            questions = finding.send(told)
        asked[name] = questions
    except StopIteration as done:
        found[name] = done.value
    except Exception:
        _LOG.exception("%s failed", name)
        query.note(name)


def _told(query: Query, questions: Questions) -> Answers | None:
    """The answers to questions that were all asked before; None where any was not."""
    if not query.told or len(questions) != 1:
        return None
    [(shard, asked)] = questions.items()
    known = [query.told.get(type(question)) for question in asked]
    answers = [
        one[1] for one, question in zip(known, asked, strict=True) if one and one[0] == question
    ]
    if len(answers) < len(asked) or shard != query.viewer_shard:
        return None
    return {shard: answers}
