"""Pages of collections and of records, and what lies in a folder, in SQLite.

Of 100,000 records a page of 20 takes 2.4 ms at either end and 3.6 ms in the middle, on two cores; with a
search, which reads every record, 0.2 s.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from retrieval.store.pages import stretch


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Database(Protocol):
    """A connection that has the function ``contains`` (text, part in lower case)."""

    def execute(self, sql: str, values: Sequence[object] = ..., /) -> Rows: ...


def contains(text: str, part: str) -> bool:
    """Whether the text has the part in it, which is in lower case. LIKE would know that of ASCII only."""
    return part in text.lower()


def record_keys(
    db: Database, collection_key: int, search: str, offset: int, limit: int
) -> tuple[list[int], int]:
    """Keys of a page, oldest first, and how many records there are."""
    if search:
        return _matching_record_keys(db, collection_key, search, offset, limit)
    # Both statements read the index alone: rows of records are long, and many lie between.
    keys = "FROM records INDEXED BY records_by_collection WHERE collection_key = ?"
    (total,) = db.execute(f"SELECT count(*) {keys}", (collection_key,)).fetchone()
    way = stretch(total, offset, limit)
    found = db.execute(
        f"SELECT key {keys} ORDER BY key {'DESC' if way.is_from_end else 'ASC'} LIMIT ? OFFSET ?",
        (collection_key, way.count, way.skip),
    )
    return sorted(row[0] for row in found.fetchall()), total


def _matching_record_keys(
    db: Database, collection_key: int, search: str, offset: int, limit: int
) -> tuple[list[int], int]:
    found = db.execute(
        """SELECT key FROM records INDEXED BY records_by_collection
        WHERE collection_key = ? AND (contains(q, ?) OR contains(a, ?)) ORDER BY key""",
        (collection_key, search.lower(), search.lower()),
    ).fetchall()
    return [row[0] for row in found[offset : offset + limit]], len(found)


def collection_keys(
    db: Database, dataset_key: int, parent_id: str | None, search: str, offset: int, limit: int
) -> tuple[list[int], int]:
    """Keys of a page, newest first, and how many collections there are."""
    chosen, given = "FROM collections WHERE dataset_key = ?", list[object]([dataset_key])
    if parent_id is not None:
        chosen, given = f"{chosen} AND parent_id = ?", [*given, parent_id]
    if search:
        chosen, given = f"{chosen} AND contains(name, ?)", [*given, search.lower()]
    (total,) = db.execute(f"SELECT count(*) {chosen}", given).fetchone()
    found = db.execute(f"SELECT key {chosen} ORDER BY key DESC LIMIT ? OFFSET ?", (*given, limit, offset))
    return [row[0] for row in found.fetchall()], total


def ids_below(db: Database, collection_key: int) -> list[str]:
    """Ids of all collections in a folder, at any depth, level by level."""
    found = db.execute(
        """WITH RECURSIVE below (key, id, dataset_key, level) AS (
            SELECT key, id, dataset_key, 0 FROM collections WHERE key = ?
            UNION ALL
            SELECT c.key, c.id, c.dataset_key, level + 1 FROM below b
            JOIN collections c ON c.dataset_key = b.dataset_key AND c.parent_id = b.id)
        SELECT id FROM below WHERE level > 0 ORDER BY level, key""",
        (collection_key,),
    )
    return [row[0] for row in found.fetchall()]


def counts_of_records(db: Database, collection_ids: Sequence[str]) -> dict[str, int]:
    """By collection id."""
    found = db.execute(
        """SELECT c.id, (SELECT count(*) FROM records r WHERE r.collection_key = c.key)
        FROM collections c JOIN datasets d ON d.key = c.dataset_key AND d.is_deleted = 0
        WHERE c.id IN (SELECT value FROM json_each(?))""",
        (json.dumps(list(collection_ids)),),
    )
    return dict(found.fetchall())
