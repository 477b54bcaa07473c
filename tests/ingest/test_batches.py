"""How large the batches of an import are."""

import itertools

import pytest

from ingest.batches import (
    BATCH_RECORDS,
    LEAST_RECORDS,
    MOST_RECORDS,
    QUICK_S,
    SLOW_S,
    BatchSize,
    read_batches,
)
from ingest.sources import Item
from retrieval.additions import Plan
from retrieval.types import RecordDraft


def sizes(*seconds: float) -> list[int]:
    """Of the batches that follow those that took so long."""
    size = BatchSize()
    found = []
    for taken_s in seconds:
        size.note(size.records, taken_s)
        found.append(size.records)
    return found


def test_quick_batches_are_followed_by_larger_ones() -> None:
    assert sizes(QUICK_S / 2, QUICK_S, QUICK_S / 3, 0.0) == [
        2 * BATCH_RECORDS,
        2 * BATCH_RECORDS,
        MOST_RECORDS,
        MOST_RECORDS,
    ]


def test_slow_batches_are_followed_by_smaller_ones_and_those_by_larger_ones() -> None:
    sizes_found = sizes(0.0, 100.0, 100.0, 100.0, SLOW_S, 100.0, QUICK_S / 2)

    assert sizes_found == [MOST_RECORDS, 1024, 512, *[LEAST_RECORDS] * 3, 512]


def test_between_quick_and_slow_the_size_stays() -> None:
    assert sizes(QUICK_S, SLOW_S, (QUICK_S + SLOW_S) / 2) == [BATCH_RECORDS] * 3


@pytest.mark.parametrize("records", [BATCH_RECORDS - 1, 2 * BATCH_RECORDS])
def test_a_batch_of_another_size_tells_nothing(records: int) -> None:
    size = BatchSize()

    for taken_s in (0.0, 100.0):
        size.note(records, taken_s)

    assert size.records == BATCH_RECORDS


def test_a_batch_is_as_large_as_the_size_is_when_it_is_read() -> None:
    size = BatchSize()
    items = (Item(RecordDraft(str(line), ""), line) for line in itertools.count(2))
    batches = read_batches(items, lambda drafts: Plan(len(drafts), ()), size)

    read = [len(next(batches).items)]
    for taken_s in (0.0, 100.0, 100.0):
        size.note(size.records, taken_s)
        read.append(len(next(batches).items))

    assert read == [BATCH_RECORDS, MOST_RECORDS, 1024, 512]
