"""``itertools.batched``, which Python has from 3.12 on."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """``items`` in groups of ``size``, the last one shorter."""
    iterator = iter(items)
    while group := tuple(islice(iterator, size)):
        yield group
