"""A wave to two actors, as Ray calls and over sockets: latency, and CPU on both sides.

Answers are arrays of three sizes; Ray lays those above 100 kB into its object store. Run
`python -m benchmarks.calls`; prints JSON.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from actors.calls import Address, Answering, asking_actor
from benchmarks.report import emit, percentiles

_SIZES_BYTES = (1_000, 50_000, 300_000)
_WAVES, _WARM_UP = 1_000, 100
_TIMEOUT_S = 5.0


class Answerer:
    """An actor that answers with an array, called either way."""

    def __init__(self) -> None:
        self._answering = Answering(self.answer, "127.0.0.1", at_once=8)
        self._answers = {size: np.arange(size // 8) for size in _SIZES_BYTES}

    def address(self) -> Address:
        """Where it is called over sockets."""
        return self._answering.address

    def answer(self, size: int) -> npt.NDArray[np.int64]:
        """An array of about as many bytes."""
        return self._answers[size]

    def cpu_s(self) -> float:
        """CPU that this process has used."""
        return time.process_time()


def main() -> None:
    """Measure both ways in turn, for each size."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    make: Any = ray.remote
    actors = [make(Answerer).options(max_concurrency=8).remote() for _ in range(2)]
    askings = [asking_actor(actor) for actor in actors]

    def through_ray(size: int) -> None:
        ray.get([actor.answer.remote(size) for actor in actors], timeout=_TIMEOUT_S)

    def over_sockets(size: int) -> None:
        until_s = time.monotonic() + _TIMEOUT_S
        for call in [asking.begin(size, until_s) for asking in askings]:
            call.answer()

    figures = {
        f"{size}_bytes": {
            "through_ray": _measured(actors, partial(through_ray, size)),
            "over_sockets": _measured(actors, partial(over_sockets, size)),
        }
        for size in _SIZES_BYTES
    }
    ray.shutdown()
    emit("calls", figures, actors=len(actors))


def _measured(actors: Sequence[Any], wave: Callable[[], None]) -> dict[str, Any]:
    for _ in range(_WARM_UP):
        wave()
    samples, caller_s, actors_s = [], time.process_time(), _cpu_s(actors)
    for _ in range(_WAVES):
        started = time.perf_counter()
        wave()
        samples.append(time.perf_counter() - started)
    caller_s, actors_s = time.process_time() - caller_s, _cpu_s(actors) - actors_s
    return {
        **percentiles(samples),
        "caller_cpu_ms": round(caller_s / _WAVES * 1000, 3),
        "actors_cpu_ms": round(actors_s / _WAVES * 1000, 3),
    }


def _cpu_s(actors: Sequence[Any]) -> float:
    return float(sum(ray.get([actor.cpu_s.remote() for actor in actors])))


if __name__ == "__main__":
    main()
