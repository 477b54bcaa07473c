"""The library: a data directory with its store, its indexes and its embedding model, in step.

    drafts → (those not known) → embeddings → store → index
    question → embedding → hits → records → quotes

Store first: an unindexed passage is invisible for a moment, an unstored hit would be a quote
without text. A delete goes the other way round.
"""

import logging
import threading
import time
from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from filelock import FileLock, Timeout

from retrieval.embedding import Embedder, binding
from retrieval.errors import (
    DatasetNotFound,
    DirectoryInUse,
    InvalidRequest,
    ModelMismatch,
    RecordNotFound,
)
from retrieval.indexes import Indexes
from retrieval.quotes import apply_budget, apply_similarity, drop_repeats
from retrieval.store import Store, open_store
from retrieval.tokens import count_tokens
from retrieval.types import (
    MAX_LIMIT,
    AddResult,
    Collection,
    Dataset,
    EmbeddedDraft,
    Embeddings,
    Hit,
    Quote,
    RecordDraft,
    Score,
    SearchRequest,
    SearchResult,
    VerifyReport,
)

logger = logging.getLogger(__name__)

FIRST_CANDIDATES = 64
"""Hits looked at in the first round of a search; four times as many in each further one."""


class Library:
    """Everything in one data directory. Safe to use from several threads.

    Use :meth:`open`; close it, or use it in a ``with`` statement, to save the indexes.
    """

    def __init__(self, data_dir: Path, store: Store, embedder: Embedder, lock: FileLock) -> None:
        self.store = store
        self.embedder = embedder
        self._indexes = Indexes(store, data_dir / "indexes")
        self._lock = lock
        self._writing = threading.RLock()

    @classmethod
    def open(cls, data_dir: Path, embedder: Embedder, mongodb_uri: str | None = None) -> Self:
        """Own a data directory, which is created if missing, and mend what a crash left in the store.

        Raises:
            DirectoryInUse: another process has it open.
            StoreUnavailable: the database cannot be opened or reached.
        """
        lock = lock_directory(data_dir)
        try:
            store = open_store(data_dir, mongodb_uri)
            repaired = store.repair()
            if repaired:
                logger.warning("repaired %d half-written batches", repaired)
            return cls(data_dir, store, embedder, lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Save the indexes and let go of the directory."""
        with self._writing:
            try:
                self._indexes.save()
            finally:
                self.store.close()
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Datasets and collections

    def create_dataset(self, name: str, intro: str = "") -> Dataset:
        """A dataset bound to the present embedding model. Raises NameTaken, InvalidRequest."""
        if not name.strip():
            raise InvalidRequest("a dataset needs a name", "name")
        return self.store.create_dataset(name, binding(self.embedder), intro)

    def dataset_named(self, name: str) -> Dataset:
        """Raises DatasetNotFound, with the names there are."""
        dataset = self.store.find_dataset(name)
        if dataset is None:
            raise DatasetNotFound(no_dataset_named(name, self.store.list_datasets()))
        return dataset

    def delete_dataset(self, dataset_id: str) -> None:
        with self._writing:
            self._indexes.discard(self.store.get_dataset(dataset_id).id)
            self.store.delete_dataset(dataset_id)
            # A search may have loaded the index meanwhile, from a store that still had the dataset.
            self._indexes.discard(dataset_id)

    def ensure_collection(self, dataset_id: str, name: str) -> Collection:
        """The oldest collection of that name, made if there is none."""
        with self._writing:
            found = self.store.find_collection(dataset_id, name)
            return found or self.store.create_collection(dataset_id, name)

    def delete_collection(self, collection_id: str) -> None:
        with self._writing:
            collection = self.store.get_collection(collection_id)
            with self._indexes.removing(collection.dataset_id, self.store.passage_ids_in(collection_id)):
                self.store.delete_collection(collection_id)

    # Records

    def add_records(self, collection: Collection, drafts: Sequence[RecordDraft]) -> AddResult:
        """Add what the collection does not have yet; when this returns it is durable and searchable.

        Raises:
            ModelMismatch: the dataset was made with another embedding model.
            EmbedderUnavailable, StoreUnavailable, CollectionNotFound: nothing was added.
        """
        dataset = self.bound_dataset(collection.dataset_id)
        fresh = self._fresh(collection, drafts)
        if not fresh:
            return AddResult(unchanged=len(drafts))
        texts = list(dict.fromkeys(text for draft in fresh for text in draft.passage_texts))
        embedded = self._embed(fresh, texts)
        with self._writing:
            stored = self.store.add_records(collection, embedded)
            self._indexes.publish(dataset, stored.passages)
        return AddResult(
            added=tuple(record.id for record in stored.records),
            unchanged=len(drafts) - len(stored.records),
            embedded=len(texts),
        )

    def delete_records(self, dataset_id: str, record_ids: Sequence[str]) -> None:
        """Delete those that the dataset has; from the moment this returns none of them is found."""
        with self._writing:
            own = [record_id for record_id in record_ids if self._has_record(dataset_id, record_id)]
            with self._indexes.removing(dataset_id, self.store.passage_ids_of(own)):
                self.store.delete_records(own)

    def _has_record(self, dataset_id: str, record_id: str) -> bool:
        try:
            return self.store.get_record(record_id).dataset_id == dataset_id
        except RecordNotFound:
            return False

    def _fresh(self, collection: Collection, drafts: Sequence[RecordDraft]) -> list[RecordDraft]:
        """The first draft of each content that the collection does not have."""
        by_hash: dict[bytes, RecordDraft] = {}
        for draft in drafts:
            by_hash.setdefault(draft.content_hash, draft)
        known = self.store.known_hashes(collection.id, by_hash.keys())
        return [draft for digest, draft in by_hash.items() if digest not in known]

    def _embed(self, drafts: Sequence[RecordDraft], texts: Sequence[str]) -> list[EmbeddedDraft]:
        """The drafts with the embeddings of their passages; ``texts`` are these, each once."""
        place = {text: row for row, text in enumerate(texts)}
        embeddings = self.embedder.embed_passages(texts).astype(np.float16)
        return [
            EmbeddedDraft(
                draft, count_tokens(draft.text), embeddings[[place[text] for text in draft.passage_texts]]
            )
            for draft in drafts
        ]

    # Search

    def bound_dataset(self, dataset_id: str) -> Dataset:
        """Raises DatasetNotFound, or ModelMismatch if it was made with another embedding model."""
        dataset = self.store.get_dataset(dataset_id)
        present = binding(self.embedder)
        if dataset.model != present:
            raise ModelMismatch(
                f"dataset {dataset.name!r} was made with the embedding model {dataset.model.name} "
                f"({dataset.model.dim} dimensions, {dataset.model.fingerprint}) and this process runs {present.name} "
                f"({present.dim} dimensions, {present.fingerprint}): set QUOTEBASE_EMBEDDING_MODEL to the model of the "
                "dataset, or import its files into a new dataset"
            )
        return dataset

    def search(self, request: SearchRequest) -> SearchResult:
        """Find quotes: recall, one quote a record, repeats dropped, threshold, budgets.

        Nothing that belongs in the result is missed: as long as neither the threshold nor a budget
        ends the list, more candidates are looked at, up to all there are.

        Raises:
            InvalidRequest: a value of the request is out of range.
            DatasetNotFound, ModelMismatch, EmbedderUnavailable, StoreUnavailable
        """
        started = time.perf_counter()
        check_request(request)
        datasets = [self.bound_dataset(dataset_id) for dataset_id in dict.fromkeys(request.dataset_ids)]
        query = self.embedder.embed_queries([request.text])
        return SearchResult(
            quotes=self._find(datasets, query, request),
            request=request,
            model=binding(self.embedder),
            seconds=time.perf_counter() - started,
        )

    def _find(
        self, datasets: Sequence[Dataset], query: Embeddings, request: SearchRequest
    ) -> tuple[Quote, ...]:
        """Look at more and more hits, until a budget is full or there are no more."""
        collections = {
            collection.id: collection
            for dataset in datasets
            for collection in self.store.list_collections(dataset.id)
        }
        allowed = _allowed_keys(collections.values())
        indexes = [self._indexes.get(dataset) for dataset in datasets]
        count = FIRST_CANDIDATES
        while True:
            hits = _merge(
                [index.search(query, count, request.similarity, allowed)[0] for index in indexes], count
            )
            quotes = apply_similarity(drop_repeats(self._quotes(hits, collections)), request.similarity)
            budgeted = apply_budget(quotes, request.limit, request.top_k)
            if budgeted.is_full or len(hits) < count:
                return budgeted.quotes
            count *= 4

    def _quotes(self, hits: Sequence[Hit], collections: dict[str, Collection]) -> list[Quote]:
        """A quote for each record, scored by its best passage."""
        records = self.store.records_of([hit.passage_id for hit in hits])
        quotes: dict[str, Quote] = {}
        for hit in hits:
            record = records.get(hit.passage_id)
            if record is None or record.id in quotes or record.collection_id not in collections:
                continue
            score = Score("embedding", hit.score, len(quotes))
            name = collections[record.collection_id].name
            quotes[record.id] = Quote(record, name, (score,), hit.passage_id)
        return list(quotes.values())

    # Upkeep

    def verify(self) -> VerifyReport:
        """Mend what is half-written in the store, and rebuild the indexes that differ from it."""
        with self._writing:
            repaired = self.store.repair()
            orphans = self.store.remove_orphans()
            datasets = self.store.list_datasets()
            rebuilt = [dataset.name for dataset in datasets if self._indexes.rebuild_if_wrong(dataset)]
            counts = {dataset.name: self.store.count_passages(dataset.id) for dataset in datasets}
        return VerifyReport(repaired, orphans, tuple(rebuilt), counts)


def lock_directory(data_dir: Path) -> FileLock:
    """Own the directory until the lock is released or the process ends. Raises DirectoryInUse."""
    data_dir.mkdir(parents=True, exist_ok=True)
    # Whichever thread closes the library has to be able to release it.
    lock = FileLock(data_dir / "lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DirectoryInUse(
            f"the data directory {data_dir} is in use by another quotebase process: stop that one, or set "
            "QUOTEBASE_DATA_DIR to another directory"
        ) from None
    return lock


def no_dataset_named(name: str, datasets: Iterable[Dataset]) -> str:
    """The message for a name that no dataset has."""
    names = ", ".join(dataset.name for dataset in datasets) or "none yet"
    return f"there is no dataset named {name!r} (there are: {names}): create it by importing a file into it"


def check_request(request: SearchRequest) -> None:
    """Raises InvalidRequest for the first value out of range."""
    if not request.text.strip():
        raise InvalidRequest("the question is empty: give some text to search for", "text")
    if any("\ud800" <= character <= "\udfff" for character in request.text):
        raise InvalidRequest("the question is not valid Unicode text: give it in UTF-8", "text")
    if not request.dataset_ids:
        raise InvalidRequest("no dataset to search in was named", "datasetId")
    if not 0 <= request.similarity <= 1:
        raise InvalidRequest(f"similarity is {request.similarity}, it must be from 0 to 1", "similarity")
    if not 1 <= request.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is {request.limit} tokens, it must be from 1 to {MAX_LIMIT}", "limit")
    if request.top_k is not None and request.top_k < 1:
        raise InvalidRequest(f"top_k is {request.top_k}, it must be at least 1", "topK")


def _allowed_keys(collections: AnyOf[Collection]) -> list[int] | None:
    """Keys of the collections that may be searched, ``None`` if all may."""
    if not any(collection.forbid for collection in collections):
        return None
    return [collection.key for collection in collections if not collection.forbid]


def _merge(lists: Sequence[list[Hit]], top_k: int) -> list[Hit]:
    """The best hits of several datasets of one model, ties by ascending passage id."""
    hits = [hit for one in lists for hit in one]
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))[:top_k]
