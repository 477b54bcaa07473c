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
    """Notes which indexes fail, by their names, until they do not. Threads may share it."""

    def __init__(self) -> None:
        # Operations of a dict are single steps.
        self._names: dict[str, None] = {}

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Around the loading of an index. A dataset that is gone has none that could fail."""
        try:
            yield
        except DatasetNotFound:
            self.forget(name)
            raise
        except BaseException:
            self._names[name] = None
            raise
        self.forget(name)

    def forget(self, name: str) -> None:
        self._names.pop(name, None)

    def names(self) -> frozenset[str]:
        return frozenset(tuple(self._names))
