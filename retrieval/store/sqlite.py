"""The store in one SQLite file: write-ahead log, every commit synced, one writer, many readers."""

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Collection as AnyOf
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.batched import batched
from retrieval.errors import (
    CollectionNotFound,
    DatasetNotFound,
    NameTaken,
    RecordNotFound,
    StoreUnavailable,
)
from retrieval.store import KnownRecord, Stored
from retrieval.store import sqlite_editions as editions
from retrieval.store.blocks import (
    PassageRow,
    by_content,
    replaced_by,
    to_block,
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
from retrieval.store.schema import MIGRATIONS
from retrieval.store.sqlite_connections import Connections
from retrieval.store.sqlite_pages import (
    collection_keys,
    counts_of_records,
    document_seqs,
    ids_below,
    record_keys,
)
from retrieval.store.sqlite_purge import purge_step
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

MAX_VARIABLES = 500
"""Values in one statement; every SQLite build takes as many."""

Row = tuple[Any, ...]

_ABOUT = """id, name, model_name, model_dim, model_fingerprint, intro, created_ms, updated_ms,
    parent_id, avatar"""
_DATASET = f"SELECT {_ABOUT}, 0, edition FROM datasets WHERE is_deleted = 0"
_FOLDER = f"SELECT {_ABOUT}, 1, 0 FROM folders"
_OF_DATASET = "JOIN datasets d ON d.key = c.dataset_key AND d.is_deleted = 0"
_COLLECTION = f"""SELECT c.id, c.key, d.id, c.name, c.tags, c.forbid, c.created_ms, c.updated_ms,
    c.parent_id, c.kind, c.metadata FROM collections c {_OF_DATASET}"""
_RECORD = """r.id, d.id, c.id, r.q, r.a, r.chunk_index, r.tokens, r.updated_ms,
    r.known_as, r.title, r.metadata"""
_OF_COLLECTION = f"JOIN collections c ON c.key = r.collection_key {_OF_DATASET}"
_KNOWN = "SELECT key, id, known_as, content_hash, metadata FROM records"
_DOCUMENT = "SELECT kind, id, grouped_by, seq, body FROM documents"
_SEARCHED = "p.edition = (SELECT edition FROM datasets WHERE key = p.dataset_key)"
_GIVEN = "(SELECT value FROM json_each(?))"
_SOURCES = f"""SELECT p.id, c.name, {_RECORD} FROM passages p JOIN records r ON r.key = p.record_key
    {_OF_COLLECTION} WHERE p.id IN {_GIVEN}"""


class SqliteStore:
    """A :class:`retrieval.store.Store` in a file, which it creates or brings to its own version.

    Raises:
        StoreUnavailable: the file cannot be opened, is no database, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections = Connections(path)
        self._writing = threading.RLock()
        try:
            self._rows("PRAGMA journal_mode = WAL")
            self._migrate()
        except BaseException:
            self.close()
            raise

    # Transactions

    def _migrate(self) -> None:
        if self._rows("PRAGMA user_version")[0][0] == len(MIGRATIONS):
            return
        with self._transaction() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise StoreUnavailable(
                    f"{self._path} is of schema version {version} and this program knows {len(MIGRATIONS)}: "
                    "open it with the newer quotebase that wrote it"
                )
            for statement in (statement for migration in MIGRATIONS[version:] for statement in migration):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on disk when it ends."""
        with self._connections as db, self._writing:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, *values: object) -> list[Row]:
        with self._connections as db:
            return db.execute(sql, values).fetchall()

    def close(self) -> None:
        self._connections.close()

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
        with self._transaction() as db:
            check_dataset_parent(self.get_dataset, parent_id)
            if not is_folder:
                self._check_is_free(name)
            db.execute(
                f"INSERT INTO {_table(dataset)} ({_ABOUT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(dataset.id, name, model.name, model.dim, model.fingerprint, intro),
                    *(_ms(moment), _ms(moment), parent_id, avatar),
                ),
            )
        return dataset

    def _check_is_free(self, name: str) -> None:
        if self.find_dataset(name):
            raise NameTaken(f"there is a dataset named {name!r} already: choose another name")

    def get_dataset(self, dataset_id: str) -> Dataset:
        rows = self._rows(f"{_DATASET} AND id = ? UNION ALL {_FOLDER} WHERE id = ?", dataset_id, dataset_id)
        if not rows:
            raise _no_dataset(dataset_id)
        return _dataset(rows[0])

    def find_dataset(self, name: str) -> Dataset | None:
        rows = self._rows(f"{_DATASET} AND name = ?", name)
        return _dataset(rows[0]) if rows else None

    def list_datasets(self) -> list[Dataset]:
        return [_dataset(row) for row in self._rows(f"{_DATASET} ORDER BY key")]

    def list_folders(self) -> list[Dataset]:
        return [_dataset(row) for row in self._rows(f"{_FOLDER} ORDER BY key")]

    def update_dataset(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        intro: str | None = None,
        avatar: str | None = None,
        parent_id: str | None = None,
    ) -> Dataset:
        with self._transaction() as db:
            old = self.get_dataset(dataset_id)
            check_dataset_parent(self.get_dataset, parent_id or "", dataset_id)
            if name is not None and name != old.name and not old.is_folder:
                self._check_is_free(name)
            db.execute(
                f"""UPDATE {_table(old)} SET name = coalesce(?, name), intro = coalesce(?, intro),
                avatar = coalesce(?, avatar), parent_id = coalesce(?, parent_id), updated_ms = ? WHERE id = ?""",
                (name, intro, avatar, parent_id, _ms(now()), dataset_id),
            )
            return self.get_dataset(dataset_id)

    def delete_dataset(self, dataset_id: str) -> None:
        with self._transaction() as db:
            dataset = self.get_dataset(dataset_id)
            if dataset.is_folder:
                check_is_empty(dataset, [*self.list_datasets(), *self.list_folders()])
                db.execute("DELETE FROM folders WHERE id = ?", (dataset_id,))
            else:
                # A blob is equal to no text: the name is free.
                db.execute(
                    "UPDATE datasets SET is_deleted = 1, name = CAST(id AS BLOB) WHERE id = ?", (dataset_id,)
                )

    def purge(self, limit: int) -> bool:
        with self._transaction() as db:
            return purge_step(db, limit)

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
        with self._transaction() as db:
            dataset_key = self._dataset_key(dataset_id)
            check_collection_parent(self.get_collection, dataset_id, parent_id)
            key = _take(db, 1)
            collection = Collection(
                new_id(),
                key,
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
            db.execute(
                """INSERT INTO collections (key, id, dataset_key, name, tags, forbid, created_ms, updated_ms,
                parent_id, kind, metadata) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)""",
                (
                    *(key, collection.id, dataset_key, name, json.dumps(collection.tags)),
                    *(_ms(moment), _ms(moment), parent_id, kind, _to_json(collection.metadata)),
                ),
            )
        return collection

    def get_collection(self, collection_id: str) -> Collection:
        rows = self._rows(f"{_COLLECTION} WHERE c.id = ?", collection_id)
        if not rows:
            raise _no_collection(collection_id)
        return _collection(rows[0])

    def find_collection(self, dataset_id: str, name: str) -> Collection | None:
        rows = self._rows(
            f"{_COLLECTION} WHERE d.id = ? AND c.name = ? AND c.kind != ? ORDER BY c.key LIMIT 1",
            dataset_id,
            name,
            FOLDER,
        )
        return _collection(rows[0]) if rows else None

    def list_collections(self, dataset_id: str) -> list[Collection]:
        self.get_dataset(dataset_id)
        return [
            _collection(row) for row in self._rows(f"{_COLLECTION} WHERE d.id = ? ORDER BY c.key", dataset_id)
        ]

    def forbidden_keys(self, dataset_id: str) -> frozenset[int]:
        rows = self._rows(
            """SELECT key FROM collections WHERE forbid = 1
            AND dataset_key = (SELECT key FROM datasets WHERE id = ? AND is_deleted = 0)""",
            dataset_id,
        )
        return frozenset(row[0] for row in rows)

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
        with self._transaction() as db:
            dataset_id = self.get_collection(collection_id).dataset_id
            check_collection_parent(self.get_collection, dataset_id, parent_id or "", collection_id)
            db.execute(
                """UPDATE collections SET name = coalesce(?, name), parent_id = coalesce(?, parent_id),
                tags = coalesce(?, tags), forbid = coalesce(?, forbid), created_ms = coalesce(?, created_ms),
                metadata = coalesce(?, metadata), updated_ms = ? WHERE id = ?""",
                (
                    *(name, parent_id, None if tags is None else json.dumps(tuple(tags)), forbid),
                    *(None if created_at is None else _ms(created_at),),
                    *(None if metadata is None else _to_json(metadata), _ms(now()), collection_id),
                ),
            )
            return self.get_collection(collection_id)

    def page_collections(
        self, dataset_id: str, parent_id: str | None, search: str, offset: int, limit: int
    ) -> Page[Collection]:
        if self.get_dataset(dataset_id).is_folder:
            return Page((), 0)
        with self._dataset_read(dataset_id) as (db, key):
            keys, total = collection_keys(db, key, parent_id, search, offset, limit)
            rows = self._rows(f"{_COLLECTION} WHERE c.key IN {_GIVEN} ORDER BY c.key DESC", json.dumps(keys))
        return Page(tuple(map(_collection, rows)), total)

    def children_of(self, collection_id: str) -> list[str]:
        with self._connections as db:
            return ids_below(db, _collection_keys(db, collection_id)[0])

    def delete_collection(self, collection_id: str) -> None:
        with self._transaction() as db:
            key, _ = _collection_keys(db, collection_id)
            rows = db.execute(
                """SELECT p.id, p.dataset_key FROM records r JOIN passages p ON p.record_key = r.key
                WHERE r.collection_key = ? ORDER BY p.id""",
                (key,),
            )
            _note_removals(db, rows.fetchall())
            db.execute("DELETE FROM collections WHERE key = ?", (key,))

    # Records and passages

    def add_records(
        self, collection: Collection, drafts: Sequence[EmbeddedDraft], gone: Sequence[str] = ()
    ) -> Stored:
        with self._transaction() as db:
            key, dataset_key = _collection_keys(db, collection.id)
            removed = _delete_records(db, replaced_by(drafts, gone), key)
            by_hash = by_content(drafts)
            known = _known(db, key, by_hash)
            fresh = {digest: item for digest, item in by_hash.items() if digest not in known}
            records, first_record = _insert_records(db, collection, fresh)
            rows = _insert_passages(db, list(fresh.values()), first_record, key, dataset_key)
        dim = drafts[0].embeddings.shape[1] if drafts else 0
        return Stored(tuple(records), to_block(rows, dim), np.array(removed, dtype=np.int64))

    def known_hashes(self, collection_id: str, hashes: AnyOf[bytes]) -> set[bytes]:
        with self._connections as db:
            key, _ = _collection_keys(db, collection_id)
            return _known(db, key, hashes)

    def known_records(self, collection_id: str, keys: AnyOf[str] | None = None) -> list[KnownRecord]:
        with self._connections as db:
            key, _ = _collection_keys(db, collection_id)
            if keys is None:
                rows = db.execute(f"{_KNOWN} WHERE collection_key = ?", (key,)).fetchall()
            else:
                # Not as JSON: SQLite ends a text there at its first NUL.
                rows = [
                    row
                    for group in batched(dict.fromkeys(keys), MAX_VARIABLES)
                    for row in db.execute(
                        f"{_KNOWN} WHERE collection_key = ? AND known_as IN ({', '.join('?' * len(group))})",
                        (key, *group),
                    )
                ]
        return [KnownRecord(row[1], row[2], row[3], json.loads(row[4])) for row in sorted(rows)]

    def embeddings_of(self, record_ids: Sequence[str]) -> dict[str, StoredEmbeddings]:
        rows = self._rows(
            f"""SELECT p.text, p.embedding FROM records r {_OF_COLLECTION}
            JOIN passages p ON p.record_key = r.key WHERE r.id IN {_GIVEN} AND {_SEARCHED}""",
            json.dumps(list(record_ids)),
        )
        return {text: to_embedding(embedding) for text, embedding in rows}

    def get_record(self, record_id: str) -> Record:
        rows = self._rows(f"SELECT {_RECORD} FROM records r {_OF_COLLECTION} WHERE r.id = ?", record_id)
        if not rows:
            raise RecordNotFound(f"there is no record with the id {record_id!r}")
        return _record(rows[0])

    def find_record(self, collection_id: str, content_hash: bytes) -> Record | None:
        rows = self._rows(
            f"SELECT {_RECORD} FROM records r {_OF_COLLECTION} WHERE c.id = ? AND r.content_hash = ?",
            collection_id,
            content_hash,
        )
        return _record(rows[0]) if rows else None

    def page_records(self, collection_id: str, search: str, offset: int, limit: int) -> Page[Record]:
        with self._reading() as db:
            key, _ = _collection_keys(db, collection_id)
            keys, total = record_keys(db, key, search, offset, limit)
            rows = self._rows(
                f"SELECT {_RECORD} FROM records r {_OF_COLLECTION} WHERE r.key IN {_GIVEN} ORDER BY r.key",
                json.dumps(keys),
            )
        return Page(tuple(map(_record, rows)), total)

    def list_records(self, collection_id: str, limit: int = 1000) -> list[Record]:
        return next(self.record_pages(collection_id, limit), [])

    def record_pages(self, collection_id: str, size: int) -> Iterator[list[Record]]:
        # The key of a deleted record may be given again, but none above which a record is left to read.
        last = 0
        while rows := self._rows(
            f"""SELECT r.key, {_RECORD} FROM records r {_OF_COLLECTION} WHERE c.id = ? AND r.key > ?
            ORDER BY r.key LIMIT ?""",
            collection_id,
            last,
            size,
        ):
            last = rows[-1][0]
            yield [_record(row[1:]) for row in rows]

    def records_in(self, dataset_id: str, record_ids: AnyOf[str]) -> list[str]:
        rows = self._rows(
            f"SELECT r.id FROM records r {_OF_COLLECTION} WHERE d.id = ? AND r.id IN {_GIVEN}",
            dataset_id,
            json.dumps(list(record_ids)),
        )
        return [row[0] for row in rows]

    def sources_of(self, passage_ids: Sequence[int]) -> dict[int, tuple[Record, str]]:
        rows = self._rows(_SOURCES, json.dumps(list(passage_ids)))
        return {row[0]: (_record(row[2:]), row[1]) for row in rows}

    def passages_of(self, record_ids: Sequence[str]) -> dict[str, tuple[Passage, ...]]:
        rows = self._rows(
            f"""SELECT r.id, p.id, p.text, p.is_default, p.start FROM records r {_OF_COLLECTION}
            JOIN passages p ON p.record_key = r.key WHERE r.id IN {_GIVEN} AND {_SEARCHED} ORDER BY p.id""",
            json.dumps(list(record_ids)),
        )
        passages: defaultdict[str, list[Passage]] = defaultdict(list)
        for record_id, passage_id, text, is_default, start in rows:
            passages[record_id].append(Passage(passage_id, text, bool(is_default), start))
        return {record_id: tuple(found) for record_id, found in passages.items()}

    def delete_records(self, record_ids: Sequence[str]) -> list[int]:
        with self._transaction() as db:
            found = self._rows(
                f"SELECT r.id FROM records r {_OF_COLLECTION} WHERE r.id IN {_GIVEN}",
                json.dumps(list(record_ids)),
            )
            return _delete_records(db, [row[0] for row in found])

    def passage_ids_of(self, record_ids: Sequence[str]) -> list[int]:
        rows = self._rows(
            f"""SELECT p.id FROM records r {_OF_COLLECTION}
            JOIN passages p ON p.record_key = r.key WHERE r.id IN {_GIVEN} AND {_SEARCHED} ORDER BY p.id""",
            json.dumps(list(record_ids)),
        )
        return [row[0] for row in rows]

    def passage_ids_in(self, collection_id: str) -> list[int]:
        rows = self._rows(
            f"""SELECT p.id FROM collections c {_OF_DATASET} JOIN records r ON r.collection_key = c.key
            JOIN passages p ON p.record_key = r.key WHERE c.id = ? AND {_SEARCHED} ORDER BY p.id""",
            collection_id,
        )
        return [row[0] for row in rows]

    def count_records(self, dataset_id: str) -> int:
        return self._count(f"records r {_OF_COLLECTION} WHERE d.id = ?", dataset_id)

    def count_records_in(self, collection_ids: Sequence[str]) -> dict[str, int]:
        with self._connections as db:
            found = counts_of_records(db, collection_ids)
        return {collection_id: found.get(collection_id, 0) for collection_id in collection_ids}

    def count_passages(self, dataset_id: str, edition: int | None = None) -> int:
        return self._count(
            """datasets d JOIN passages p ON p.dataset_key = d.key AND p.edition = coalesce(?, d.edition)
            WHERE d.id = ? AND d.is_deleted = 0""",
            edition,
            dataset_id,
        )

    def _count(self, what: str, *values: object) -> int:
        return int(self._rows(f"SELECT count(*) FROM {what}", *values)[0][0])

    # What an index needs to catch up

    def changes_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> Changes:
        with self._dataset_read(dataset_id) as (db, key):
            (dim,) = db.execute("SELECT model_dim FROM datasets WHERE key = ?", (key,)).fetchone()
            added = _passages_after(db, "embedding", key, edition, watermark, limit)
            removed = _removals_after(db, key, watermark, limit)
        return to_changes(added, removed, watermark, limit, dim)

    def texts_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> TextChanges:
        with self._dataset_read(dataset_id) as (db, key):
            added = _passages_after(db, "text", key, edition, watermark, limit)
            removed = _removals_after(db, key, watermark, limit)
        return to_text_changes(added, removed, watermark, limit)

    @contextmanager
    def _dataset_read(self, dataset_id: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Statements that see one state of the dataset with that key. Raises DatasetNotFound, InvalidRequest."""
        with self._reading() as db:
            yield db, self._dataset_key(dataset_id)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Statements that see one state."""
        with self._connections as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("COMMIT")

    def _dataset_key(self, dataset_id: str) -> int:
        rows = self._rows("SELECT key FROM datasets WHERE id = ? AND is_deleted = 0", dataset_id)
        if not rows:
            check_has_collections(self.get_dataset(dataset_id))
            raise _no_dataset(dataset_id)
        return int(rows[0][0])

    # Editions

    def find_edition(self, dataset_id: str) -> Edition | None:
        with self._dataset_read(dataset_id) as (db, key):
            return editions.find(db, key)

    def begin_edition(self, dataset_id: str, model: ModelBinding) -> Edition:
        with self._transaction() as db:
            return editions.begin(db, self._dataset_key(dataset_id), _take(db, 1), model)

    def records_in_edition(self, dataset_id: str, record_ids: Sequence[str]) -> set[str]:
        with self._dataset_read(dataset_id) as (db, key):
            return editions.records_in(db, key, record_ids)

    def add_to_edition(self, dataset_id: str, remade: Sequence[Remade]) -> int:
        with self._transaction() as db:
            key = self._dataset_key(dataset_id)
            return editions.add(db, key, remade, lambda count: _take(db, count))

    def exchange_editions(self, dataset_id: str) -> Dataset:
        with self._transaction() as db:
            editions.exchange(db, self._dataset_key(dataset_id), _ms(now()))
        return self.get_dataset(dataset_id)

    def discard_edition(self, dataset_id: str) -> None:
        is_done = False
        while not is_done:
            with self._transaction() as db:
                is_done = editions.delete_step(db, self._dataset_key(dataset_id))

    def last_sequence(self) -> int:
        return int(self._rows("SELECT last FROM sequence")[0][0])

    # Documents of the layers above

    def put_document(
        self, kind: str, document_id: str, body: Mapping[str, object], group: str = ""
    ) -> Document:
        with self._transaction() as db:
            (seq,) = db.execute(
                """INSERT INTO documents (kind, id, grouped_by, body) VALUES (?, ?, ?, ?)
                ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, grouped_by = excluded.grouped_by
                RETURNING seq""",
                (kind, document_id, group, _to_json(body)),
            ).fetchone()
        return Document(kind, document_id, group, seq, body)

    def find_document(self, kind: str, document_id: str) -> Document | None:
        rows = self._rows(f"{_DOCUMENT} WHERE kind = ? AND id = ?", kind, document_id)
        return _document(rows[0]) if rows else None

    def list_documents(
        self, kind: str, group: str | None = None, newest: int | None = None
    ) -> list[Document]:
        rows = self._rows(
            f"{_DOCUMENT} WHERE kind = ? AND grouped_by = coalesce(?, grouped_by) ORDER BY seq DESC LIMIT ?",
            kind,
            group,
            -1 if newest is None else newest,
        )
        return [_document(row) for row in reversed(rows)]

    def page_documents(
        self, kind: str, group: str, offset: int, limit: int, newest_first: bool = False
    ) -> Page[Document]:
        with self._reading() as db:
            seqs, total = document_seqs(db, kind, group, offset, limit, newest_first)
            direction = "DESC" if newest_first else "ASC"
            rows = self._rows(f"{_DOCUMENT} WHERE seq IN {_GIVEN} ORDER BY seq {direction}", json.dumps(seqs))
        return Page(tuple(map(_document, rows)), total)

    def delete_document(self, kind: str, document_id: str) -> bool:
        with self._transaction() as db:
            deleted = db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, document_id))
            return deleted.rowcount > 0

    def delete_documents(self, kind: str, group: str) -> int:
        with self._transaction() as db:
            deleted = db.execute("DELETE FROM documents WHERE kind = ? AND grouped_by = ?", (kind, group))
            return deleted.rowcount

    # Upkeep

    def repair(self) -> int:
        # A transaction that did not commit was never there.
        return 0

    def remove_orphans(self) -> int:
        # Foreign keys hold passages to records; a record is inserted with its passages or not at all.
        return 0


def _take(db: sqlite3.Connection, count: int) -> int:
    """The first of ``count`` numbers of the sequence, now taken."""
    (last,) = db.execute("UPDATE sequence SET last = last + ? RETURNING last", (count,)).fetchone()
    return int(last) - count + 1


def _table(dataset: Dataset) -> str:
    return "folders" if dataset.is_folder else "datasets"


def _no_dataset(dataset_id: str) -> DatasetNotFound:
    return DatasetNotFound(f"there is no dataset with the id {dataset_id!r}")


def _collection_keys(db: sqlite3.Connection, collection_id: str) -> tuple[int, int]:
    """Keys of the collection and of its dataset."""
    row = db.execute(
        f"SELECT c.key, d.key FROM collections c {_OF_DATASET} WHERE c.id = ?", (collection_id,)
    ).fetchone()
    if row is None:
        raise _no_collection(collection_id)
    return int(row[0]), int(row[1])


def _no_collection(collection_id: str) -> CollectionNotFound:
    return CollectionNotFound(f"there is no collection with the id {collection_id!r}")


def _known(db: sqlite3.Connection, collection_key: int, hashes: AnyOf[bytes]) -> set[bytes]:
    known: set[bytes] = set()
    for group in batched(hashes, MAX_VARIABLES):
        rows = db.execute(
            f"""SELECT content_hash FROM records WHERE collection_key = ?
            AND content_hash IN ({", ".join("?" * len(group))})""",
            (collection_key, *group),
        )
        known.update(row[0] for row in rows)
    return known


def _delete_records(
    db: sqlite3.Connection, record_ids: Sequence[str], collection_key: int | None = None
) -> list[int]:
    """Delete those that exist, in one collection if it is given; the ids of their passages."""
    if not record_ids:
        return []
    given = (json.dumps(list(record_ids)), collection_key)
    chosen = f"id IN {_GIVEN} AND collection_key = coalesce(?, collection_key)"
    rows = db.execute(
        f"""SELECT id, dataset_key FROM passages
        WHERE record_key IN (SELECT key FROM records WHERE {chosen}) ORDER BY id""",
        given,
    ).fetchall()
    _note_removals(db, rows)
    db.execute(f"DELETE FROM records WHERE {chosen}", given)
    return [row[0] for row in rows]


def _insert_records(
    db: sqlite3.Connection, collection: Collection, drafts: Mapping[bytes, EmbeddedDraft]
) -> tuple[list[Record], int]:
    """The records of drafts by their hashes, and the key of the first; the others follow it."""
    moment = now()
    records = [_new_record(collection, item, moment) for item in drafts.values()]
    (first,) = db.execute("SELECT coalesce(max(key), 0) + 1 FROM records").fetchone()
    db.executemany(
        """INSERT INTO records (key, id, collection_key, q, a, chunk_index, tokens, content_hash, updated_ms,
        known_as, title, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            (
                key,
                one.id,
                collection.key,
                one.q,
                one.a,
                one.chunk_index,
                one.tokens,
                digest,
                _ms(moment),
                one.key,
                one.title,
                _to_json(one.metadata),
            )
            for key, (one, digest) in enumerate(zip(records, drafts, strict=True), first)
        ),
    )
    return records, first


def _insert_passages(
    db: sqlite3.Connection,
    drafts: Sequence[EmbeddedDraft],
    first_record: int,
    collection_key: int,
    dataset_key: int,
) -> list[PassageRow]:
    """The passages of drafts whose records have keys from ``first_record`` on."""
    passages = [
        (record_key, passage, embedding.tobytes())
        for record_key, item in enumerate(drafts, first_record)
        for passage, embedding in zip(item.passages, item.embeddings, strict=True)
    ]
    first = _take(db, len(passages))
    (edition,) = db.execute("SELECT edition FROM datasets WHERE key = ?", (dataset_key,)).fetchone()
    whole = (collection_key, dataset_key, edition)
    db.executemany(
        """INSERT INTO passages (id, record_key, collection_key, dataset_key, edition, text, is_default, start,
        embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            (passage_id, key, *whole, one.text, one.is_default, one.start, embedding)
            for passage_id, (key, one, embedding) in enumerate(passages, first)
        ),
    )
    return [(passage_id, collection_key, one[2]) for passage_id, one in enumerate(passages, first)]


def _new_record(collection: Collection, item: EmbeddedDraft, moment: datetime) -> Record:
    draft = item.draft
    return Record(
        item.record_id or new_id(),
        collection.dataset_id,
        collection.id,
        draft.q,
        draft.a,
        draft.chunk_index,
        item.tokens,
        moment,
        draft.key,
        draft.title,
        draft.metadata,
    )


def _passages_after(
    db: sqlite3.Connection, column: str, dataset_key: int, edition: int | None, watermark: int, limit: int
) -> list[Row]:
    """(id, collection key, the column)"""
    return db.execute(
        f"""SELECT id, collection_key, {column} FROM passages
        WHERE dataset_key = ? AND edition = coalesce(?, (SELECT edition FROM datasets WHERE key = ?))
        AND id > ? ORDER BY id LIMIT ?""",
        (dataset_key, edition, dataset_key, watermark, limit),
    ).fetchall()


def _removals_after(db: sqlite3.Connection, dataset_key: int, watermark: int, limit: int) -> list[Row]:
    """(number in the sequence, passage id)"""
    return db.execute(
        "SELECT seq, passage_id FROM removals WHERE dataset_key = ? AND seq > ? ORDER BY seq LIMIT ?",
        (dataset_key, watermark, limit),
    ).fetchall()


def _note_removals(db: sqlite3.Connection, passages: Sequence[Row]) -> None:
    """Number the removal of each (passage id, dataset key)."""
    first = _take(db, len(passages))
    db.executemany(
        "INSERT INTO removals (seq, passage_id, dataset_key) VALUES (?, ?, ?)",
        [(first + place, passage_id, key) for place, (passage_id, key) in enumerate(passages)],
    )


def _to_json(value: Mapping[str, object]) -> str:
    return json.dumps(dict(value), ensure_ascii=False) if value else "{}"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@lru_cache(maxsize=1024)
def _moment(ms: int) -> datetime:
    """Remembered, as the records of a batch have one."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _dataset(row: Row) -> Dataset:
    model = ModelBinding(row[2], row[3], row[4])
    moments = _moment(row[6]), _moment(row[7])
    return Dataset(row[0], row[1], model, row[5], *moments, row[8], bool(row[10]), row[9], row[11])


def _collection(row: Row) -> Collection:
    tags, metadata = tuple(json.loads(row[4])), json.loads(row[10])
    moments = _moment(row[6]), _moment(row[7])
    return Collection(row[0], row[1], row[2], row[3], tags, bool(row[5]), *moments, row[8], row[9], metadata)


def _record(row: Row) -> Record:
    metadata = json.loads(row[10]) if row[10] != "{}" else {}
    return Record(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], _moment(row[7]), row[8], row[9], metadata
    )


def _document(row: Row) -> Document:
    return Document(row[0], row[1], row[2], row[3], json.loads(row[4]))
