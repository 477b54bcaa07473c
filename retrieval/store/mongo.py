"""The store in a MongoDB database. Needs no transactions, so a single server will do."""

import re
from collections import defaultdict
from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pymongo import ASCENDING, DESCENDING, MongoClient, ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

from retrieval.batched import batched
from retrieval.errors import CollectionNotFound, DatasetNotFound, NameTaken, RecordNotFound, StoreUnavailable
from retrieval.store import KnownRecord, Stored
from retrieval.store import mongo_documents as docs
from retrieval.store import mongo_editions as editions
from retrieval.store.blocks import (
    RemovalRow,
    by_content,
    replaced_by,
    to_changes,
    to_embedding,
    to_text_changes,
)
from retrieval.store.editions import Edition, Remade
from retrieval.store.folders import (
    check_collection_parent,
    check_dataset_parent,
    check_has_collections,
    check_is_empty,
)
from retrieval.store.mongo_documents import Doc, TableName
from retrieval.store.mongo_pages import ids_below, page_of_collections, page_of_documents, page_of_records
from retrieval.store.mongo_writes import Writes
from retrieval.types import (
    FOLDER,
    Changes,
    Collection,
    Dataset,
    Document,
    EmbeddedDraft,
    ModelBinding,
    Page,
    Passage,
    Record,
    StoredEmbeddings,
    TextChanges,
    new_id,
    now,
)

SCHEMA_VERSION = 3
"""From 2 on there are folders and deleted datasets; from 3 on passages say of which edition they are."""

MAX_ITEMS = 500
"""Documents of one insert, and values of one query."""

PATIENCE_MS = 5000
"""How long a call waits for a server to appear, unless the URI says."""


class MongoStore:
    """A :class:`retrieval.store.Store` in the database that the URI names, else in ``quotebase``.

    One process writes at a time, from any of its threads. Another thread may read single documents
    of an add or delete that is under way; changes, known hashes and lists of records wait for its end.

    Raises:
        StoreUnavailable: no server answers, it refuses, or the database is of a newer version.
    """

    def __init__(self, uri: str) -> None:
        self._tables = _MongoTables(uri)
        self._writes = Writes(self._tables)
        try:
            self._tables.prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._tables.close()

    # Datasets

    def create_dataset(
        self,
        name: str,
        model: ModelBinding,
        intro: str = "",
        *,
        parent_id: str = "",
        is_folder: bool = False,
        avatar: str = "",
    ) -> Dataset:
        moment = now()
        dataset = Dataset(new_id(), name, model, intro, moment, moment, parent_id, is_folder, avatar)
        with self._writes.exclusive():
            check_dataset_parent(self.get_dataset, parent_id)
            document = docs.from_dataset(dataset, self._tables.take(1, "datasets"))
            if not self._tables.insert_new(_table(dataset), document):
                raise _name_taken(name)
        return dataset

    def get_dataset(self, dataset_id: str) -> Dataset:
        query = {"_id": dataset_id}
        doc = self._tables.one("datasets", docs.not_deleted(query)) or self._tables.one("folders", query)
        if doc is None:
            raise DatasetNotFound(f"there is no dataset with the id {dataset_id!r}")
        return docs.to_dataset(doc)

    def find_dataset(self, name: str) -> Dataset | None:
        doc = self._tables.one("datasets", {"name": docs.exactly(name)})
        return docs.to_dataset(doc) if doc else None

    def list_datasets(self) -> list[Dataset]:
        return [docs.to_dataset(doc) for doc in self._tables.in_order("datasets", docs.not_deleted({}))]

    def list_folders(self) -> list[Dataset]:
        return [docs.to_dataset(doc) for doc in self._tables.in_order("folders", {})]

    def update_dataset(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        intro: str | None = None,
        avatar: str | None = None,
        parent_id: str | None = None,
    ) -> Dataset:
        changes = docs.changes(name=name, intro=intro, avatar=avatar, parent_id=parent_id)
        with self._writes.exclusive():
            old = self.get_dataset(dataset_id)
            check_dataset_parent(self.get_dataset, parent_id or "", dataset_id)
            if name is not None and name != old.name and not old.is_folder and self.find_dataset(name):
                raise _name_taken(name)
            self._tables.amend(_table(old), dataset_id, changes)
            return self.get_dataset(dataset_id)

    def delete_dataset(self, dataset_id: str) -> None:
        with self._writes.exclusive():
            dataset = self.get_dataset(dataset_id)
            if dataset.is_folder:
                check_is_empty(dataset, [*self.list_datasets(), *self.list_folders()])
                self._tables.delete("folders", {"_id": dataset_id})
            elif doc := self._tables.one("datasets", {"_id": dataset_id}):
                self._tables.update("datasets", dataset_id, docs.deletion(doc))

    def purge(self, limit: int) -> bool:
        deleted = {docs.DELETED: True}
        with self._writes.exclusive():
            found = self._tables.in_order("datasets", deleted, "no", limit=1)
            if found and limit > 0:
                self._writes.purge(found[0]["_id"], limit)
                found = self._tables.in_order("datasets", deleted, "no", limit=1)
        return bool(found)

    def _has(self, dataset_id: str) -> bool:
        """Whether it is a dataset, and not a deleted one."""
        return self._tables.one("datasets", docs.not_deleted({"_id": dataset_id})) is not None

    def _living(self, found: Sequence[Doc]) -> list[Doc]:
        """Those of the collections, records or passages whose dataset is not deleted."""
        datasets = self._tables.among("datasets", "_id", {doc["dataset"] for doc in found}, docs.DELETED)
        living = {doc["_id"] for doc in datasets if docs.DELETED not in doc}
        return [doc for doc in found if doc["dataset"] in living]

    # Collections

    def create_collection(
        self,
        dataset_id: str,
        name: str,
        tags: Sequence[str] = (),
        *,
        parent_id: str = "",
        kind: str = "virtual",
        metadata: Mapping[str, object] | None = None,
    ) -> Collection:
        moment = now()
        with self._writes.exclusive():
            self._dataset_with_collections(dataset_id)
            check_collection_parent(self.get_collection, dataset_id, parent_id)
            collection = Collection(
                new_id(),
                self._tables.take(1),
                dataset_id,
                name,
                tuple(tags),
                forbid=False,
                created_at=moment,
                updated_at=moment,
                parent_id=parent_id,
                kind=kind,
                metadata=metadata or {},
            )
            self._tables.insert("collections", [docs.from_collection(collection)])
        return collection

    def get_collection(self, collection_id: str) -> Collection:
        doc = self._tables.one("collections", {"_id": collection_id})
        if doc is None or not self._has(doc["dataset"]):
            raise CollectionNotFound(f"there is no collection with the id {collection_id!r}")
        return docs.to_collection(doc)

    def find_collection(self, dataset_id: str, name: str) -> Collection | None:
        query = {"dataset": dataset_id, "name": docs.exactly(name), "kind": {"$ne": FOLDER}}
        found = self._living(self._tables.in_order("collections", query, limit=1))
        return docs.to_collection(found[0]) if found else None

    def list_collections(self, dataset_id: str) -> list[Collection]:
        dataset = self.get_dataset(dataset_id)
        return [
            docs.to_collection(doc) for doc in self._tables.in_order("collections", {"dataset": dataset.id})
        ]

    def forbidden_keys(self, dataset_id: str) -> frozenset[int]:
        found = self._tables.in_order("collections", {"dataset": dataset_id, "forbid": True}, "no", "dataset")
        return frozenset(doc["no"] for doc in self._living(found))

    def update_collection(
        self,
        collection_id: str,
        *,
        name: str | None = None,
        parent_id: str | None = None,
        tags: Sequence[str] | None = None,
        forbid: bool | None = None,
        created_at: datetime | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Collection:
        changes = docs.changes(
            name=name,
            parent_id=parent_id,
            tags=None if tags is None else list(tags),
            forbid=forbid,
            created_at=created_at,
            metadata=None if metadata is None else docs.to_json(metadata),
        )
        with self._writes.exclusive():
            dataset_id = self.get_collection(collection_id).dataset_id
            check_collection_parent(self.get_collection, dataset_id, parent_id or "", collection_id)
            self._tables.amend("collections", collection_id, changes)
            return self.get_collection(collection_id)

    def page_collections(
        self, dataset_id: str, parent_id: str | None, search: str, offset: int, limit: int
    ) -> Page[Collection]:
        dataset = self.get_dataset(dataset_id)
        found, total = page_of_collections(self._tables, dataset.id, parent_id, search, offset, limit)
        return Page(tuple(map(docs.to_collection, found)), total)

    def children_of(self, collection_id: str) -> list[str]:
        return ids_below(self._tables, self.get_collection(collection_id).id)

    def delete_collection(self, collection_id: str) -> None:
        with self._writes.exclusive():
            collection = self.get_collection(collection_id)
            count = self._tables.count("passages", {"collection": collection.key})
            self._writes.delete_collection(collection, count)

    # Records and passages

    def add_records(
        self, collection: Collection, drafts: Sequence[EmbeddedDraft], gone: Sequence[str] = ()
    ) -> Stored:
        by_hash = by_content(drafts)
        with self._writes.exclusive():
            collection = self.get_collection(collection.id)
            leaving = self._own(collection.id, replaced_by(drafts, gone))
            known = self._known(collection.id, by_hash, set(leaving))
            fresh = [item for digest, item in by_hash.items() if digest not in known]
            dim = drafts[0].embeddings.shape[1] if drafts else 0
            first = self._tables.take(sum(len(item.embeddings) for item in fresh)) if fresh else 0
            edition = self.get_dataset(collection.dataset_id).edition
            batch = docs.to_batch(collection, fresh, first, dim, edition)
            removed = self._writes.exchange(batch, leaving) if leaving else self._writes.add(batch)
        return replace(batch.stored, removed=np.array(removed, dtype=np.int64))

    def _own(self, collection_id: str, record_ids: Sequence[str]) -> list[str]:
        found = self._tables.among("records", "_id", record_ids, "collection_id") if record_ids else []
        return [doc["_id"] for doc in found if doc["collection_id"] == collection_id]

    def known_hashes(self, collection_id: str, hashes: Iterable[bytes]) -> set[bytes]:
        with self._writes.exclusive():
            return self._known(self.get_collection(collection_id).id, hashes, set())

    def _known(self, collection_id: str, hashes: Iterable[bytes], leaving: set[str]) -> set[bytes]:
        """Those of the hashes that the collection has, but for the records that leave it."""
        keys = {docs.content_key(collection_id, digest): digest for digest in hashes}
        found = self._tables.among("records", "content", keys, "content")
        return {keys[doc["content"]] for doc in found if doc["_id"] not in leaving}

    def known_records(self, collection_id: str, keys: AnyOf[str] | None = None) -> list[KnownRecord]:
        fields = ("content", "key", "metadata")
        with self._writes.exclusive():
            collection = self.get_collection(collection_id)
            if keys is None:
                found = self._tables.in_order("records", {"collection_id": collection.id}, *fields)
            else:
                wanted = [docs.keyed(collection.id, key) for key in keys]
                found = self._tables.among("records", "keyed", wanted, *fields)
        return [docs.to_known(doc) for doc in found]

    def embeddings_of(self, record_ids: Sequence[str]) -> dict[str, StoredEmbeddings]:
        found = self._searched(record_ids, "text", "embedding")
        return {doc["text"]: to_embedding(doc["embedding"]) for doc in found}

    def get_record(self, record_id: str) -> Record:
        doc = self._tables.one("records", {"_id": record_id})
        if doc is None or not self._has(doc["dataset"]):
            raise RecordNotFound(f"there is no record with the id {record_id!r}")
        return docs.to_record(doc)

    def find_record(self, collection_id: str, content_hash: bytes) -> Record | None:
        doc = self._tables.one("records", {"content": docs.content_key(collection_id, content_hash)})
        return docs.to_record(doc) if doc and self._has(doc["dataset"]) else None

    def page_records(self, collection_id: str, search: str, offset: int, limit: int) -> Page[Record]:
        with self._writes.exclusive():
            collection = self.get_collection(collection_id)
            found, total = page_of_records(self._tables, collection.id, search, offset, limit)
        return Page(tuple(map(docs.to_record, found)), total)

    def list_records(self, collection_id: str, limit: int = 1000) -> list[Record]:
        return next(self.record_pages(collection_id, limit), [])

    def record_pages(self, collection_id: str, size: int) -> Iterator[list[Record]]:
        last = 0
        while found := self._records_after(collection_id, last, size):
            last = found[-1]["no"]
            yield [docs.to_record(doc) for doc in found]

    def _records_after(self, collection_id: str, no: int, limit: int) -> list[Doc]:
        query = {"collection_id": collection_id, "no": {"$gt": no}}
        with self._writes.exclusive():
            return self._living(self._tables.in_order("records", query, limit=limit))

    def records_in(self, dataset_id: str, record_ids: AnyOf[str]) -> list[str]:
        found = self._living(self._tables.among("records", "_id", record_ids, "dataset"))
        return [doc["_id"] for doc in found if doc["dataset"] == dataset_id]

    def sources_of(self, passage_ids: Sequence[int]) -> dict[int, tuple[Record, str]]:
        passages = self._tables.among("passages", "_id", passage_ids, "record")
        records = self._living(
            self._tables.among("records", "_id", {passage["record"] for passage in passages})
        )
        collections = self._tables.among(
            "collections", "_id", {doc["collection_id"] for doc in records}, "name"
        )
        names = {doc["_id"]: doc["name"] for doc in collections}
        sources = {
            doc["_id"]: (docs.to_record(doc), names[doc["collection_id"]])
            for doc in records
            if doc["collection_id"] in names
        }
        return {doc["_id"]: sources[doc["record"]] for doc in passages if doc["record"] in sources}

    def passages_of(self, record_ids: Sequence[str]) -> dict[str, tuple[Passage, ...]]:
        fields = ("record", "text", "is_default", "start")
        passages: defaultdict[str, list[Passage]] = defaultdict(list)
        for doc in self._searched(record_ids, *fields):
            passages[doc["record"]].append(docs.to_passage(doc))
        return {record_id: tuple(found) for record_id, found in passages.items()}

    def delete_records(self, record_ids: Sequence[str]) -> list[int]:
        """Some 400,000 at once: their ids have to fit into one document."""
        with self._writes.exclusive():
            records = self._living(self._tables.among("records", "_id", record_ids, "dataset"))
            passages = self._living(self._tables.among("passages", "record", record_ids, "record", "dataset"))
            found = [*(doc["_id"] for doc in records), *(doc["record"] for doc in passages)]
            return self._writes.delete_records(list(dict.fromkeys(found)))

    def _searched(self, record_ids: Sequence[str], *fields: str) -> list[Doc]:
        """The passages of records in the edition that is searched."""
        found = self._tables.among("passages", "record", record_ids, "dataset", "edition", *fields)
        datasets = self._tables.among(
            "datasets", "_id", {doc["dataset"] for doc in found}, "edition", docs.DELETED
        )
        searched = {doc["_id"]: doc.get("edition", 0) for doc in datasets if docs.DELETED not in doc}
        return [doc for doc in found if doc["edition"] == searched.get(doc["dataset"])]

    def passage_ids_of(self, record_ids: Sequence[str]) -> list[int]:
        return [doc["_id"] for doc in self._searched(record_ids)]

    def passage_ids_in(self, collection_id: str) -> list[int]:
        collection = self._tables.one("collections", {"_id": collection_id})
        if collection is None or not self._has(collection["dataset"]):
            return []
        edition = self.get_dataset(collection["dataset"]).edition
        query = {"collection": collection["no"], "edition": edition}
        passages = self._tables.in_order("passages", query, "collection")
        return [passage["_id"] for passage in passages]

    def count_records(self, dataset_id: str) -> int:
        return self._tables.count("records", {"dataset": dataset_id}) if self._has(dataset_id) else 0

    def count_records_in(self, collection_ids: Sequence[str]) -> dict[str, int]:
        collections = self._living(self._tables.among("collections", "_id", collection_ids, "dataset"))
        counts = self._tables.counts("records", "collection_id", [doc["_id"] for doc in collections])
        return {collection_id: counts.get(collection_id, 0) for collection_id in collection_ids}

    def count_passages(self, dataset_id: str, edition: int | None = None) -> int:
        dataset = self._tables.one("datasets", docs.not_deleted({"_id": dataset_id}))
        if dataset is None:
            return 0
        chosen = dataset.get("edition", 0) if edition is None else edition
        query = {"dataset": dataset_id, "edition": chosen}
        return self._tables.count("passages", query)

    # What an index needs to catch up

    def changes_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> Changes:
        query = {"dataset": dataset_id, "no": {"$gt": watermark}}
        with self._writes.exclusive():
            dataset = self._dataset_with_collections(dataset_id)
            added = self._added(dataset, edition, query, "embedding", limit)
            removals = self._removals(query, limit)
        rows = [docs.to_row(doc) for doc in added]
        return to_changes(rows, removals, watermark, limit, dataset.model.dim)

    def _added(
        self, dataset: Dataset, edition: int | None, query: Mapping[str, object], field: str, limit: int
    ) -> list[Doc]:
        chosen = dataset.edition if edition is None else edition
        return self._tables.in_order(
            "passages", {**query, "edition": chosen}, "collection", field, limit=limit
        )

    def texts_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> TextChanges:
        query = {"dataset": dataset_id, "no": {"$gt": watermark}}
        with self._writes.exclusive():
            dataset = self._dataset_with_collections(dataset_id)
            added = self._added(dataset, edition, query, "text", limit)
            removals = self._removals(query, limit)
        return to_text_changes([docs.to_text_row(doc) for doc in added], removals, watermark, limit)

    def _dataset_with_collections(self, dataset_id: str) -> Dataset:
        dataset = self.get_dataset(dataset_id)
        check_has_collections(dataset)
        return dataset

    def _removals(self, query: Mapping[str, object], limit: int) -> list[RemovalRow]:
        removed = self._tables.in_order("removals", query, "passage", limit=limit)
        return [(doc["_id"], doc["passage"]) for doc in removed]

    # Editions

    def find_edition(self, dataset_id: str) -> Edition | None:
        return editions.find(self._dataset(dataset_id))

    def _dataset(self, dataset_id: str) -> Doc:
        self._dataset_with_collections(dataset_id)
        doc = self._tables.one("datasets", docs.not_deleted({"_id": dataset_id}))
        if doc is None:
            raise DatasetNotFound(f"there is no dataset with the id {dataset_id!r}")
        return doc

    def begin_edition(self, dataset_id: str, model: ModelBinding) -> Edition:
        with self._writes.exclusive():
            return editions.begin(self._tables, self._dataset(dataset_id), model)

    def records_in_edition(self, dataset_id: str, record_ids: Sequence[str]) -> set[str]:
        with self._writes.exclusive():
            return editions.records_in(self._tables, self._dataset(dataset_id), record_ids)

    def add_to_edition(self, dataset_id: str, remade: Sequence[Remade]) -> int:
        with self._writes.exclusive():
            passages = editions.to_passages(self._tables, self._dataset(dataset_id), remade)
            self._writes.add_passages(passages)
        return len(passages)

    def exchange_editions(self, dataset_id: str) -> Dataset:
        with self._writes.exclusive():
            editions.exchange(self._tables, self._dataset(dataset_id), now())
        return self.get_dataset(dataset_id)

    def discard_edition(self, dataset_id: str) -> None:
        with self._writes.exclusive():
            editions.discard(self._tables, self._dataset(dataset_id))

    def last_sequence(self) -> int:
        sequence = self._tables.one("counters", {"_id": "sequence"})
        return int(sequence["last"]) if sequence else 0

    # Documents of the layers above

    def put_document(
        self, kind: str, document_id: str, body: Mapping[str, object], group: str = ""
    ) -> Document:
        key = docs.document_key(kind, document_id)
        with self._writes.exclusive():
            old = self._tables.one("documents", {"_id": key})
            seq = old["no"] if old else self._tables.take(1, "documents")
            document = Document(kind, document_id, group, seq, body)
            if old:
                self._tables.update("documents", key, {"body": docs.to_json(body), "group": group})
            else:
                self._tables.insert("documents", [docs.from_document(document)])
        return document

    def find_document(self, kind: str, document_id: str) -> Document | None:
        doc = self._tables.one("documents", {"_id": docs.document_key(kind, document_id)})
        return docs.to_document(doc) if doc else None

    def list_documents(
        self, kind: str, group: str | None = None, newest: int | None = None
    ) -> list[Document]:
        query = {"kind": kind} if group is None else {"kind": kind, "group": docs.exactly(group)}
        found = self._tables.in_order("documents", query, limit=newest, newest_first=True)
        return [docs.to_document(doc) for doc in reversed(found)]

    def page_documents(
        self, kind: str, group: str, offset: int, limit: int, newest_first: bool = False
    ) -> Page[Document]:
        query = {"kind": kind, "group": docs.exactly(group)}
        with self._writes.exclusive():
            found, total = page_of_documents(self._tables, query, offset, limit, newest_first)
        return Page(tuple(map(docs.to_document, found)), total)

    def delete_document(self, kind: str, document_id: str) -> bool:
        with self._writes.exclusive():
            return self._tables.delete("documents", {"_id": docs.document_key(kind, document_id)}) > 0

    def delete_documents(self, kind: str, group: str) -> int:
        with self._writes.exclusive():
            query = {"kind": kind, "group": docs.exactly(group)}
            # NX-27017 cannot delete by a group that begins like a date.
            ids = [doc["_id"] for doc in self._tables.in_order("documents", query, "_id")]
            self._tables.delete_ids("documents", ids)
        return len(ids)

    # Upkeep

    def repair(self) -> int:
        return self._writes.resolve_intents()

    def remove_orphans(self) -> int:
        with self._writes.exclusive():
            return self._writes.delete_orphans()


class _MongoTables:
    """:class:`retrieval.store.mongo_writes.Tables`, in bounded steps."""

    def __init__(self, uri: str) -> None:
        self._client = _connect(uri)
        self._address = _address(uri)
        with self._translated():
            self._database = self._client.get_default_database(
                "quotebase",
                CodecOptions(document_class=dict, tz_aware=True, tzinfo=UTC),
                ReadPreference.PRIMARY,
                WriteConcern("majority", j=True),
            )

    def prepare(self) -> None:
        with self._translated():
            self._check_version()
            for table, fields, is_unique in docs.INDEXES:
                self._database[table].create_index(fields, unique=is_unique)

    def _check_version(self) -> None:
        found = self.one("counters", {"_id": "schema_version"})
        if found is None:
            self.insert("counters", [{"_id": "schema_version", "last": SCHEMA_VERSION}])
        elif found["last"] > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"the database at {self._address} is of schema version {found['last']} and this program knows "
                f"{SCHEMA_VERSION}: open it with the newer quotebase that wrote it"
            )
        elif found["last"] < SCHEMA_VERSION:
            self._name_editions()

    def _name_editions(self) -> None:
        """Passages that are older than editions are of the first, also those of an exchange to be carried on."""
        passages, pending = self._database["passages"], self._database["pending"]
        passages.update_many({"edition": {"$exists": False}}, {"$set": {"edition": 0}})
        of_passages = {"table": "passages", "doc.edition": {"$exists": False}}
        pending.update_many(of_passages, {"$set": {"doc.edition": 0}})
        self.update("counters", "schema_version", {"last": SCHEMA_VERSION})

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (PyMongoError, BSONError) as error:
            raise StoreUnavailable(
                f"MongoDB at {self._address} cannot be used ({_reason(error)}): "
                "start MongoDB or correct QUOTEBASE_MONGODB_URI"
            ) from error

    def one(self, table: TableName, query: Mapping[str, object]) -> Doc | None:
        with self._translated():
            return self._database[table].find_one(query)

    def count(self, table: TableName, query: Mapping[str, object]) -> int:
        with self._translated():
            return self._database[table].count_documents(query)

    def in_order(
        self,
        table: TableName,
        query: Mapping[str, object],
        *fields: str,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Doc]:
        # To MongoDB, a limit of 0 is none.
        if limit == 0:
            return []
        direction = DESCENDING if newest_first else ASCENDING
        with self._translated():
            found = self._database[table].find(query, fields or None)
            return list(found.sort("no", direction).limit(limit or 0))

    def numbers(
        self, table: TableName, query: Mapping[str, object], skip: int, limit: int, newest_first: bool
    ) -> list[int]:
        direction = DESCENDING if newest_first else ASCENDING
        with self._translated():
            found = self._database[table].find(query, {"_id": 0, "no": 1})
            return [doc["no"] for doc in found.sort("no", direction).skip(skip).limit(limit)]

    def counts(self, table: TableName, field: str, values: Sequence[str]) -> dict[str, int]:
        """How many documents have each of the values in ``field``, if any has."""
        steps: list[Doc] = [
            {"$match": {field: {"$in": list(values)}}},
            {"$group": {"_id": f"${field}", "count": {"$sum": 1}}},
        ]
        with self._translated():
            return {doc["_id"]: doc["count"] for doc in self._database[table].aggregate(steps)}

    def among(self, table: TableName, field: str, values: Iterable[object], *fields: str) -> list[Doc]:
        found: list[Doc] = []
        projection = (*fields, "no") if fields else None
        with self._translated():
            for group in batched(dict.fromkeys(values), MAX_ITEMS):
                found += self._database[table].find({field: {"$in": group}}, projection)
        return sorted(found, key=lambda doc: int(doc["no"]))

    def each(self, table: TableName, field: str) -> Iterator[Any]:
        """``field`` of every document."""
        with self._translated():
            for doc in self._database[table].find({}, [field]):
                yield doc[field]

    def insert(self, table: TableName, documents: Iterable[Doc]) -> None:
        with self._translated():
            for group in batched(documents, MAX_ITEMS):
                self._database[table].insert_many(group)

    def insert_new(self, table: TableName, document: Doc) -> bool:
        """Whether there was none like it that a unique index forbids."""
        with self._translated():
            try:
                self._database[table].insert_one(document)
            except DuplicateKeyError:
                return False
        return True

    def update(self, table: TableName, key: str, fields: Mapping[str, object]) -> None:
        with self._translated():
            self._database[table].update_one({"_id": key}, {"$set": fields})

    def amend(self, table: TableName, key: str, fields: Mapping[str, object]) -> None:
        """:meth:`update` for fields with moments, of which NX-27017 makes texts there; nothing else may write."""
        old = self.one(table, {"_id": key}) or {}
        with self._translated():
            self._database[table].replace_one({"_id": key}, {**old, **fields})

    def delete(self, table: TableName, query: Mapping[str, object]) -> int:
        with self._translated():
            return self._database[table].delete_many(query).deleted_count

    def delete_ids(self, table: TableName, ids: Iterable[object]) -> None:
        for group in batched(ids, MAX_ITEMS):
            self.delete(table, {"_id": {"$in": group}})

    def take(self, count: int, counter: str = "sequence") -> int:
        with self._translated():
            taken = self._database["counters"].find_one_and_update(
                {"_id": counter},
                {"$inc": {"last": count}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            if taken is None:
                raise PyMongoError(f"counter {counter!r} cannot be written")
        return int(taken["last"]) - count + 1


def _table(dataset: Dataset) -> TableName:
    return "folders" if dataset.is_folder else "datasets"


def _name_taken(name: str) -> NameTaken:
    return NameTaken(f"there is a dataset named {name!r} already: choose another name")


def _connect(uri: str) -> MongoClient[Doc]:
    """A client, which connects when first used."""
    patience: dict[str, Any] = (
        {} if "serverselectiontimeoutms=" in uri.lower() else {"serverSelectionTimeoutMS": PATIENCE_MS}
    )
    try:
        return MongoClient(uri, **patience)
    except (PyMongoError, ValueError):
        # What pymongo says of a broken URI may quote the password.
        raise StoreUnavailable(
            "QUOTEBASE_MONGODB_URI cannot be used: it should look like mongodb://host:27017/quotebase or "
            "mongodb://user:password@host:27017/quotebase, with user and password percent-encoded"
        ) from None


def _address(uri: str) -> str:
    """Hosts and ports, without user and password."""
    hosts = re.split("[/?]", uri.partition("://")[2], maxsplit=1)[0]
    return hosts.rpartition("@")[2]


def _reason(error: Exception) -> str:
    """Without the documents and topologies that pymongo appends."""
    return re.split(r", (?:full error|Timeout|Topology Description): ", str(error), maxsplit=1)[0]
