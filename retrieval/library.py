"""The library: a data directory with its store, its indexes and its embedding model, in step.

    drafts → (those not known) → embeddings → store → index
    question → embedding → hits → records → quotes

Store first: an unindexed passage is invisible for a moment, an unstored hit would be a quote
without text. A delete goes the other way round.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from filelock import FileLock, Timeout

from retrieval.additions import Plan, Prepared, plan_by_key, plan_new
from retrieval.batched import batched
from retrieval.embedding import Embedder, binding
from retrieval.embedding.passages import PassageEmbeddings
from retrieval.embedding.queries import QueryEmbeddings
from retrieval.embedding.ready import split_embeddings, to_unit_length
from retrieval.errors import (
    DatasetNotFound,
    DirectoryInUse,
    InvalidRequest,
    ModelMismatch,
)
from retrieval.indexes import Indexes
from retrieval.passages import to_passages, whole_passages
from retrieval.quotes import apply_budget, apply_similarity, drop_repeats
from retrieval.store import Store, open_store
from retrieval.tokens import count_tokens
from retrieval.types import (
    MAX_LIMIT,
    AddResult,
    Collection,
    CollectionFilter,
    Dataset,
    EmbeddedDraft,
    Embeddings,
    Hit,
    IndexDifferences,
    IndexStatus,
    PassageDraft,
    Quote,
    RecordDraft,
    Score,
    SearchRequest,
    SearchResult,
    StoredEmbeddings,
    VerifyReport,
)
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, OnStep, VectorIndex

logger = logging.getLogger(__name__)

INDEX_FOLDER = "indexes"
"""In the data directory."""

FIRST_CANDIDATES = 32
"""Hits looked at in the first round of a search; four times as many in each further one."""

PAGE = 12
"""Hits whose records are read at once, as long as the budgets have room."""


class Library:
    """Everything in one data directory. Safe to use from several threads.

    Use :meth:`open`; close it, or use it in a ``with`` statement, to save the indexes.
    """

    def __init__(
        self,
        data_dir: Path,
        store: Store,
        embedder: Embedder,
        lock: FileLock,
        index_memory: int | None = None,
        folds: FoldPolicy = DEFAULT_FOLDS,
    ) -> None:
        self.data_dir = data_dir
        self.store = store
        self.embedder = embedder
        self.queries = QueryEmbeddings(embedder)
        self.passages = PassageEmbeddings(embedder)
        self._writing = threading.RLock()
        self._exchanges = 0
        self._indexes = Indexes(store, data_dir / INDEX_FOLDER, self._writing, index_memory, folds)
        self._lock = lock

    @classmethod
    def open(
        cls,
        data_dir: Path,
        embedder: Embedder,
        mongodb_uri: str | None = None,
        index_memory: int | None = None,
        folds: FoldPolicy = DEFAULT_FOLDS,
    ) -> Self:
        """Own a data directory, which is created if missing, and mend what a crash left in the store.

        Args:
            index_memory: bytes that the loaded indexes may take together; ``None`` for no limit.
            folds: when indexes are folded.

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
            return cls(data_dir, store, embedder, lock, index_memory, folds)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Save the indexes and let go of the directory."""
        try:
            self._indexes.close()
        finally:
            with self._writing:
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

    def add_records(
        self,
        collection: Collection,
        drafts: Sequence[RecordDraft],
        embeddings: Embeddings | StoredEmbeddings | None = None,
    ) -> AddResult:
        """Add what the collection does not have yet; when this returns it is durable and searchable.

        Args:
            embeddings: ready-made ones, a row for each of the ``texts`` of each draft, in order; of
                any length but zero. Without them the model reads the texts.

        Raises:
            ModelMismatch: the dataset was made with another embedding model, or the embeddings are
                of another width.
            InvalidRequest: the embeddings do not fit the drafts, or one has no direction.
            EmbedderUnavailable, StoreUnavailable, CollectionNotFound: nothing was added.
        """
        if embeddings is None:
            return self.commit(collection, self.embed(self.plan(collection, drafts)))
        return self.commit(collection, self.take_ready(collection, drafts, embeddings))

    def take_ready(
        self, collection: Collection, drafts: Sequence[RecordDraft], embeddings: Embeddings | StoredEmbeddings
    ) -> Prepared:
        """Drafts with ready-made embeddings, a row for each of their texts.

        Raises:
            ModelMismatch, InvalidRequest: as :meth:`add_records` does.
        """
        dataset = self.bound_dataset(collection.dataset_id)
        ready = split_embeddings(drafts, to_unit_length(embeddings, dataset.model.dim))
        embedded = (
            _embedded(draft, whole_passages(draft), rows) for draft, rows in zip(drafts, ready, strict=True)
        )
        return Prepared(len(drafts), tuple(embedded))

    def plan(self, collection: Collection, drafts: Sequence[RecordDraft], by_key: bool = False) -> Plan:
        """Which drafts have to be embedded and stored.

        Args:
            by_key: whether a draft takes the place of the record with its key.

        Raises:
            InvalidRequest: ``by_key``, and a draft has no key, or that of another.
            ModelMismatch, CollectionNotFound, StoreUnavailable
        """
        self.bound_dataset(collection.dataset_id)
        if by_key:
            keys = [draft.key for draft in drafts]
            return plan_by_key(drafts, self.store.known_records(collection.id, keys))
        hashes = [draft.content_hash for draft in drafts]
        return plan_new(drafts, self.store.known_hashes(collection.id, hashes))

    def embed(self, plan: Plan, known: Mapping[str, StoredEmbeddings] | None = None) -> Prepared:
        """The plan with embeddings. Texts of records that are replaced, and recent ones, cost nothing.

        Args:
            known: embeddings by text that are there already.

        Raises:
            EmbedderUnavailable, StoreUnavailable
        """
        replaced = [planned.record_id for planned in plan.planned if planned.record_id]
        known = {**(known or {}), **(self.store.embeddings_of(replaced) if replaced else {})}
        passages = to_passages([planned.draft for planned in plan.planned], self.embedder)
        texts = [passage.text for group in passages for passage in group]
        rows, texts_read = self.passages.embed(texts, known)
        embedded = tuple(
            _embedded(
                planned.draft, group, np.stack([rows[passage.text] for passage in group]), planned.record_id
            )
            for planned, group in zip(plan.planned, passages, strict=True)
        )
        return Prepared(plan.given, embedded, plan.gone, texts_read)

    def commit(self, collection: Collection, prepared: Prepared) -> AddResult:
        """Store what was prepared; when this returns it is durable, and searches find all of it.

        No search finds a part of it, or neither the old nor the new of what it replaces.

        Raises:
            StoreUnavailable, CollectionNotFound: nothing has changed.
        """
        if not prepared.embedded and not prepared.gone:
            return AddResult(unchanged=prepared.given)
        replaced = {item.record_id for item in prepared.embedded} - {None}
        with self._writing, self._exchanging(bool(replaced or prepared.gone)):
            dataset = self.store.get_dataset(collection.dataset_id)
            stored = self.store.add_records(collection, prepared.embedded, prepared.gone)
            self._indexes.publish(dataset, stored.passages, stored.removed)
        ids = [record.id for record in stored.records]
        return AddResult(
            added=tuple(record_id for record_id in ids if record_id not in replaced),
            updated=tuple(record_id for record_id in ids if record_id in replaced),
            unchanged=prepared.given - len(ids),
            removed=len(prepared.gone),
            embedded=prepared.texts_read,
        )

    @contextmanager
    def _exchanging(self, is_exchange: bool) -> Iterator[None]:
        """The count of exchanges is odd while records go and others come in their place."""
        self._exchanges += is_exchange
        try:
            yield
        finally:
            self._exchanges += is_exchange

    def delete_records(self, dataset_id: str, record_ids: Sequence[str]) -> None:
        """Delete those that the dataset has; from the moment this returns none of them is found."""
        with self._writing:
            own = self.store.records_in(dataset_id, record_ids)
            with self._indexes.removing(dataset_id, self.store.passage_ids_of(own)):
                self.store.delete_records(own)

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
        query = self.queries.embed(request.text)
        return SearchResult(
            quotes=self._find(datasets, query, request),
            request=request,
            model=binding(self.embedder),
            seconds=time.perf_counter() - started,
        )

    def _find(
        self, datasets: Sequence[Dataset], query: Embeddings, request: SearchRequest
    ) -> tuple[Quote, ...]:
        """What was there at one moment: a search that an exchange of records went across is made again."""
        while True:
            exchanges, missing = self._exchanges, list[int]()
            quotes = self._find_once(datasets, query, request, missing)
            if not missing or (exchanges == self._exchanges and exchanges % 2 == 0):
                return quotes
            with self._writing:
                """The exchange is over."""

    def _find_once(
        self, datasets: Sequence[Dataset], query: Embeddings, request: SearchRequest, missing: list[int]
    ) -> tuple[Quote, ...]:
        """Look at more and more hits, until a budget is full or there are no more."""
        places = [(self._indexes.get(dataset), self._allowed(dataset)) for dataset in datasets]
        count = FIRST_CANDIDATES
        while True:
            hits = _merge(
                [index.search(query, count, request.similarity, allowed)[0] for index, allowed in places],
                count,
            )
            quotes = apply_similarity(drop_repeats(self._quotes(hits, missing)), request.similarity)
            budgeted = apply_budget(quotes, request.limit, request.top_k)
            if budgeted.is_full or len(hits) < count:
                return budgeted.quotes
            count *= 4

    def _allowed(self, dataset: Dataset) -> CollectionFilter | None:
        """``None`` if all collections of the dataset may be searched."""
        forbidden = self.store.forbidden_keys(dataset.id)
        return CollectionFilter(forbidden, is_denial=True) if forbidden else None

    def _quotes(self, hits: Sequence[Hit], missing: list[int]) -> Iterator[Quote]:
        """A quote for each record, scored by its best passage; records are read as they are asked for.

        Hits whose records were deleted since are noted in ``missing``.
        """
        seen: set[str] = set()
        for page in batched(hits, PAGE):
            sources = self.store.sources_of([hit.passage_id for hit in page])
            for hit in page:
                record, collection_name = sources.get(hit.passage_id, (None, ""))
                if record is None:
                    missing.append(hit.passage_id)
                elif record.id not in seen:
                    score = Score("embedding", hit.score, len(seen))
                    seen.add(record.id)
                    yield Quote(record, collection_name, (score,), hit.passage_id)

    # Upkeep

    def verify(self, on_step: OnStep | None = None) -> VerifyReport:
        """Mend what is half-written in the store, and discard the indexes that differ from it.

        Searches go on; adds and deletes wait. A discarded index is made from the store when next used.

        Args:
            on_step: called with the passages compared so far and all there are.
        """
        with self._writing:
            repaired = self.store.repair()
            orphans = self.store.remove_orphans()
            datasets = self.store.list_datasets()
            counts = {dataset.name: self.store.count_passages(dataset.id) for dataset in datasets}
            differences: dict[str, IndexDifferences] = {}
            done = 0
            for dataset in datasets:
                found = self._indexes.verify(dataset, _shifted(on_step, done, sum(counts.values())))
                done += counts[dataset.name]
                if not found.is_clean:
                    differences[dataset.name] = found
        return VerifyReport(repaired, orphans, differences, counts)

    def rebuild(self, dataset_id: str, on_step: OnStep | None = None) -> IndexStatus:
        """Make the index of a dataset again from the store; searches, adds and deletes go on meanwhile.

        Args:
            on_step: called with the passages done and to do: first read, then linked into a graph.

        Raises:
            DatasetNotFound, StoreUnavailable: the old index stays.
        """
        dataset = self.store.get_dataset(dataset_id)
        self._indexes.rebuild(dataset, on_step or _ignore)
        return self._indexes.status(dataset)

    def load_index(self, dataset_id: str) -> VectorIndex:
        """The index of a dataset, for searches by vector alone. Raises DatasetNotFound."""
        return self._indexes.get(self.store.get_dataset(dataset_id))

    def index_status(self, dataset_id: str) -> IndexStatus:
        """Where the parts of a dataset's index stand. Raises DatasetNotFound."""
        return self._indexes.status(self.store.get_dataset(dataset_id))

    def settle(self) -> None:
        """Wait until the indexes have folded what they have grown by."""
        self._indexes.settle()


def _embedded(
    draft: RecordDraft,
    passages: tuple[PassageDraft, ...],
    embeddings: StoredEmbeddings,
    record_id: str | None = None,
) -> EmbeddedDraft:
    return EmbeddedDraft(draft, count_tokens(draft.text), passages, embeddings, record_id)


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


def _ignore(_done: int, _total: int) -> None:
    """Nobody looks on."""


def _shifted(on_step: OnStep | None, before: int, total: int) -> OnStep:
    """Steps of one part as steps of a whole of ``total``, ``before`` of which are done."""
    return (lambda done, _: on_step(before + done, total)) if on_step else _ignore


def _merge(lists: Sequence[list[Hit]], top_k: int) -> list[Hit]:
    """The best hits of several datasets of one model, ties by ascending passage id."""
    if len(lists) == 1:
        return lists[0]
    hits = [hit for one in lists for hit in one]
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))[:top_k]
