"""Upkeep of indexes while they are searched: one thread for each kind of work.

Nothing here knows what the work is.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from retrieval.errors import QuotebaseError
from retrieval.priority import stand_back

logger = logging.getLogger(__name__)

TURN_S = 0.0005
"""How long a thread may keep the interpreter while others wait for it."""

NICENESS = 10
"""How far upkeep, such as the building of a graph on all cores, stands back behind searches."""

DELAY_S = 2.0
"""How long a dataset that is due waits for more to come; a command may well end before."""


def take_short_turns() -> None:
    """Let threads of this process wait less for each other; for programs, as it holds for all of it.

    The thread that feeds the model comes back to the interpreter for each batch, and searches for each of their
    steps, while indexes are made and rows are read beside them. With Python's 5 ms an import of 5,000 rows took 1.07 ×
    the time of its embedding, with these 1.03 ×.
    """
    sys.setswitchinterval(TURN_S)


class Stopped(Exception):
    """The work under way was told to end."""


@dataclass(frozen=True, slots=True)
class _Due:
    """When a dataset became due, and when its turn comes: seconds of the monotonic clock."""

    since: float
    turn: float


class Background:
    """A thread that does one kind of work for the datasets that are due, one after the other.

    Args:
        work: called with the id of a dataset, standing back behind searches.
        name: of the work, for the log.
        rest_s: how long a dataset waits, and waits again whenever it is due once more meanwhile, for what changes
            it to come to rest.
        longest_s: how long it waits at most, whatever comes.
    """

    def __init__(
        self,
        work: Callable[[str], None],
        name: str,
        rest_s: float = DELAY_S,
        longest_s: float = DELAY_S,
    ) -> None:
        self._work = work
        self._name = name
        self._rest_s, self._longest_s = rest_s, longest_s
        self._state = threading.Condition()
        self._due: dict[str, _Due] = {}
        self._is_busy = False
        self._is_awaited = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def put(self, dataset_id: str) -> None:
        """The dataset is due."""
        with self._state:
            if self._is_closed:
                return
            now = time.monotonic()
            since = self._due[dataset_id].since if dataset_id in self._due else now
            self._due[dataset_id] = _Due(since, min(now + self._rest_s, since + self._longest_s))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"quotebase-{self._name}", daemon=True)
                self._thread.start()
            self._state.notify_all()

    def check(self, _done: int, _total: int) -> None:
        """Raises Stopped when the work under way has to end."""
        if self._is_closed:
            raise Stopped

    def settle(self) -> None:
        """Wait until nothing is due."""
        with self._state:
            self._is_awaited = True
            self._state.notify_all()
            self._state.wait_for(
                lambda: self._is_closed or self._thread is None or not (self._due or self._is_busy)
            )
            self._is_awaited = False

    def close(self) -> None:
        """End the work under way at its next step."""
        with self._state:
            self._is_closed = True
            self._state.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        try:
            self._work_off()
        finally:
            with self._state:
                # Ended by what nobody foresaw, it is started again by the next that is due.
                self._thread = None
                self._state.notify_all()

    def _work_off(self) -> None:
        stand_back(NICENESS)
        while (dataset_id := self._next()) is not None:
            try:
                self._work(dataset_id)
            except Stopped:
                return
            except (QuotebaseError, OSError, RuntimeError, MemoryError) as error:
                logger.warning("%s the index of dataset %s failed: %s", self._name, dataset_id, error)
            finally:
                with self._state:
                    self._is_busy = False
                    self._state.notify_all()

    def _next(self) -> str | None:
        """The dataset whose turn it is, once it has come; ``None`` at the end."""
        with self._state:
            while not self._is_closed:
                wait_s = None
                if self._due:
                    dataset_id, due = min(self._due.items(), key=lambda item: item[1].turn)
                    wait_s = due.turn - time.monotonic()
                    if self._is_awaited or wait_s <= 0:
                        del self._due[dataset_id]
                        self._is_busy = True
                        return dataset_id
                self._state.wait(wait_s)
            return None
