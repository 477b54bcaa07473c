"""What the store tests share: where a store lies, drafts to put into it, an index that follows it."""

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pymongo

from retrieval.passages import whole_passages
from retrieval.store import Store, drain, open_store
from retrieval.types import Changes, EmbeddedDraft, ModelBinding, PassageBlock, RecordDraft, StoredEmbeddings

DIM = 4
MODEL = ModelBinding("test/hash", DIM, "f" * 16)


class Place:
    """A data directory or database, to be opened as often as a test likes."""

    def __init__(self, data_dir: Path, mongodb_uri: str | None = None) -> None:
        self._data_dir = data_dir
        self._mongodb_uri = mongodb_uri
        self._opened: list[Store] = []

    def open(self) -> Store:
        self._opened.append(open_store(self._data_dir, self._mongodb_uri))
        return self._opened[-1]

    def forbid(self, collection_id: str, is_forbidden: bool = True) -> None:
        """Written into the database itself: no method of a store does it."""
        if self._mongodb_uri:
            with pymongo.MongoClient[dict[str, Any]](self._mongodb_uri) as client:
                collections = client.get_default_database()["collections"]
                change = {"$set": {"forbid": is_forbidden}}
                assert collections.update_one({"_id": collection_id}, change).matched_count == 1
            return
        with closing(sqlite3.connect(self._data_dir / "quotebase.sqlite")) as db, db:
            statement = "UPDATE collections SET forbid = ? WHERE id = ?"
            assert db.execute(statement, (is_forbidden, collection_id)).rowcount == 1

    def counts(self) -> dict[str, int]:
        """Rows or documents, looked at without a store."""
        tables = ("datasets", "collections", "records", "passages", "removals")
        if self._mongodb_uri:
            with pymongo.MongoClient[dict[str, Any]](self._mongodb_uri) as client:
                database = client.get_default_database()
                return {table: database[table].count_documents({}) for table in tables}
        with closing(sqlite3.connect(self._data_dir / "quotebase.sqlite")) as db:
            return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    def close(self) -> None:
        for store in self._opened:
            store.close()


class Index:
    """The plainest index there is: passage id → collection key and embedding."""

    def __init__(self) -> None:
        self.passages: dict[int, tuple[int, bytes]] = {}
        self.watermark = 0
        self.steps = 0

    def apply(self, changes: Changes) -> None:
        assert changes.watermark >= self.watermark
        self.passages |= rows_of(changes.added)
        for passage_id in changes.removed.tolist():
            self.passages.pop(passage_id, None)
        self.watermark = changes.watermark
        self.steps += 1

    def catch_up(self, store: Store, dataset_id: str, limit: int = 20_000) -> "Index":
        for changes in drain(store.changes_after, dataset_id, self.watermark, limit):
            assert len(changes.added) <= limit
            assert len(changes.removed) <= limit
            self.apply(changes)
        return self


def rows_of(block: PassageBlock) -> dict[int, tuple[int, bytes]]:
    rows = zip(block.ids.tolist(), block.collection_keys.tolist(), block.embeddings, strict=True)
    return {passage_id: (key, row.tobytes()) for passage_id, key, row in rows}


def embedding_of(text: str) -> bytes:
    """Any bits, among them those of NaN, -0 and infinity."""
    return hashlib.blake2b(text.encode(), digest_size=2 * DIM).digest()


def embedded(q: str, a: str = "", *indexes: str, chunk_index: int = 0, tokens: int = 7) -> EmbeddedDraft:
    draft = RecordDraft(q, a, indexes, chunk_index)
    return EmbeddedDraft(draft, tokens, whole_passages(draft), embeddings_of(draft.texts))


def embeddings_of(texts: Iterable[str]) -> StoredEmbeddings:
    return np.frombuffer(b"".join(map(embedding_of, texts)), dtype=np.float16).reshape(-1, DIM)
