"""What the tests of searches share: records whose texts say what they score, and short ways to add and to ask."""

import re
from collections.abc import Sequence
from typing import Any

from retrieval.library import Library
from retrieval.types import MAX_LIMIT, Collection, RecordDraft, SearchRequest, SearchResult

STEP = 1 / 1024
"""A step of score that is exact in fp16."""


class DialReranker:
    """A text says how relevant it is to any query: ``… %0.75 …``, else 0."""

    name = "dial-reranker"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((query, len(texts)))
        marks = (re.search(r"%([\d.]*\d)", text) for text in texts)
        return [float(mark[1]) if mark else 0.0 for mark in marks]


def new_collection(library: Library, name: str = "d") -> Collection:
    """In a new dataset of that name."""
    return library.store.create_collection(library.create_dataset(name).id, f"collection of {name}")


def add(library: Library, collection: Collection, *texts: str | RecordDraft) -> list[str]:
    """Records with these questions, all of them new; their ids."""
    drafts = [text if isinstance(text, RecordDraft) else RecordDraft(text) for text in texts]
    added = library.add_records(collection, drafts).added
    assert len(added) == len(drafts)
    return list(added)


def ask(library: Library, *collections: Collection, text: str = "kettle", **fields: Any) -> SearchResult:
    """Search the datasets of these collections; nothing is cut off unless ``fields`` say so."""
    ids = tuple(collection.dataset_id for collection in collections)
    return library.search(SearchRequest(text, ids, **{"similarity": 0.0, "limit": MAX_LIMIT, **fields}))


def ids_of(result: SearchResult) -> list[str]:
    return [quote.record.id for quote in result.quotes]


def questions_of(result: SearchResult) -> list[str]:
    return [quote.record.q for quote in result.quotes]
