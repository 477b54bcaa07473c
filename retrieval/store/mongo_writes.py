"""Writes to MongoDB that take several steps, each whole or undone in the end.

What is to be written is announced in ``intents`` first. An add that did not get to its end is taken
back, a delete is carried on: at once if the server still answers, else before the next write of this
process, or when the database is repaired.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from retrieval.batched import batched
from retrieval.errors import StoreUnavailable
from retrieval.store.mongo_documents import Batch, Doc, TableName
from retrieval.types import Collection, new_id

ABOVE_ALL = 2**62
"""A number that nothing has."""


class Tables(Protocol):
    """MongoDB's collections. Any method raises StoreUnavailable."""

    def in_order(
        self,
        table: TableName,
        query: Mapping[str, object],
        *fields: str,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Doc]:
        """``fields``, or all, of the first ``limit`` documents, or all, by ``no``."""
        ...

    def among(self, table: TableName, field: str, values: Iterable[object], *fields: str) -> list[Doc]:
        """``fields``, or all, of the documents whose ``field`` is one of the values, by ``no``."""
        ...

    def each(self, table: TableName, field: str) -> Iterator[Any]:
        """``field`` of every document."""
        ...

    def insert(self, table: TableName, documents: Iterable[Doc]) -> None: ...

    def delete(self, table: TableName, query: Mapping[str, object]) -> int: ...

    def delete_ids(self, table: TableName, ids: Iterable[object]) -> None: ...

    def take(self, count: int, counter: str = "sequence") -> int:
        """The first of ``count`` numbers, now taken."""
        ...


class Writes:
    """One at a time. Call them inside :meth:`exclusive` only."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = threading.RLock()
        self._is_settled = True

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone with a database in which nothing is half-done, before and (if it can be) after."""
        with self._lock:
            self._settle()
            try:
                yield
            except BaseException:
                with suppress(StoreUnavailable):
                    self._settle()
                raise

    def _settle(self) -> None:
        if not self._is_settled:
            self.resolve_intents()

    def add(self, batch: Batch) -> list[int]:
        """No passage has to go for it."""
        self._add(batch.passages, batch.records)
        return []

    def add_passages(self, passages: Sequence[Doc]) -> None:
        """To records that are there."""
        self._add(passages, ())

    def _add(self, passages: Sequence[Doc], records: Sequence[Doc]) -> None:
        if not passages:
            return
        first, last = passages[0], passages[-1]
        intent = self._announce("add", dataset=first["dataset"], first=first["no"], last=last["no"])
        self._tables.insert("passages", passages)
        self._tables.insert("records", records)
        self._forget(intent)
        self._is_settled = True

    def exchange(self, batch: Batch, gone: Sequence[str]) -> list[int]:
        """Delete records and add a batch, which may have records of the same ids; the passages that went.

        What is to be added is laid down beside the tables first, so that from then on the whole can
        be carried on, and until then nothing has changed.
        """
        intent = self._announce("lay down")
        places = [
            *(("passages", doc) for doc in batch.passages),
            *(("records", doc) for doc in batch.records),
        ]
        self._tables.insert(
            "pending",
            [
                {
                    "_id": f"{intent['_id']}/{no}",
                    "no": no,
                    "intent": intent["_id"],
                    "table": table,
                    "doc": doc,
                }
                for no, (table, doc) in enumerate(places)
            ],
        )
        passages = self._tables.among("passages", "record", gone, "record")
        first = self._tables.take(len(passages)) if passages else 0
        self._announce("exchange", records=list(gone), first=first, laid_down=intent["_id"])
        self.resolve_intents()
        return [passage["_id"] for passage in passages]

    def delete_records(self, record_ids: Sequence[str]) -> list[int]:
        passages = self._tables.among("passages", "record", record_ids, "record")
        records = self._tables.among("records", "_id", record_ids, "_id")
        found = dict.fromkeys([*(doc["_id"] for doc in records), *(doc["record"] for doc in passages)])
        if found:
            first = self._tables.take(len(passages))
            self._announce("delete records", records=list(found), first=first)
            self.resolve_intents()
        return [passage["_id"] for passage in passages]

    def delete_orphans(self) -> int:
        orphans = [
            *self._without_partner("passages", "record", "records", "_id"),
            *self._without_partner("records", "_id", "passages", "record"),
        ]
        self.delete_records(orphans)
        return len(orphans)

    def _without_partner(self, table: TableName, field: str, others: TableName, key: str) -> list[str]:
        """``field`` of each document whose ``field`` is no ``key`` of the others."""
        lonely: list[str] = []
        for group in batched(self._tables.each(table, field), 1000):
            partners = {doc[key] for doc in self._tables.among(others, key, group, key)}
            lonely += [value for value in group if value not in partners]
        return lonely

    def delete_collection(self, collection: Collection, passage_count: int) -> None:
        first = self._tables.take(passage_count)
        self._announce("delete collection", collection_id=collection.id, key=collection.key, first=first)
        self.resolve_intents()

    def purge(self, dataset_id: str, limit: int) -> None:
        """Delete the first ``limit`` documents of a deleted dataset, or the dataset that has none."""
        records = self._tables.in_order("records", {"dataset": dataset_id}, "no", limit=limit + 1)
        if records:
            # Passages have the numbers from that of their record to that of the next.
            last = records[limit]["no"] - 1 if len(records) > limit else ABOVE_ALL
            self._announce("purge", dataset=dataset_id, first=records[0]["no"], last=last)
            self.resolve_intents()
            return
        leftovers: tuple[TableName, ...] = ("passages", "removals", "collections")
        for table in leftovers:
            found = self._tables.in_order(table, {"dataset": dataset_id}, "no", limit=limit)
            if found:
                self._tables.delete(table, {"dataset": dataset_id, "no": {"$lte": found[-1]["no"]}})
                return
        self._tables.delete("datasets", {"_id": dataset_id})

    def _announce(self, kind: str, **details: object) -> Doc:
        intent: Doc = {"_id": new_id(), "no": self._tables.take(1, "intents"), "kind": kind, **details}
        self._is_settled = False
        self._tables.insert("intents", [intent])
        return intent

    def _forget(self, intent: Doc) -> None:
        self._tables.delete("intents", {"_id": intent["_id"]})

    def resolve_intents(self) -> int:
        """Those of this process or of one that died; how many there were."""
        with self._lock:
            # The newest first, as each was made on top of what the older ones left behind.
            intents = self._tables.in_order("intents", {}, newest_first=True)
            for intent in intents:
                self._resolve(intent)
                self._forget(intent)
            self._is_settled = True
            return len(intents)

    def _resolve(self, intent: Doc) -> None:
        """Can be cut off anywhere and done again."""
        match intent["kind"]:
            case "add" | "purge":
                self._clear_span(intent)
            case "lay down":
                self._tables.delete("pending", {"intent": intent["_id"]})
            case "exchange":
                self._exchange(intent)
            case "delete records":
                self._clear_records(intent["records"], intent["first"])
            case "delete collection":
                self._clear_collection(intent["collection_id"], intent["key"], intent["first"])
            case "delete dataset":
                self._clear_dataset(intent["dataset"])

    def _clear_span(self, intent: Doc) -> None:
        span = {"dataset": intent["dataset"], "no": {"$gte": intent["first"], "$lte": intent["last"]}}
        self._tables.delete("records", span)
        self._tables.delete("passages", span)

    def _exchange(self, intent: Doc) -> None:
        """The old records go when the new ones are not in yet: they may have the same ids."""
        laid_down = {"intent": intent["laid_down"]}
        pending = self._tables.in_order("pending", laid_down)
        new_passages = [doc["doc"] for doc in pending if doc["table"] == "passages"]
        new_records = [doc["doc"] for doc in pending if doc["table"] == "records"]
        self._tables.delete_ids("passages", [doc["_id"] for doc in new_passages])
        self._clear_records(intent["records"], intent["first"])
        self._tables.delete_ids("records", [doc["_id"] for doc in new_records])
        self._tables.insert("passages", new_passages)
        self._tables.insert("records", new_records)

    def _clear_records(self, record_ids: list[str], first: int) -> None:
        passages = self._tables.among("passages", "record", record_ids, "dataset")
        self._note_removals(passages, first)
        self._tables.delete_ids("passages", [passage["_id"] for passage in passages])
        self._tables.delete_ids("records", record_ids)

    def _clear_collection(self, collection_id: str, key: int, first: int) -> None:
        self._note_removals(self._tables.in_order("passages", {"collection": key}, "dataset"), first)
        self._tables.delete("passages", {"collection": key})
        self._tables.delete("records", {"collection_id": collection_id})
        self._tables.delete("collections", {"_id": collection_id})

    def _clear_dataset(self, dataset_id: str) -> None:
        """Announced by versions that deleted a dataset in one go."""
        self._tables.delete("datasets", {"_id": dataset_id})
        self._tables.delete("collections", {"dataset": dataset_id})
        self._tables.delete("passages", {"dataset": dataset_id})
        self._tables.delete("records", {"dataset": dataset_id})
        self._tables.delete("removals", {"dataset": dataset_id})

    def _note_removals(self, passages: Sequence[Doc], first: int) -> None:
        """Number the removals from ``first``, but for those that are noted already.

        No passage goes before all are noted. So if some are missing, the passages are still those of
        the first try, and each removal gets the number that it was to have.
        """
        notes = [
            {"_id": no, "no": no, "dataset": passage["dataset"], "passage": passage["_id"]}
            for no, passage in enumerate(passages, first)
        ]
        noted = {
            note["_id"]
            for note in self._tables.among("removals", "_id", (note["_id"] for note in notes), "_id")
        }
        self._tables.insert("removals", [note for note in notes if note["_id"] not in noted])
