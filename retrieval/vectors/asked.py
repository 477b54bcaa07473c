"""The questions that an index was asked, and the effort of its graph that was found with them.

    <folder>/asked.npz   embeddings and effort, beside the snapshot and no part of it

Without the file a graph has the effort that was found with its passages.
"""

import threading
import zipfile
from pathlib import Path

import numpy as np

from retrieval.types import Embeddings
from retrieval.vectors.calibration import ENOUGH, NONE_ASKED

ASKED_FILE = "asked.npz"

UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)


class Asked:
    """The last ``ENOUGH`` that were new when they were asked. Safe to use from several threads.

    Args:
        queries: embeddings of those from before, (n, dim).
        effort: what was found with them for the graph that there is; 0 if nothing was yet.
    """

    def __init__(self, queries: Embeddings = NONE_ASKED, effort: int = 0) -> None:
        self.effort = effort
        self.is_saved = True
        self._queries: dict[str | int, Embeddings] = dict(enumerate(queries))
        self._state = threading.Lock()

    @classmethod
    def load(cls, folder: Path, dim: int) -> "Asked":
        """What was saved there; nothing, if there is no such file or none that fits."""
        try:
            with np.load(folder / ASKED_FILE) as saved:
                queries, effort = saved["queries"].astype(np.float32), int(saved["effort"])
        except UNREADABLE:
            return cls()
        return cls(queries, effort) if queries.shape[1:] == (dim,) and len(queries) <= ENOUGH else cls()

    def save(self, folder: Path) -> None:
        """Beside the snapshot, if there is one; whole or not at all. Raises OSError."""
        if not folder.is_dir():
            return
        # Before it is read: what is noted meanwhile is not in it.
        self.is_saved = True
        beside = folder / f"{ASKED_FILE}.part"
        try:
            with beside.open("wb") as stream:
                np.savez(stream, queries=self.queries().astype(np.float16), effort=self.effort)
            beside.replace(folder / ASKED_FILE)
        except OSError:
            self.is_saved = False
            raise

    def __len__(self) -> int:
        return len(self._queries)

    def __contains__(self, question: str) -> bool:
        return question in self._queries

    @property
    def is_due(self) -> bool:
        """Whether an effort can be found with them, and was not."""
        return len(self) >= ENOUGH and not self.effort

    def note(self, question: str, query: Embeddings) -> bool:
        """A question, and its embedding of (dim,). Returns whether with it there are enough."""
        with self._state:
            count = len(self)
            self._queries.setdefault(question, query)
            if len(self) > ENOUGH:
                del self._queries[next(iter(self._queries))]
            self.is_saved = False
            return count < len(self) == ENOUGH

    def queries(self) -> Embeddings:
        """(n, dim) of those that there are."""
        with self._state:
            queries = list(self._queries.values())
        return np.stack(queries) if queries else NONE_ASKED
