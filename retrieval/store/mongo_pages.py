"""Pages of collections and of records, and what lies in a folder, in MongoDB."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from retrieval.store.mongo_documents import Doc, TableName
from retrieval.store.pages import stretch


class Reads(Protocol):
    """MongoDB's collections. Any method raises StoreUnavailable."""

    def count(self, table: TableName, query: Mapping[str, object]) -> int: ...

    def numbers(
        self, table: TableName, query: Mapping[str, object], skip: int, limit: int, newest_first: bool
    ) -> list[int]:
        """``no`` of documents in that order; read from an index that ends with it, if one fits the query."""
        ...

    def in_order(
        self, table: TableName, query: Mapping[str, object], *fields: str, newest_first: bool = False
    ) -> list[Doc]: ...

    def among(self, table: TableName, field: str, values: Iterable[object], *fields: str) -> list[Doc]: ...


def page_of_records(
    tables: Reads, collection_id: str, search: str, offset: int, limit: int
) -> tuple[list[Doc], int]:
    """Oldest first, and how many there are."""
    query: Doc = {"collection_id": collection_id}
    if search:
        query["$or"] = [{"q": _containing(search)}, {"a": _containing(search)}]
    return _page(tables, "records", query, offset, limit)


def page_of_collections(
    tables: Reads, dataset_id: str, parent_id: str | None, search: str, offset: int, limit: int
) -> tuple[list[Doc], int]:
    """Newest first, and how many there are."""
    query: Doc = {"dataset": dataset_id}
    if parent_id is not None:
        query["parent_id"] = _in_folder(parent_id)
    if search:
        query["name"] = _containing(search)
    return _page(tables, "collections", query, offset, limit, newest_first=True)


def _page(
    tables: Reads, table: TableName, query: Doc, offset: int, limit: int, newest_first: bool = False
) -> tuple[list[Doc], int]:
    """Found by numbers, which an index has, so that documents that are passed by are not read."""
    total = tables.count(table, query)
    way = stretch(total, offset, limit)
    if not way.count:
        return [], total
    numbers = tables.numbers(table, query, way.skip, way.count, newest_first != way.is_from_end)
    if not numbers:
        return [], total
    span = {"no": {"$gte": min(numbers), "$lte": max(numbers)}}
    return tables.in_order(table, {**query, **span}, newest_first=newest_first), total


def ids_below(tables: Reads, collection_id: str) -> list[str]:
    """Ids of all collections in a folder, at any depth, level by level."""
    below: list[str] = []
    level = [collection_id]
    while level:
        level = [doc["_id"] for doc in tables.among("collections", "parent_id", level, "_id")]
        below += level
    return below


def _in_folder(parent_id: str) -> Mapping[str, Any]:
    """At the top are also those from before there were folders."""
    return {"$in": [parent_id] if parent_id else ["", None]}


def _containing(text: str) -> Mapping[str, Any]:
    # A pattern may hold no NUL itself.
    return {"$regex": re.escape(text).replace("\0", "\\x00"), "$options": "i"}
