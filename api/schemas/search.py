"""The search of a dataset on the wire: its request, its reply, and both ways back for the command line."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api.schemas import Wire, wire_time
from api.schemas.filters import parse_filter
from retrieval.types import (
    Contribution,
    Decision,
    Explanation,
    Extension,
    Fusion,
    ModelBinding,
    Quote,
    Record,
    Score,
    SearchMode,
    SearchRequest,
    SearchResult,
)


class Said(Wire):
    """A message before the question."""

    role: Literal["user", "assistant"]
    content: str


class SearchTest(Wire):
    """FastGPT's fields, and ours beside them.

    Ours: ``datasetIds``, ``topK``, ``perSource``, ``fusion``, ``history`` (for the extension),
    ``explain``, and ``explainRecord``, the id of a record whose absence is to be explained.
    """

    dataset_id: str | None = None
    dataset_ids: list[str] = Field(default_factory=list)
    text: str
    limit: int = 1500
    similarity: float | None = None
    search_mode: SearchMode = "embedding"
    embedding_weight: float = 0.5
    using_re_rank: bool = False
    rerank_weight: float = 0.5
    dataset_search_using_extension_query: bool = False
    dataset_search_extension_model: str = ""
    dataset_search_extension_bg: str = ""
    collection_filter_match: str | dict[str, Any] | None = None
    history: list[Said] = Field(default_factory=list)
    top_k: int | None = None
    per_source: int | None = None
    fusion: Fusion = "scores"
    explain: bool = False
    explain_record: str | None = None

    def to_request(self) -> SearchRequest:
        """Raises InvalidRequest for a filter that cannot be read."""
        ids = dict.fromkeys([*([self.dataset_id] if self.dataset_id else []), *self.dataset_ids])
        return SearchRequest(
            text=self.text,
            dataset_ids=tuple(ids),
            similarity=self.similarity,
            limit=self.limit,
            top_k=self.top_k,
            mode=self.search_mode,
            embedding_weight=self.embedding_weight,
            fusion=self.fusion,
            per_source=self.per_source,
            collections=parse_filter(self.collection_filter_match),
            rerank=self.using_re_rank,
            rerank_weight=self.rerank_weight,
            extension=self._extension(),
            explain=self.explain or bool(self.explain_record),
            explain_record=self.explain_record or None,
        )

    def _extension(self) -> Extension | None:
        if not self.dataset_search_using_extension_query:
            return None
        return Extension(
            self.dataset_search_extension_bg,
            tuple((said.role, said.content) for said in self.history),
            self.dataset_search_extension_model,
        )


def search_body(request: SearchRequest) -> dict[str, Any]:
    """What :class:`SearchTest` makes the request of."""
    extension = request.extension or Extension()
    return {
        "datasetIds": list(request.dataset_ids),
        "text": request.text,
        "limit": request.limit,
        "similarity": request.similarity,
        "searchMode": request.mode,
        "embeddingWeight": request.embedding_weight,
        "usingReRank": request.rerank,
        "rerankWeight": request.rerank_weight,
        "datasetSearchUsingExtensionQuery": request.extension is not None,
        "datasetSearchExtensionModel": extension.model,
        "datasetSearchExtensionBg": extension.background,
        "collectionFilterMatch": _filter_of(request),
        "history": [{"role": role, "content": text} for role, text in extension.history],
        "topK": request.top_k,
        "perSource": request.per_source,
        "fusion": request.fusion,
        "explain": request.explain,
        "explainRecord": request.explain_record,
    }


def _filter_of(request: SearchRequest) -> dict[str, Any]:
    match = request.collections
    if match is None:
        return {}
    return {
        "collectionIds": sorted(match.ids) if match.ids is not None else None,
        "tags": {"$and": list(match.all_of), "$or": list(match.any_of)},
        "createTime": {
            "$gte": match.created_from.isoformat() if match.created_from else None,
            "$lte": match.created_to.isoformat() if match.created_to else None,
        },
    }


def search_reply(result: SearchResult) -> dict[str, Any]:
    """``usingSimilarityFilter`` says whether a score was compared with ``similarity``, ``filteredBy`` which."""
    request = result.request
    reply: dict[str, Any] = {
        "list": [quote_item(quote) for quote in result.quotes],
        "duration": f"{result.seconds:.3f}s",
        "limit": request.limit,
        "searchMode": request.mode,
        "usingReRank": bool(result.reranked_by),
        "similarity": result.similarity,
        "usingSimilarityFilter": result.filtered_by is not None,
        "filteredBy": result.filtered_by or "",
        "rerankModel": result.reranked_by,
        "phrasings": list(result.phrasings),
        "notes": list(result.notes),
    }
    if result.explanation:
        reply["explain"] = _explanation_item(result.explanation)
    return reply


def quote_item(quote: Quote) -> dict[str, Any]:
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
        "score": _scores(quote),
    }


def _scores(quote: Quote) -> list[dict[str, Any]]:
    return [{"type": score.type, "value": score.value, "index": score.index} for score in quote.scores]


def _explanation_item(explanation: Explanation) -> dict[str, Any]:
    return {
        "candidates": [_candidate(decision, explanation) for decision in explanation.decisions],
        "absent": explanation.absent,
    }


def _candidate(decision: Decision, explanation: Explanation) -> dict[str, Any]:
    quote = decision.quote
    return {
        "id": quote.record.id,
        "q": quote.record.q,
        "collectionId": quote.record.collection_id,
        "sourceName": quote.collection_name,
        "tokens": quote.record.tokens,
        "kept": not decision.dropped_by,
        "droppedBy": decision.dropped_by,
        "detail": decision.detail,
        "score": _scores(quote),
        "passage": _passage(quote.passage_id, explanation),
        "parts": [_part(one, explanation) for one in quote.contributions],
    }


def _part(one: Contribution, explanation: Explanation) -> dict[str, Any]:
    return {
        "source": one.source,
        "phrasing": one.phrasing,
        "passage": _passage(one.passage_id, explanation),
        "raw": one.raw,
        "rank": one.rank,
        "normalised": one.normalised,
        "weight": one.weight,
        "value": one.value,
    }


def _passage(passage_id: int, explanation: Explanation) -> dict[str, Any]:
    return {
        "id": str(passage_id),
        "text": explanation.texts.get(passage_id, ""),
        "terms": list(explanation.terms.get(passage_id, ())),
    }


def read_search(data: Mapping[str, Any], request: SearchRequest, model: ModelBinding) -> SearchResult:
    """The result of which :func:`search_reply` made ``data``, but for its explanation."""
    return SearchResult(
        quotes=tuple(map(_quote, data["list"])),
        request=request,
        model=model,
        seconds=float(data["duration"].rstrip("s")),
        similarity=data["similarity"],
        filtered_by=data["filteredBy"] or None,
        phrasings=tuple(data["phrasings"]),
        reranked_by=data["rerankModel"],
        notes=tuple(data["notes"]),
    )


def read_record(item: Mapping[str, Any], key: str = "") -> Record:
    """The record of an item that has its fields."""
    return Record(
        item["id"],
        item["datasetId"],
        item["collectionId"],
        item["q"],
        item["a"],
        item["chunkIndex"],
        item["tokens"],
        datetime.fromisoformat(item["updateTime"]),
        key,
    )


def _quote(item: Mapping[str, Any]) -> Quote:
    return Quote(read_record(item), item["sourceName"], _read_scores(item["score"]), passage_id=0)


def _read_scores(items: Sequence[Mapping[str, Any]]) -> tuple[Score, ...]:
    return tuple(Score(item["type"], item["value"], item["index"]) for item in items)
