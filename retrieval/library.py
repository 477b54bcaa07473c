"""The library: a data directory with its store, its indexes and its embedding model, in step.

    drafts → (those not known) → embeddings → store → index
    question → embedding → hits → records → quotes

Store first: an unindexed passage is invisible for a moment, an unstored hit would be a quote
without text. A delete goes the other way round.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from retrieval.additions import Plan, Planned, Prepared, changed, plan_by_key, plan_new
from retrieval.cleaning import Cleaning
from retrieval.completion import Completion
from retrieval.embedding import Embedder
from retrieval.embedding.models import Model, Models
from retrieval.embedding.ready import split_embeddings, to_unit_length
from retrieval.errors import (
    DatasetNotFound,
    DirectoryInUse,
    InvalidRequest,
    QuotebaseError,
)
from retrieval.failing import IndexHealth
from retrieval.fulltext.indexes import FullTextIndexes
from retrieval.indexes import Indexes
from retrieval.model_changes import ModelChanges
from retrieval.passages import to_passages, whole_passages
from retrieval.requests import check_request
from retrieval.rerank import Reranker
from retrieval.search import Searcher
from retrieval.stages import OnSearch
from retrieval.store import Store, dataset_id_of, open_store
from retrieval.store.folders import check_has_collections
from retrieval.tokens import count_tokens
from retrieval.types import (
    AddResult,
    Collection,
    Dataset,
    EmbeddedDraft,
    Embeddings,
    IndexDifferences,
    IndexStatus,
    Record,
    RecordDraft,
    SearchRequest,
    SearchResult,
    StoredEmbeddings,
    VerifyReport,
)
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, OnStep, VectorIndex

logger = logging.getLogger(__name__)

INDEX_FOLDER, TEXT_FOLDER = "indexes", "fulltext"
"""In the data directory: of vectors, and of terms."""

T = TypeVar("T")


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
        reranker: Reranker | None = None,
        completion: Completion | None = None,
        models: Sequence[Embedder] = (),
    ) -> None:
        self.data_dir = data_dir
        self.store = store
        self.embedder = embedder
        self.models = Models(embedder, models)
        self._writing = threading.RLock()
        self._exchanges = 0
        self._indexes = Indexes(store, data_dir / INDEX_FOLDER, self._writing, index_memory, folds)
        self._texts = FullTextIndexes(store, data_dir / TEXT_FOLDER)
        self._cleaning = Cleaning(store)
        self._searcher = Searcher(store, self._indexes, self._texts, self.models, reranker, completion)
        self._changes = ModelChanges(store, self.models, self._indexes, self._texts, self._writing)
        self._lock = lock

    @classmethod
    def open(
        cls,
        data_dir: Path,
        embedder: Embedder,
        mongodb_uri: str | None = None,
        index_memory: int | None = None,
        folds: FoldPolicy = DEFAULT_FOLDS,
        reranker: Reranker | None = None,
        completion: Completion | None = None,
        models: Sequence[Embedder] = (),
    ) -> Self:
        """Own a data directory, which is created if missing, and mend what a crash left in the store.

        Args:
            embedder: what new datasets are bound to, if they do not name one of ``models``.
            index_memory: bytes that the loaded indexes may take together; ``None`` for no limit.
            folds: when indexes are folded.
            reranker, completion: for searches that ask for reranking, or for further phrasings.

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
            library = cls(data_dir, store, embedder, lock, index_memory, folds, reranker, completion, models)
            library._cleaning.begin()
            return library
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Save the indexes and let go of the directory."""
        try:
            self._cleaning.close()
            self._texts.close()
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

    def create_dataset(
        self,
        name: str,
        intro: str = "",
        model: str = "",
        *,
        parent_id: str = "",
        is_folder: bool = False,
        avatar: str = "",
    ) -> Dataset:
        """A dataset bound to the primary embedding model, or to the one that is named; or a folder of datasets.

        Raises:
            NameTaken, EmbedderUnavailable
            InvalidRequest: the name is blank, or that of no model of this process.
            DatasetNotFound: there is no such parent.
        """
        _check_name(name)
        chosen = self.models.named(model) if model else self.models.primary
        return self.store.create_dataset(
            name, chosen.binding, intro, parent_id=parent_id, is_folder=is_folder, avatar=avatar
        )

    def update_dataset(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        intro: str | None = None,
        avatar: str | None = None,
        parent_id: str | None = None,
    ) -> Dataset:
        """Change what is not ``None``. Raises what :meth:`retrieval.store.Store.update_dataset` does."""
        if name is not None:
            _check_name(name)
        return self.store.update_dataset(
            dataset_id, name=name, intro=intro, avatar=avatar, parent_id=parent_id
        )

    def dataset_named(self, name: str) -> Dataset:
        """Raises DatasetNotFound, with the names there are."""
        dataset = self.store.find_dataset(name)
        if dataset is None:
            raise DatasetNotFound(no_dataset_named(name, self.store.list_datasets()))
        return dataset

    def delete_dataset(self, dataset_id: str) -> None:
        """From now on nothing in it is found; a thread removes it from the store.

        Raises:
            DatasetNotFound
            InvalidRequest: it is a folder with something in it.
        """
        with self._writing:
            dataset = self.store.get_dataset(dataset_id)
            other = None if dataset.is_folder else self.store.find_edition(dataset_id)
            beside = [replace(dataset, edition=other.number)] if other else []
            self._indexes.discard(dataset.index_name)
            self.store.delete_dataset(dataset_id)
            # A search may have loaded the index meanwhile, from a store that still had the dataset.
            for gone in (dataset, *beside):
                self._indexes.discard(gone.index_name)
                self._texts.discard(gone.index_name)
            self._cleaning.begin()

    def ensure_collection(
        self,
        dataset_id: str,
        name: str,
        *,
        tags: Sequence[str] = (),
        parent_id: str = "",
        kind: str = "file",
        metadata: Mapping[str, object] | None = None,
    ) -> Collection:
        """The oldest collection of that name that is no folder, as it is; made like this if there is none."""
        with self._writing:
            found = self.store.find_collection(dataset_id, name)
            return found or self.store.create_collection(
                dataset_id, name, tags, parent_id=parent_id, kind=kind, metadata=metadata
            )

    def set_forbid(self, collection_id: str, forbid: bool) -> None:
        """Keep a collection, and all that is in it if it is a folder, out of searches, or no longer.

        Raises:
            CollectionNotFound
        """
        with self._writing:
            for one in (collection_id, *self.store.children_of(collection_id)):
                self.store.update_collection(one, forbid=forbid)

    def delete_collection(self, collection_id: str) -> None:
        """With all that is in it, if it is a folder. Raises CollectionNotFound."""
        with self._writing:
            collection = self.store.get_collection(collection_id)
            name = self.store.get_dataset(collection.dataset_id).index_name
            # What is deepest goes first: cut off anywhere, nothing is left in a folder that is gone.
            for one in (*reversed(self.store.children_of(collection_id)), collection_id):
                with self._indexes.removing(name, self.store.passage_ids_in(one)):
                    self.store.delete_collection(one)
            self._texts.note_change(name)

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
            InvalidRequest: the collection is a folder, the embeddings do not fit the drafts, or one has no
                direction.
            EmbedderUnavailable, StoreUnavailable, CollectionNotFound: nothing was added.
        """
        if embeddings is None:
            dataset = self.bound_dataset(collection.dataset_id)
            return self.commit(collection, self.embed(self.plan(collection, drafts), dataset))
        return self.commit(collection, self.take_ready(collection, drafts, embeddings))

    def take_ready(
        self, collection: Collection, drafts: Sequence[RecordDraft], embeddings: Embeddings | StoredEmbeddings
    ) -> Prepared:
        """Drafts with ready-made embeddings, a row for each of their texts.

        Raises:
            ModelMismatch, InvalidRequest: as :meth:`add_records` does.
        """
        dataset = self._dataset_to_fill(collection)
        ready = split_embeddings(drafts, to_unit_length(embeddings, dataset.model.dim))
        embedded = (
            EmbeddedDraft(draft, count_tokens(draft.text), whole_passages(draft), rows)
            for draft, rows in zip(drafts, ready, strict=True)
        )
        return Prepared(len(drafts), tuple(embedded), model=dataset.model)

    def plan(self, collection: Collection, drafts: Sequence[RecordDraft], by_key: bool = False) -> Plan:
        """Which drafts have to be embedded and stored.

        Args:
            by_key: whether a draft takes the place of the record with its key.

        Raises:
            InvalidRequest: the collection is a folder; or ``by_key``, and a draft has no key, or that of another.
            ModelMismatch, CollectionNotFound, StoreUnavailable
        """
        self._dataset_to_fill(collection)
        if by_key:
            keys = [draft.key for draft in drafts]
            return plan_by_key(drafts, self.store.known_records(collection.id, keys))
        hashes = [draft.content_hash for draft in drafts]
        return plan_new(drafts, self.store.known_hashes(collection.id, hashes))

    def cut(self, plan: Plan, dataset: Dataset) -> Plan:
        """The plan with the passages that it takes: what can be done while the model reads another one.

        Raises:
            EmbedderUnavailable, ModelMismatch
        """
        uncut = [planned.draft for planned in plan.planned if not planned.passages]
        if not uncut:
            return plan
        cut = iter(to_passages(uncut, self.models.of(dataset).embedder))
        planned = (
            one if one.passages else replace(one, passages=next(cut), tokens=count_tokens(one.draft.text))
            for one in plan.planned
        )
        return replace(plan, planned=tuple(planned))

    def embed(
        self, plan: Plan, dataset: Dataset, known: Mapping[str, StoredEmbeddings] | None = None
    ) -> Prepared:
        """The plan with embeddings. Texts of records that are replaced or alike, and recent ones, cost nothing.

        Args:
            dataset: whose model embeds.
            known: embeddings by text that are there already, of that model.

        Raises:
            EmbedderUnavailable, StoreUnavailable, ModelMismatch
        """
        model = self.models.of(dataset)
        there = {record_id for one in plan.planned for record_id in (one.record_id, *one.alike) if record_id}
        known = {**(known or {}), **(self._known_embeddings(dataset, tuple(there)) if there else {})}
        planned = self.cut(plan, dataset).planned
        texts = [passage.text for one in planned for passage in one.passages]
        rows, texts_read = model.passages.embed(texts, known)
        embedded = tuple(
            EmbeddedDraft(
                one.draft,
                one.tokens,
                one.passages,
                np.stack([rows[passage.text] for passage in one.passages]),
                one.record_id,
            )
            for one in planned
        )
        return Prepared(plan.given, embedded, plan.gone, texts_read, dataset.model)

    def _known_embeddings(self, dataset: Dataset, record_ids: Sequence[str]) -> dict[str, StoredEmbeddings]:
        """By the texts of these records; none if the dataset has another model by now."""
        with self._writing:
            is_bound = self.store.get_dataset(dataset.id).model == dataset.model
            return self.store.embeddings_of(record_ids) if is_bound else {}

    def commit(self, collection: Collection, prepared: Prepared) -> AddResult:
        """Store what was prepared; when this returns it is durable, and searches find all of it.

        No search finds a part of it, or neither the old nor the new of what it replaces.

        Raises:
            EmbedderUnavailable: the dataset has another model by now, and that cannot read it.
            StoreUnavailable, CollectionNotFound: nothing has changed.
        """
        if not prepared.embedded and not prepared.gone:
            return AddResult(unchanged=prepared.given)
        while (result := self._commit(collection, prepared)) is None:
            prepared = self.embed(prepared.plan, self.bound_dataset(collection.dataset_id))
        return result

    def _commit(self, collection: Collection, prepared: Prepared) -> AddResult | None:
        """``None`` if it was embedded by another model than that of the dataset."""
        replaced = {item.record_id for item in prepared.embedded} - {None}
        with self._writing, self._exchanging(bool(replaced or prepared.gone)):
            dataset = self.store.get_dataset(collection.dataset_id)
            if prepared.embedded and prepared.model != dataset.model:
                return None
            stored = self.store.add_records(collection, prepared.embedded, prepared.gone)
            self._indexes.publish(dataset, stored.passages, stored.removed)
            self._texts.note_change(dataset.index_name)
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

    def update_record(
        self,
        record_id: str,
        *,
        q: str | None = None,
        a: str | None = None,
        indexes: Sequence[str] | None = None,
    ) -> AddResult:
        """Change what is not ``None`` of a record, which keeps its id; only texts it did not have are embedded.

        Raises:
            RecordNotFound
            InvalidRequest: nothing is left to be found by, or another record of the collection says the same.
            ModelMismatch, EmbedderUnavailable, StoreUnavailable: nothing has changed.
        """
        while True:
            record = self.store.get_record(record_id)
            draft = changed(record, self.store.passages_of([record_id]).get(record_id, ()), q, a, indexes)
            collection = self.store.get_collection(record.collection_id)
            dataset = self.bound_dataset(record.dataset_id)
            if self._is_said_by(record, draft):
                return AddResult(unchanged=1)
            prepared = self.embed(Plan(1, (Planned(draft, record_id),)), dataset)
            with self._writing:
                # Whoever changed it while the model was reading is not undone.
                if self.store.get_record(record_id) == record and not self._is_said_by(record, draft):
                    return self.commit(collection, prepared)

    def _is_said_by(self, record: Record, draft: RecordDraft) -> bool:
        """Whether the record has the draft's content. Raises InvalidRequest if it has none, or that of another."""
        if not draft.text.strip():
            raise InvalidRequest("a record needs a q or an a", "q")
        same = self.store.find_record(record.collection_id, draft.content_hash)
        if same and same.id != record.id:
            raise InvalidRequest(
                f"the record {same.id} of this collection says the same already: delete one of the two", "q"
            )
        return same is not None

    def delete_records(self, dataset_id: str, record_ids: Sequence[str]) -> None:
        """Delete those that the dataset has; from the moment this returns none of them is found."""
        with self._writing:
            own = self.store.records_in(dataset_id, record_ids)
            name = self.store.get_dataset(dataset_id).index_name
            with self._indexes.removing(name, self.store.passage_ids_of(own)):
                self.store.delete_records(own)
            self._texts.note_change(name)

    # Search

    def bound_dataset(self, dataset_id: str) -> Dataset:
        """Raises DatasetNotFound, InvalidRequest for a folder, ModelMismatch if this process does not run its model."""
        dataset = self.store.get_dataset(dataset_id)
        check_has_collections(dataset)
        self.models.of(dataset)
        return dataset

    def model_of(self, dataset_id: str) -> Model:
        """The model that the dataset is bound to. Raises what :meth:`bound_dataset` does."""
        return self.models.of(self.store.get_dataset(dataset_id))

    def _dataset_to_fill(self, collection: Collection) -> Dataset:
        """That of a collection. Raises InvalidRequest if it is a folder, and what :meth:`bound_dataset` does."""
        if collection.is_folder:
            raise InvalidRequest(
                f"{collection.name!r} is a folder and has no records: name a collection in it", "collectionId"
            )
        return self.bound_dataset(collection.dataset_id)

    def search(self, request: SearchRequest, *, is_asked: bool = True) -> SearchResult:
        """Find quotes; see :mod:`.search`.

        Args:
            is_asked: whether somebody wants to know: the effort of graphs is found with what was asked.

        Raises:
            InvalidRequest: a value of the request is out of range.
            DatasetNotFound, ModelMismatch, EmbedderUnavailable, StoreUnavailable
        """
        check_request(request)
        return self._changes.in_one_edition(lambda: self._search(request, is_asked))

    def _search(self, request: SearchRequest, is_asked: bool) -> SearchResult:
        started = time.perf_counter()
        datasets = [self.bound_dataset(dataset_id) for dataset_id in dict.fromkeys(request.dataset_ids)]
        with self._searcher.stages.search():
            found = self._searcher.find(request, datasets, self._at_one_moment)
        if is_asked and request.mode != "fullTextRecall":
            for dataset in datasets:
                embed = self.models.of(dataset).queries.embed
                self._indexes.note_question(dataset, found.phrasings[0], embed)
        return SearchResult(
            quotes=found.quotes,
            request=request,
            model=datasets[0].model,
            seconds=time.perf_counter() - started,
            similarity=found.similarity,
            filtered_by=found.filtered_by,
            phrasings=found.phrasings,
            reranked_by=found.reranked_by,
            notes=found.notes,
            explanation=found.explanation,
        )

    def watch_searches(self, on_search: OnSearch) -> None:
        """From now on tell how long the stages of each search take, in the thread that searches."""
        self._searcher.stages.on_search = on_search

    def _at_one_moment(self, attempt: Callable[[list[int]], T]) -> T:
        """What was there at one moment: an attempt that an exchange of records went across is made again.

        Args:
            attempt: notes the hits whose records were gone in the list that it is given.
        """
        exchanges, missing = self._exchanges, list[int]()
        found = attempt(missing)
        if not missing or (exchanges == self._exchanges and exchanges % 2 == 0):
            return found
        # No further exchange can come across this one.
        with self._writing:
            return attempt([])

    # Another embedding model

    def change_model(
        self,
        dataset_id: str,
        model: str,
        on_step: OnStep | None = None,
        cancelled: threading.Event | None = None,
    ) -> Dataset:
        """Embed a dataset by another model of this process; from one moment on it is searched by that one.

        Searches, adds and deletes go on meanwhile. An attempt that was cut off, by a kill as well, is gone
        on with by the next one. What the former model has embedded is kept, until it is discarded or the
        dataset is moved to a third model.

        Args:
            model: its name.
            on_step: called with the passages looked at and all there are.

        Raises:
            InvalidRequest: the process runs no model of that name, or the model is being changed already.
            ChangeCancelled, DatasetNotFound, EmbedderUnavailable, StoreUnavailable: nothing has changed.
        """
        return self._changes.change(dataset_id, model, on_step or _ignore, cancelled or threading.Event())

    def roll_back_model(
        self, dataset_id: str, on_step: OnStep | None = None, cancelled: threading.Event | None = None
    ) -> Dataset:
        """Go back to the former model, which embeds what was added meanwhile first.

        Raises:
            InvalidRequest: there is none, or the model is being changed already.
            ModelMismatch: this process does not run it.
            ChangeCancelled, DatasetNotFound, EmbedderUnavailable, StoreUnavailable: nothing has changed.
        """
        return self._changes.roll_back(dataset_id, on_step or _ignore, cancelled or threading.Event())

    def former_model(self, dataset_id: str) -> Model:
        """What the dataset can go back to. Raises what :meth:`roll_back_model` does."""
        return self._changes.former_model(dataset_id)

    def discard_old_model(self, dataset_id: str) -> None:
        """Delete what the former model has embedded, or a change that was not ended. Raises DatasetNotFound."""
        self._changes.discard(dataset_id)

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
            text_differences: dict[str, IndexDifferences] = {}
            done = 0
            for dataset in datasets:
                found = self._indexes.verify(dataset, _shifted(on_step, done, sum(counts.values())))
                done += counts[dataset.name]
                if not found.is_clean:
                    differences[dataset.name] = found
                texts = self._texts.verify(dataset)
                if not texts.is_clean:
                    text_differences[dataset.name] = texts
        return VerifyReport(repaired, orphans, differences, counts, text_differences)

    def rebuild(self, dataset_id: str, on_step: OnStep | None = None) -> IndexStatus:
        """Make the index of a dataset again from the store; searches, adds and deletes go on meanwhile.

        Args:
            on_step: called with the passages done and to do: first read, then linked into a graph.

        Raises:
            DatasetNotFound, StoreUnavailable: the old index stays.
        """
        dataset = self.store.get_dataset(dataset_id)
        self._indexes.rebuild(dataset, on_step or _ignore)
        self._texts.rebuild(dataset)
        return self._indexes.status(dataset)

    def load_index(self, dataset_id: str) -> VectorIndex:
        """The index of a dataset, for searches by vector alone. Raises DatasetNotFound."""
        return self._indexes.get(self.store.get_dataset(dataset_id))

    def index_status(self, dataset_id: str) -> IndexStatus:
        """Where the parts of a dataset's index stand. Raises DatasetNotFound."""
        return self._indexes.status(self.store.get_dataset(dataset_id))

    def index_health(self) -> IndexHealth:
        """Which indexes of vectors are loaded, and which of any kind could not be loaded when last tried."""
        failing = self._indexes.failing.names() | self._texts.failing.names()
        return IndexHealth(
            frozenset(map(dataset_id_of, self._indexes.loaded())), frozenset(map(dataset_id_of, failing))
        )

    def retry_indexes(self) -> None:
        """Load those again that could not be loaded; what goes wrong is in :meth:`index_health`."""
        for dataset_id in self.index_health().failing:
            try:
                dataset = self.store.get_dataset(dataset_id)
                self._indexes.get(dataset)
                self._texts.get(dataset)
            except (QuotebaseError, OSError, RuntimeError, MemoryError) as error:
                logger.warning("the index of dataset %s cannot be loaded: %s", dataset_id, error)

    def settle(self) -> None:
        """Wait until indexes have taken in and folded what they have grown by, and deleted datasets are gone."""
        self._cleaning.settle()
        self._texts.settle()
        self._indexes.settle()


def _check_name(name: str) -> None:
    if not name.strip():
        raise InvalidRequest("a dataset needs a name", "name")


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


def _ignore(_done: int, _total: int) -> None:
    """Nobody looks on."""


def _shifted(on_step: OnStep | None, before: int, total: int) -> OnStep:
    """Steps of one part as steps of a whole of ``total``, ``before`` of which are done."""
    return (lambda done, _: on_step(before + done, total)) if on_step else _ignore
