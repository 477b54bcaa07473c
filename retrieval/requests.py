"""What a search may be asked for."""

from retrieval.errors import InvalidRequest
from retrieval.types import MAX_LIMIT, SearchRequest


def check_request(request: SearchRequest) -> None:
    """Raises InvalidRequest for the first value out of range."""
    if not request.text.strip():
        raise InvalidRequest("the question is empty: give some text to search for", "text")
    try:
        request.text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("the question is not valid Unicode text: give it in UTF-8", "text") from None
    if not request.dataset_ids:
        raise InvalidRequest("no dataset to search in was named", "datasetId")
    for name, value in (
        ("similarity", request.similarity),
        ("embeddingWeight", request.embedding_weight),
        ("rerankWeight", request.rerank_weight),
    ):
        if value is not None and not 0 <= value <= 1:
            raise InvalidRequest(f"{name} is {value}, it must be from 0 to 1", name)
    if not 1 <= request.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is {request.limit} tokens, it must be from 1 to {MAX_LIMIT}", "limit")
    for name, count in (("topK", request.top_k), ("perSource", request.per_source)):
        if count is not None and count < 1:
            raise InvalidRequest(f"{name} is {count}, it must be at least 1", name)
