"""Editions in MongoDB: the other one is named in the document of its dataset, so that one update exchanges both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

from retrieval.errors import InvalidRequest
from retrieval.store.editions import Edition, Remade, no_edition
from retrieval.store.mongo_documents import Doc, TableName
from retrieval.types import ModelBinding


class Tables(Protocol):
    """MongoDB's collections. Any method raises StoreUnavailable."""

    def among(self, table: TableName, field: str, values: Iterable[object], *fields: str) -> list[Doc]: ...

    def update(self, table: TableName, key: str, fields: Mapping[str, object]) -> None: ...

    def delete(self, table: TableName, query: Mapping[str, object]) -> int: ...

    def take(self, count: int, counter: str = "sequence") -> int: ...


def find(dataset: Doc) -> Edition | None:
    other: Any = dataset.get("other_edition")
    return Edition(other["number"], ModelBinding(**other["model"]), other["is_former"]) if other else None


def other_of(dataset: Doc) -> Edition:
    edition = find(dataset)
    if edition is None:
        raise InvalidRequest(no_edition(dataset["_id"]))
    return edition


def begin(tables: Tables, dataset: Doc, model: ModelBinding) -> Edition:
    if find(dataset):
        raise InvalidRequest("the dataset has another edition already: discard it first")
    edition = Edition(tables.take(1), model, is_former=False)
    tables.update("datasets", dataset["_id"], {"other_edition": asdict(edition)})
    return edition


def records_in(tables: Tables, dataset: Doc, record_ids: Sequence[str]) -> set[str]:
    number = other_of(dataset).number
    found = tables.among("passages", "record", record_ids, "record", "dataset", "edition")
    return {doc["record"] for doc in found if doc["dataset"] == dataset["_id"] and doc["edition"] == number}


def to_passages(tables: Tables, dataset: Doc, remade: Sequence[Remade]) -> list[Doc]:
    """The documents to add, numbered; none for records that are gone."""
    number, present = other_of(dataset).number, dataset.get("edition", 0)
    found = tables.among(
        "passages", "_id", (one.witness for one in remade), "record", "dataset", "collection", "edition"
    )
    place_of = {
        doc["_id"]: doc for doc in found if doc["dataset"] == dataset["_id"] and doc["edition"] == present
    }
    passages = [
        {
            "record": place_of[one.witness]["record"],
            "dataset": dataset["_id"],
            "collection": place_of[one.witness]["collection"],
            "edition": number,
            "text": passage.text,
            "is_default": passage.is_default,
            "start": passage.start,
            "embedding": row.tobytes(),
        }
        for one in remade
        if one.witness in place_of
        for passage, row in zip(one.passages, one.embeddings, strict=True)
    ]
    first = tables.take(len(passages)) if passages else 0
    return [{"_id": no, "no": no, **passage} for no, passage in enumerate(passages, first)]


def exchange(tables: Tables, dataset: Doc, moment: datetime) -> None:
    other = other_of(dataset)
    former = Edition(dataset.get("edition", 0), ModelBinding(**dataset["model"]), is_former=True)
    changed = {
        "edition": other.number,
        "model": asdict(other.model),
        "other_edition": asdict(former),
        "updated_at": moment,
    }
    tables.update("datasets", dataset["_id"], changed)


def discard(tables: Tables, dataset: Doc) -> None:
    """Can be cut off anywhere and done again."""
    edition = find(dataset)
    if edition is None:
        return
    tables.update("datasets", dataset["_id"], {"other_edition": {**asdict(edition), "is_former": False}})
    tables.delete("passages", {"dataset": dataset["_id"], "edition": edition.number})
    tables.update("datasets", dataset["_id"], {"other_edition": None})
