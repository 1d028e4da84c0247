"""The actor that owns the SQLite log: one writer, group commit for everybody's appends."""

import time
from collections.abc import Mapping
from typing import Any

from ray.util import get_node_ip_address

from actors.calls import Address, AnswerFailed, Answering, CallFailed, asking_actor
from cluster.log import LogUnavailable
from cluster.logs import open_writer
from cluster.settings import Settings

_THREADS = 32
"""Appends in flight at once; they share a commit."""
_RETRY_S = 0.1


class LogWriter:
    """A few lines around the log; see `cluster.log.EventLog.append`."""

    def __init__(self, settings: Settings) -> None:
        self._log = open_writer(settings)
        self._answering = Answering(self._log.append, get_node_ip_address(), _THREADS)

    def address(self) -> Address:
        """Where appends are taken: each an answer, given once it is durable."""
        return self._answering.address

    def trim(self, offsets: Mapping[int, int]) -> None:
        """Drop what retention lets go."""
        self._log.trim(offsets)

    def heads(self) -> dict[int, int]:
        """Acknowledged head by lane."""
        return self._log.heads()

    def close(self) -> None:
        """Finish what was accepted."""
        self._log.close()
        self._answering.close()


class RemoteLog:
    """Appends through the `LogWriter` actor; waits for it while it is being restarted."""

    def __init__(self, writer: Any, timeout_s: float) -> None:
        self._writer = asking_actor(writer)
        self._timeout_s = timeout_s

    def append(self, lane_payloads: Mapping[int, bytes]) -> int:
        """As in `EventLog`; an append whose answer was lost is made again.

        That can put a batch into the log twice, which appliers see as a redelivery. Raises
        `LogUnavailable` after the timeout.
        """
        until_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return int(self._writer.begin(lane_payloads, until_s).answer())
            except AnswerFailed as error:
                raise (error.__cause__ or error) from None
            except (CallFailed, TimeoutError) as error:
                if time.monotonic() + _RETRY_S >= until_s:
                    raise LogUnavailable(
                        f"the log writer did not answer in {self._timeout_s} s: {error}"
                    ) from error
                time.sleep(_RETRY_S)
