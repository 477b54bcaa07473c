"""Indexes that could not be loaded when it was last tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from retrieval.errors import DatasetNotFound


@dataclass(frozen=True, slots=True)
class IndexHealth:
    """Ids of datasets: whose index is in memory, and whose could not be loaded."""

    loaded: frozenset[str]
    failing: frozenset[str]


class Failing:
    """Notes whose index fails, until it does not. Threads may share it."""

    def __init__(self) -> None:
        # Operations of a dict are single steps.
        self._ids: dict[str, None] = {}

    @contextmanager
    def watch(self, dataset_id: str) -> Iterator[None]:
        """Around the loading of an index. A dataset that is gone has none that could fail."""
        try:
            yield
        except DatasetNotFound:
            self.forget(dataset_id)
            raise
        except BaseException:
            self._ids[dataset_id] = None
            raise
        self.forget(dataset_id)

    def forget(self, dataset_id: str) -> None:
        self._ids.pop(dataset_id, None)

    def ids(self) -> frozenset[str]:
        return frozenset(tuple(self._ids))
