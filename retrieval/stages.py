"""How long the stages of a search take, for whoever looks on."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

Stage = Literal["extend", "embed", "recall", "read", "rerank"]
"""Further phrasings; embeddings of questions; hits from the indexes; records and decisions; the reranker."""

OnSearch = Callable[[Mapping[Stage, float]], None]
"""Called when a search is over with the seconds that it spent in the stages that it had."""


class Stages:
    """Adds up the stages of each search, which keeps to one thread; without an observer it does nothing."""

    def __init__(self) -> None:
        self.on_search: OnSearch | None = None
        self._here = threading.local()

    def of(self, stage: Stage) -> AbstractContextManager[None]:
        """While it is entered, the time counts for this stage, and not for one around it."""
        spent: dict[Stage, float] | None = getattr(self._here, "spent", None)
        return _OFF if spent is None else self._timed(stage, spent)

    def search(self) -> AbstractContextManager[None]:
        """Around a whole search; also one that fails is told of."""
        return _OFF if self.on_search is None else self._watched(self.on_search)

    @contextmanager
    def _watched(self, on_search: OnSearch) -> Iterator[None]:
        spent: dict[Stage, float] = {}
        self._here.spent, self._here.inner = spent, 0.0
        try:
            yield
        finally:
            self._here.spent = None
            on_search(spent)

    @contextmanager
    def _timed(self, stage: Stage, spent: dict[Stage, float]) -> Iterator[None]:
        started, outside = time.perf_counter(), self._here.inner
        self._here.inner = 0.0
        try:
            yield
        finally:
            whole = time.perf_counter() - started
            spent[stage] = spent.get(stage, 0.0) + whole - self._here.inner
            self._here.inner = outside + whole


_OFF = nullcontext()
