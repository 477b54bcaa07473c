"""Editions in SQLite: statements for a transaction that the caller has open."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from retrieval.errors import InvalidRequest
from retrieval.store.editions import Edition, Remade, no_edition
from retrieval.types import ModelBinding

STEP = 10_000
"""Passages of one transaction while an edition is deleted."""


class _Cursor(Protocol):
    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Db(Protocol):
    """A connection."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> _Cursor: ...

    def executemany(self, sql: str, parameters: Any, /) -> _Cursor: ...


def find(db: Db, dataset_key: int) -> Edition | None:
    row = db.execute(
        """SELECT edition, model_name, model_dim, model_fingerprint, is_former FROM editions
        WHERE dataset_key = ?""",
        (dataset_key,),
    ).fetchone()
    return Edition(row[0], ModelBinding(*row[1:4]), bool(row[4])) if row else None


def _other(db: Db, dataset_key: int) -> Edition:
    edition = find(db, dataset_key)
    if edition is None:
        raise InvalidRequest(no_edition(str(dataset_key)))
    return edition


def begin(db: Db, dataset_key: int, number: int, model: ModelBinding) -> Edition:
    if find(db, dataset_key):
        raise InvalidRequest("the dataset has another edition already: discard it first")
    _put(db, dataset_key, Edition(number, model, is_former=False))
    return Edition(number, model, is_former=False)


def _put(db: Db, dataset_key: int, edition: Edition) -> None:
    model = edition.model
    db.execute(
        "INSERT OR REPLACE INTO editions VALUES (?, ?, ?, ?, ?, ?)",
        (dataset_key, edition.number, model.name, model.dim, model.fingerprint, edition.is_former),
    )


def records_in(db: Db, dataset_key: int, record_ids: Sequence[str]) -> set[str]:
    rows = db.execute(
        """SELECT DISTINCT r.id FROM records r JOIN passages p ON p.record_key = r.key
        WHERE r.id IN (SELECT value FROM json_each(?)) AND p.dataset_key = ? AND p.edition = ?""",
        (json.dumps(list(record_ids)), dataset_key, _other(db, dataset_key).number),
    ).fetchall()
    return {row[0] for row in rows}


def add(db: Db, dataset_key: int, remade: Sequence[Remade], take: Callable[[int], int]) -> int:
    """``take`` gives the first of so many numbers of the sequence."""
    number = _other(db, dataset_key).number
    places = db.execute(
        """SELECT p.id, p.record_key, p.collection_key FROM passages p
        WHERE p.id IN (SELECT value FROM json_each(?)) AND p.dataset_key = ?
        AND p.edition = (SELECT edition FROM datasets WHERE key = p.dataset_key)""",
        (json.dumps([one.witness for one in remade]), dataset_key),
    ).fetchall()
    place_of = {row[0]: row[1:] for row in places}
    rows = [
        (*place_of[one.witness], dataset_key, number, passage.text, passage.is_default, passage.start, row)
        for one in remade
        if one.witness in place_of
        for passage, row in zip(one.passages, (row.tobytes() for row in one.embeddings), strict=True)
    ]
    first = take(len(rows))
    db.executemany(
        """INSERT INTO passages (id, record_key, collection_key, dataset_key, edition, text, is_default, start,
        embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [(first + place, *row) for place, row in enumerate(rows)],
    )
    return len(rows)


def exchange(db: Db, dataset_key: int, moment_ms: int) -> None:
    other = _other(db, dataset_key)
    present = db.execute(
        "SELECT edition, model_name, model_dim, model_fingerprint FROM datasets WHERE key = ?", (dataset_key,)
    ).fetchone()
    db.execute(
        """UPDATE datasets SET edition = ?, model_name = ?, model_dim = ?, model_fingerprint = ?, updated_ms = ?
        WHERE key = ?""",
        (
            other.number,
            other.model.name,
            other.model.dim,
            other.model.fingerprint,
            moment_ms,
            dataset_key,
        ),
    )
    _put(db, dataset_key, Edition(present[0], ModelBinding(*present[1:]), is_former=True))


def delete_step(db: Db, dataset_key: int) -> bool:
    """Delete some of the other edition's passages, and it with the last of them; whether that is done."""
    edition = find(db, dataset_key)
    if edition is None:
        return True
    _put(db, dataset_key, Edition(edition.number, edition.model, is_former=False))
    given = (dataset_key, edition.number)
    db.execute(
        """DELETE FROM passages WHERE id IN
        (SELECT id FROM passages WHERE dataset_key = ? AND edition = ? ORDER BY id LIMIT ?)""",
        (*given, STEP),
    )
    if db.execute("SELECT 1 FROM passages WHERE dataset_key = ? AND edition = ?", given).fetchone():
        return False
    db.execute("DELETE FROM editions WHERE dataset_key = ?", (dataset_key,))
    return True
