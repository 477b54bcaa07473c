"""Moving a dataset to another embedding model while it is searched, and back.

    passages that are searched → records → passages of the new model → the other edition → change of places

The other edition (:mod:`retrieval.store.editions`) is filled beside the one that is searched, in the order
of the passage ids, so that what is added meanwhile is met at the end, and what an attempt that was cut off
has embedded is found and left alone. The last few, the indexes and the change of places are done while
nothing is written.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from retrieval.embedding.models import Model, Models
from retrieval.errors import InvalidRequest, QuotebaseError
from retrieval.fulltext.indexes import FullTextIndexes
from retrieval.indexes import Indexes
from retrieval.passages import custom_texts, to_passages
from retrieval.store import Store
from retrieval.store.editions import Edition, Remade
from retrieval.types import Dataset, Passage, Record, RecordDraft
from retrieval.vectors.index import OnStep

STEP = 256
"""Passages that are embedded and stored at a time: what a kill can cost."""

T = TypeVar("T")


class ChangeCancelled(Exception):
    """A change of model was told to end; what it has embedded is kept for the next attempt."""


@dataclass(slots=True)
class _Way:
    """How far the passages that are searched were looked at."""

    watermark: int = 0
    looked_at: int = 0
    is_over: bool = False


class ModelChanges:
    """Those of one library; one at a time for a dataset.

    Args:
        writing: held by whoever changes store and indexes together.
    """

    def __init__(
        self, store: Store, models: Models, indexes: Indexes, texts: FullTextIndexes, writing: threading.RLock
    ) -> None:
        self._store = store
        self._models = models
        self._indexes = indexes
        self._texts = texts
        self._writing = writing
        self._exchanges = 0
        self._state = threading.Lock()
        self._changing: set[str] = set()

    def change(self, dataset_id: str, name: str, on_step: OnStep, cancelled: threading.Event) -> Dataset:
        with self._alone(dataset_id) as dataset:
            model = self._models.named(name)
            if model.binding == dataset.model:
                return dataset
            other = self._store.find_edition(dataset_id)
            if other is not None and other.model != model.binding:
                self._discard(dataset, other)
                other = None
            other = other or self._store.begin_edition(dataset_id, model.binding)
            return self._exchange(dataset, other, model, on_step, cancelled)

    def roll_back(self, dataset_id: str, on_step: OnStep, cancelled: threading.Event) -> Dataset:
        with self._alone(dataset_id) as dataset:
            other = self._former(dataset)
            model = self._models.of(_beside(dataset, other))
            return self._exchange(dataset, other, model, on_step, cancelled)

    def former_model(self, dataset_id: str) -> Model:
        dataset = self._store.get_dataset(dataset_id)
        return self._models.of(_beside(dataset, self._former(dataset)))

    def _former(self, dataset: Dataset) -> Edition:
        other = self._store.find_edition(dataset.id)
        if other is None or not other.is_former:
            raise InvalidRequest(
                f"dataset {dataset.name!r} has no former embedding model to go back to", "datasetId"
            )
        return other

    def discard(self, dataset_id: str) -> None:
        with self._alone(dataset_id) as dataset:
            other = self._store.find_edition(dataset_id)
            if other is not None:
                self._discard(dataset, other)

    def in_one_edition(self, attempt: Callable[[], T]) -> T:
        """What was found while no dataset changed its edition; made again if one did."""
        while True:
            exchanges = self._exchanges
            try:
                found = attempt()
            except QuotebaseError:
                # What an edition has may have been discarded since.
                if exchanges == self._exchanges:
                    raise
            else:
                if exchanges == self._exchanges and exchanges % 2 == 0:
                    return found
            # One that is under way ends first.
            with self._writing:
                pass

    @contextmanager
    def _alone(self, dataset_id: str) -> Iterator[Dataset]:
        dataset = self._store.get_dataset(dataset_id)
        with self._state:
            if dataset_id in self._changing:
                raise InvalidRequest(
                    f"the embedding model of dataset {dataset.name!r} is being changed already: wait for that to end"
                )
            self._changing.add(dataset_id)
        try:
            yield self._store.get_dataset(dataset_id)
        finally:
            with self._state:
                self._changing.discard(dataset_id)

    def _discard(self, dataset: Dataset, other: Edition) -> None:
        self._store.discard_edition(dataset.id)
        name = _beside(dataset, other).index_name
        self._indexes.discard(name)
        self._texts.discard(name)

    def _exchange(
        self, dataset: Dataset, other: Edition, model: Model, on_step: OnStep, cancelled: threading.Event
    ) -> Dataset:
        """Fill the other edition and let it take the place of the one that is searched."""
        way, upcoming = _Way(), _beside(dataset, other)
        self._fill(dataset, model, way, on_step, cancelled)
        # Made now, so that nobody has to wait for them afterwards; then what was added meanwhile.
        self._refresh(upcoming)
        if self._indexes.get(upcoming).is_fold_due:
            self._indexes.rebuild(upcoming, lambda _done, _total: _check(cancelled))
        self._fill(dataset, model, way, on_step, cancelled)
        with self._writing:
            self._fill(dataset, model, way, on_step, cancelled)
            self._refresh(upcoming)
            self._exchanges += 1
            try:
                changed = self._store.exchange_editions(dataset.id)
            finally:
                self._exchanges += 1
        self._indexes.unload(dataset)
        return changed

    def _refresh(self, dataset: Dataset) -> None:
        self._indexes.refresh(dataset)
        self._texts.refresh(dataset)

    def _fill(
        self, dataset: Dataset, model: Model, way: _Way, on_step: OnStep, cancelled: threading.Event
    ) -> None:
        """From where the way has come to, to the end of what there is now."""
        way.is_over = False
        total = self._store.count_passages(dataset.id, dataset.edition)
        while not way.is_over:
            _check(cancelled)
            changes = self._store.texts_after(dataset.id, way.watermark, STEP, dataset.edition)
            self._take_in(dataset, model, changes.added.ids.tolist())
            way.watermark, way.is_over = changes.watermark, changes.is_last
            way.looked_at += len(changes.added)
            on_step(min(way.looked_at, total), total)

    def _take_in(self, dataset: Dataset, model: Model, passage_ids: Sequence[int]) -> None:
        """Passages in the other edition for the records of these, but for those that have some."""
        witnesses: dict[str, tuple[int, Record]] = {}
        for passage_id, (record, _) in sorted(self._store.sources_of(passage_ids).items(), key=_by_passage):
            witnesses.setdefault(record.id, (passage_id, record))
        known = self._store.records_in_edition(dataset.id, list(witnesses)) if witnesses else set()
        lacking = [found for record_id, found in witnesses.items() if record_id not in known]
        if not lacking:
            return
        passages = self._store.passages_of([record.id for _, record in lacking])
        drafts = [_draft_of(record, passages.get(record.id, ())) for _, record in lacking]
        remade = to_passages(drafts, model.embedder)
        rows, _ = model.passages.embed([one.text for group in remade for one in group], {})
        self._store.add_to_edition(
            dataset.id,
            [
                Remade(witness, group, np.stack([rows[one.text] for one in group]))
                for (witness, _), group in zip(lacking, remade, strict=True)
            ],
        )


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise ChangeCancelled


def _by_passage(source: tuple[int, tuple[Record, str]]) -> int:
    return source[0]


def _beside(dataset: Dataset, other: Edition) -> Dataset:
    """The dataset as it is when the other edition is searched."""
    return replace(dataset, model=other.model, edition=other.number)


def _draft_of(record: Record, passages: Sequence[Passage]) -> RecordDraft:
    return RecordDraft(
        record.q,
        record.a,
        tuple(custom_texts(record, passages)),
        record.chunk_index,
        record.key,
        record.title,
        record.metadata,
    )
