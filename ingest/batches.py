"""Rows in batches, each with what has to be done for it: a plan, or embeddings that are ready-made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from ingest.mapping import RowProblem
from ingest.sources import Item
from ingest.vectors import VectorFile, of_passages
from retrieval.additions import Plan, Prepared
from retrieval.types import Embeddings, RecordDraft

BATCH_RECORDS = 256
"""Records of the first commit: the model waits until they are read."""

LEAST_RECORDS, MOST_RECORDS = 256, 2048
"""Of the further ones. 4,096 texts of the bulk table take 3 % longer to embed by 256 at a time than by 2,048; by 4,096
they take no less."""

QUICK_S, SLOW_S = 8.0, 30.0
"""A batch that takes less is followed by larger ones, one that takes more by smaller ones: a batch is what a kill
can cost."""

BATCH_VECTORS = 4096
"""Records of each commit where nothing has to be embedded."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``ready`` has the embeddings that were ready-made, in place of a plan."""

    items: tuple[Item, ...]
    plan: Plan
    ready: Prepared | None = None

    def without(self, refused: Mapping[bytes, RowProblem]) -> tuple[Item, ...]:
        """The items, with problems instead of the drafts of these contents."""
        return tuple(
            replace(item, outcome=replace(refused[item.outcome.content_hash], line=item.line))
            if isinstance(item.outcome, RecordDraft) and item.outcome.content_hash in refused
            else item
            for item in self.items
        )


class BatchSize:
    """How many records the next batch has, by how long the ones before took."""

    def __init__(self) -> None:
        self.records = BATCH_RECORDS

    def note(self, records: int, seconds: float) -> None:
        """What embedding a batch took; one that was read before the size changed tells nothing."""
        if records != self.records:
            return
        if seconds > SLOW_S:
            self.records = max(records // 2, LEAST_RECORDS)
        while seconds < QUICK_S and self.records < MOST_RECORDS:
            self.records, seconds = min(2 * self.records, MOST_RECORDS), 2 * seconds


def drafts_of(items: Sequence[Item]) -> list[RecordDraft]:
    """Without the problems."""
    return [item.outcome for item in items if isinstance(item.outcome, RecordDraft)]


def read_batches(
    items: Iterator[Item], plan: Callable[[Sequence[RecordDraft]], Plan], size: BatchSize
) -> Iterator[Batch]:
    """Batches whose plans are made as they are read."""
    while batch := tuple(islice(items, size.records)):
        yield Batch(batch, plan(drafts_of(batch)))


def read_ready_batches(
    items: Iterator[Item],
    vectors: VectorFile,
    take_ready: Callable[[Sequence[RecordDraft], Embeddings], Prepared],
) -> Iterator[Batch]:
    """Batches with the next vectors of the file."""
    while batch := tuple(islice(items, BATCH_VECTORS)):
        drafts = drafts_of(batch)
        yield Batch(batch, Plan(len(drafts), ()), take_ready(drafts, _taken(batch, vectors)))


def _taken(batch: Sequence[Item], vectors: VectorFile) -> Embeddings:
    """The embeddings of the drafts; those of rows that are rejected are passed over."""
    rows: list[Embeddings] = []
    for item in batch:
        taken = vectors.take(item.texts)
        if isinstance(item.outcome, RecordDraft):
            rows.append(of_passages(item.outcome, taken))
    return np.concatenate(rows) if rows else vectors.take(0)
