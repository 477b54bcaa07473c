"""The questions that an index was asked lately, to find the effort of its graph with."""

import threading

import numpy as np

from retrieval.types import Embeddings
from retrieval.vectors.calibration import ENOUGH, NONE_ASKED


class Asked:
    """The last ``ENOUGH`` questions, each once. Safe to use from several threads."""

    def __init__(self) -> None:
        self._queries: dict[str, Embeddings] = {}
        self._state = threading.Lock()

    def note(self, question: str, query: Embeddings) -> bool:
        """A question, and its embedding of (1, dim). Returns whether there are enough now, and were not before."""
        if question in self._queries:
            return False
        with self._state:
            count = len(self._queries)
            self._queries[question] = query
            if len(self._queries) > ENOUGH:
                del self._queries[next(iter(self._queries))]
            return count < len(self._queries) == ENOUGH

    def queries(self) -> Embeddings:
        """(n, dim) of those that there are."""
        with self._state:
            queries = list(self._queries.values())
        return np.concatenate(queries) if queries else NONE_ASKED
