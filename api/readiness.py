"""Whether searches can be answered now."""

import logging
import threading
import time
from dataclasses import dataclass

from retrieval.errors import EmbedderUnavailable, StoreUnavailable
from retrieval.failing import IndexHealth
from retrieval.library import Library

logger = logging.getLogger(__name__)

REMEMBERED_S = 5.0
"""How long what the model said, and a try at indexes that cannot be loaded, counts."""

PROBE = "ready?"
"""What the model is given to read."""

NOT_ASKED = "the model has not answered yet"


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong with the store and with the model, in words without secrets, or nothing."""

    store: str
    model: str
    model_name: str
    indexes: IndexHealth

    @property
    def is_ready(self) -> bool:
        return not (self.store or self.model or self.indexes.failing)


class Readiness:
    """Looks at a library; cheap, however often it is asked.

    Args:
        remembered_s: seconds after which the model is asked again.
    """

    def __init__(self, library: Library, remembered_s: float = REMEMBERED_S) -> None:
        self._library = library
        self._remembered_s = remembered_s
        self._asking = threading.Lock()
        self._asked_at = float("-inf")
        self._model = NOT_ASKED

    def look(self) -> Report:
        """The store is asked each time; whoever comes while another asks the model gets what is known."""
        store = self._ask_store()
        if self._asking.acquire(blocking=False):
            try:
                if time.monotonic() - self._asked_at >= self._remembered_s:
                    self._model = self._ask_model()
                    self._library.retry_indexes()
                    self._asked_at = time.monotonic()
            finally:
                self._asking.release()
        return Report(store, self._model, self._library.embedder.name, self._library.index_health())

    def _ask_store(self) -> str:
        try:
            self._library.store.last_sequence()
        except StoreUnavailable as error:
            logger.warning("the store does not answer: %s", error)
            return "the store does not answer: the log says why"
        return ""

    def _ask_model(self) -> str:
        try:
            self._library.embedder.embed_queries([PROBE])
        except EmbedderUnavailable as error:
            logger.warning("the model does not answer: %s", error)
            return "the embedding model does not answer: the log says why"
        return ""
