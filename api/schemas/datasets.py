"""Requests about datasets and their records, and what is told of them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api.schemas import Wire
from retrieval.types import Dataset, Quote, RecordDraft, SearchRequest, SearchResult

MAX_PUSH = 200
"""Most records of one pushData."""


class DatasetList(Wire):
    search_key: str = ""


class DatasetCreate(Wire):
    name: str = Field(min_length=1)
    type: Literal["dataset"] = "dataset"
    intro: str = ""


class CollectionCreate(Wire):
    dataset_id: str
    name: str = Field(min_length=1)
    type: Literal["virtual"] = "virtual"
    tags: list[str] = Field(default_factory=list)


class IndexText(Wire):
    text: str


class DataItem(Wire):
    q: str
    a: str = ""
    chunk_index: int = 0
    indexes: list[IndexText] = Field(default_factory=list)

    def to_draft(self) -> RecordDraft:
        indexes = tuple(index.text.strip() for index in self.indexes if index.text.strip())
        return RecordDraft(self.q, self.a, indexes, self.chunk_index)


class PushData(Wire):
    collection_id: str
    data: list[DataItem]


class SearchTest(Wire):
    """The search request, with ours beside FastGPT's: ``datasetIds`` and ``topK``."""

    dataset_id: str | None = None
    dataset_ids: list[str] = Field(default_factory=list)
    text: str
    limit: int = 1500
    similarity: float = 0.0
    search_mode: Literal["embedding"] = "embedding"
    top_k: int | None = None

    def to_request(self) -> SearchRequest:
        ids = dict.fromkeys([*([self.dataset_id] if self.dataset_id else []), *self.dataset_ids])
        return SearchRequest(self.text, tuple(ids), self.similarity, self.limit, self.top_k, self.search_mode)


def dataset_item(dataset: Dataset) -> dict[str, Any]:
    return {
        "_id": dataset.id,
        "parentId": None,
        "avatar": "",
        "name": dataset.name,
        "intro": dataset.intro,
        "type": "dataset",
        "permission": {"hasReadPer": True, "hasWritePer": True, "hasManagePer": True, "isOwner": True},
        "canWrite": True,
        "isOwner": True,
        "vectorModel": {
            "model": dataset.model.name,
            "name": dataset.model.name,
            "dimension": dataset.model.dim,
            "fingerprint": dataset.model.fingerprint,
        },
    }


def search_reply(result: SearchResult) -> dict[str, Any]:
    request = result.request
    return {
        "list": [_quote_item(quote) for quote in result.quotes],
        "duration": f"{result.seconds:.3f}s",
        "limit": request.limit,
        "searchMode": request.mode,
        "usingReRank": False,
        "similarity": request.similarity,
        "usingSimilarityFilter": True,
    }


def _quote_item(quote: Quote) -> dict[str, Any]:
    record = quote.record
    return {
        "id": record.id,
        "q": record.q,
        "a": record.a,
        "chunkIndex": record.chunk_index,
        "datasetId": record.dataset_id,
        "collectionId": record.collection_id,
        "sourceName": quote.collection_name,
        "sourceId": record.collection_id,
        "updateTime": wire_time(record.updated_at),
        "tokens": record.tokens,
        "score": [{"type": score.type, "value": score.value, "index": score.index} for score in quote.scores],
    }


def wire_time(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as JavaScript writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
