"""Removing what deleted datasets have left behind in the store, while everything else goes on."""

import logging
import time

from retrieval.background import Background
from retrieval.errors import QuotebaseError
from retrieval.store import Store

logger = logging.getLogger(__name__)

STEP = 2000
"""Records of one step: what a writer may have to wait for."""


class Cleaning:
    """A thread that purges the store whenever there is something to purge."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._background = Background(lambda _: self._purge(), "cleaning")

    def begin(self) -> None:
        """Soon, if a deleted dataset has left anything behind. Raises StoreUnavailable."""
        if self._store.purge(0):
            self._background.put("deleted")

    def settle(self) -> None:
        """Wait until nothing is left, or the store could not be written."""
        self._background.settle()

    def close(self) -> None:
        """End with the step under way; the next start goes on."""
        self._background.close()

    def _purge(self) -> None:
        try:
            while self._step():
                pass
        except QuotebaseError as error:
            logger.warning("what deleted datasets left behind stays until the next start: %s", error)

    def _step(self) -> bool:
        """Whether more is left."""
        started = time.perf_counter()
        is_more = self._store.purge(STEP)
        self._background.check(0, 0)
        if is_more:
            # As long as it took: the store's lock goes to whoever asks first, and others have half of the time.
            time.sleep(time.perf_counter() - started)
        return is_more
