"""What datasets, collections, records, passages and documents look like in MongoDB, and back.

The documents of each collection are in order by ``no``. That of a passage or a removal is its
``_id``, that of a record its first passage's; ranges go over ``no`` and never over ``_id``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from retrieval.store import KnownRecord, Stored
from retrieval.store.blocks import PassageRow, TextRow, to_block
from retrieval.types import (
    Collection,
    Dataset,
    Document,
    EmbeddedDraft,
    ModelBinding,
    Passage,
    Record,
    new_id,
    now,
)

Doc = dict[str, Any]

TableName = Literal[
    "collections",
    "counters",
    "datasets",
    "documents",
    "folders",
    "intents",
    "passages",
    "pending",
    "records",
    "removals",
]

INDEXES: tuple[tuple[TableName, list[str], bool], ...] = (
    ("datasets", ["name"], True),
    ("collections", ["dataset", "no"], False),
    ("collections", ["dataset", "name", "no"], False),
    ("collections", ["dataset", "forbid", "no"], False),
    ("collections", ["dataset", "parent_id", "no"], False),
    ("collections", ["parent_id"], False),
    ("records", ["content"], True),
    ("records", ["keyed"], False),
    ("records", ["collection_id", "no"], False),
    ("records", ["dataset", "no"], False),
    ("passages", ["record"], False),
    ("passages", ["collection", "no"], False),
    ("passages", ["dataset", "no"], False),
    ("passages", ["dataset", "edition", "no"], False),
    ("pending", ["intent", "no"], False),
    ("removals", ["dataset", "no"], False),
    ("documents", ["kind", "no"], False),
    ("documents", ["kind", "group", "no"], False),
)
"""Where, of which fields, and whether unique."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one add writes."""

    stored: Stored
    records: list[Doc]
    passages: list[Doc]


def to_batch(
    collection: Collection, drafts: Sequence[EmbeddedDraft], first: int, dim: int, edition: int
) -> Batch:
    """``drafts``, with passages of the edition, numbered from ``first``."""
    moment = now()
    records: list[Doc] = []
    passages: list[Doc] = []
    for item in drafts:
        record = _from_draft(item, collection, first + len(passages), moment)
        records.append(record)
        passages += _passages(item, collection, record, edition)
    block = to_block([to_row(passage) for passage in passages], dim)
    return Batch(
        Stored(tuple(map(to_record, records)), block, np.empty(0, dtype=np.int64)), records, passages
    )


def _from_draft(item: EmbeddedDraft, collection: Collection, no: int, moment: datetime) -> Doc:
    draft = item.draft
    return {
        "_id": item.record_id or new_id(),
        "no": no,
        "dataset": collection.dataset_id,
        "collection_id": collection.id,
        "q": draft.q,
        "a": draft.a,
        "chunk_index": draft.chunk_index,
        "tokens": item.tokens,
        "content": content_key(collection.id, draft.content_hash),
        "key": draft.key,
        "keyed": keyed(collection.id, draft.key) if draft.key else None,
        "title": draft.title,
        "metadata": to_json(draft.metadata),
        "updated_at": moment,
    }


def _passages(item: EmbeddedDraft, collection: Collection, record: Doc, edition: int) -> list[Doc]:
    first = record["no"]
    return [
        {
            "_id": no,
            "no": no,
            "record": record["_id"],
            "dataset": collection.dataset_id,
            "collection": collection.key,
            "edition": edition,
            "text": passage.text,
            "is_default": passage.is_default,
            "start": passage.start,
            "embedding": row.tobytes(),
        }
        for no, (passage, row) in enumerate(zip(item.passages, item.embeddings, strict=True), first)
    ]


def to_row(passage: Doc) -> PassageRow:
    return passage["_id"], passage["collection"], passage["embedding"]


def to_text_row(passage: Doc) -> TextRow:
    return passage["_id"], passage["collection"], passage["text"]


def to_passage(doc: Doc) -> Passage:
    return Passage(doc["_id"], doc["text"], doc["is_default"], doc.get("start", 0))


def to_record(doc: Doc) -> Record:
    return Record(
        doc["_id"],
        doc["dataset"],
        doc["collection_id"],
        doc["q"],
        doc["a"],
        doc["chunk_index"],
        doc["tokens"],
        doc["updated_at"],
        doc.get("key", ""),
        doc.get("title", ""),
        json.loads(doc.get("metadata", "{}")),
    )


def to_known(doc: Doc) -> KnownRecord:
    content_hash = bytes.fromhex(doc["content"].rpartition("/")[2])
    return KnownRecord(doc["_id"], doc.get("key", ""), content_hash, json.loads(doc.get("metadata", "{}")))


def from_dataset(dataset: Dataset, no: int) -> Doc:
    model = dataset.model
    return {
        "_id": dataset.id,
        "no": no,
        "name": dataset.name,
        "model": {"name": model.name, "dim": model.dim, "fingerprint": model.fingerprint},
        "intro": dataset.intro,
        "created_at": dataset.created_at,
        "updated_at": dataset.updated_at,
        "parent_id": dataset.parent_id,
        "is_folder": dataset.is_folder,
        "avatar": dataset.avatar,
    }


def to_dataset(doc: Doc) -> Dataset:
    return Dataset(
        doc["_id"],
        doc["name"],
        ModelBinding(**doc["model"]),
        doc["intro"],
        doc["created_at"],
        doc["updated_at"],
        doc.get("parent_id", ""),
        doc.get("is_folder", False),
        doc.get("avatar", ""),
        doc.get("edition", 0),
    )


DELETED = "is_deleted"
"""A dataset that has it is not there."""


def not_deleted(query: Mapping[str, object]) -> Doc:
    return {**query, DELETED: {"$exists": False}}


def deletion(dataset: Doc) -> Doc:
    """What marks a dataset as deleted, in one write. A number is no name: that is free."""
    return {DELETED: True, "name": dataset["no"]}


def changes(**fields: object) -> Doc:
    """The fields that are not ``None``, and the moment."""
    return {name: value for name, value in fields.items() if value is not None} | {"updated_at": now()}


def from_collection(collection: Collection) -> Doc:
    return {
        "_id": collection.id,
        "no": collection.key,
        "dataset": collection.dataset_id,
        "name": collection.name,
        "tags": list(collection.tags),
        "forbid": collection.forbid,
        "created_at": collection.created_at,
        "updated_at": collection.updated_at,
        "parent_id": collection.parent_id,
        "kind": collection.kind,
        "metadata": to_json(collection.metadata),
    }


def to_collection(doc: Doc) -> Collection:
    return Collection(
        doc["_id"],
        doc["no"],
        doc["dataset"],
        doc["name"],
        tuple(doc["tags"]),
        doc["forbid"],
        doc["created_at"],
        doc["updated_at"],
        doc.get("parent_id", ""),
        doc.get("kind", "virtual"),
        json.loads(doc.get("metadata", "{}")),
    )


def content_key(collection_id: str, content_hash: bytes) -> str:
    return f"{collection_id}/{content_hash.hex()}"


def keyed(collection_id: str, key: str) -> str:
    """One plain string for both: a key may hold what NX-27017 cannot look up, such as NUL."""
    return f"{collection_id}/{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


def exactly(text: str) -> Doc:
    """What to query a free text for: compared plainly, NX-27017 takes what begins like a date for one."""
    return {"$in": [text]}


def document_key(kind: str, document_id: str) -> str:
    """One string for both; kinds hold no slash."""
    return f"{kind}/{document_id}"


def from_document(document: Document) -> Doc:
    """``body`` as JSON text: MongoDB has opinions on keys and on large integers."""
    return {
        "_id": document_key(document.kind, document.id),
        "no": document.seq,
        "kind": document.kind,
        "name": document.id,
        "group": document.group,
        "body": to_json(document.body),
    }


def to_document(doc: Doc) -> Document:
    return Document(doc["kind"], doc["name"], doc["group"], doc["no"], json.loads(doc["body"]))


def to_json(body: Mapping[str, object]) -> str:
    return json.dumps(dict(body), ensure_ascii=False)
