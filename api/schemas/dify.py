"""Dify's external knowledge API: its request, and records and errors in its form."""

from typing import Any

from pydantic import ConfigDict, Field

from api.errors import error_body
from api.schemas import Wire
from api.schemas.conditions import MetadataCondition
from retrieval.types import MAX_LIMIT, CollectionMatch, Quote, SearchRequest

BAD_HEADER, NOT_AUTHORISED, NO_KNOWLEDGE = 1001, 1002, 2001
"""The codes that Dify's documentation names. Any other error has its HTTP status for a code."""


class RetrievalSetting(Wire):
    """Dify sends a threshold of 0 where its user has none."""

    model_config = ConfigDict(alias_generator=None)

    top_k: int = Field(ge=1)
    score_threshold: float | None = Field(None, ge=0, le=1)


class Retrieval(Wire):
    """``knowledge_id`` is the id of a dataset, or its name."""

    model_config = ConfigDict(alias_generator=None)

    knowledge_id: str
    query: str
    retrieval_setting: RetrievalSetting
    metadata_condition: MetadataCondition | None = None

    def to_request(self, dataset_id: str, collection_ids: frozenset[str] | None) -> SearchRequest:
        """By meaning, because only cosines can be compared with a threshold of 0 to 1; ``top_k`` is the limit."""
        return SearchRequest(
            text=self.query,
            dataset_ids=(dataset_id,),
            similarity=self.retrieval_setting.score_threshold,
            limit=MAX_LIMIT,
            top_k=self.retrieval_setting.top_k,
            mode="embedding",
            collections=None if collection_ids is None else CollectionMatch(collection_ids),
        )


def record_item(quote: Quote) -> dict[str, Any]:
    """What the record keeps is under the names that it has there, except for those that are ours."""
    record = quote.record
    return {
        "content": record.text,
        "score": min(1.0, max(0.0, quote.score)),
        "title": quote.collection_name,
        "metadata": {
            **record.metadata,
            "id": record.id,
            "collectionId": record.collection_id,
            "datasetId": record.dataset_id,
            "q": record.q,
            "a": record.a,
        },
    }


def failure_item(status: int, error_code: int, code: str, message: str, param: str | None) -> dict[str, Any]:
    """Our error, with Dify's two fields before it."""
    return {"error_code": error_code, "error_msg": message, **error_body(status, code, message, param)}
