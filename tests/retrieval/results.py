"""Results of searches, made by hand."""

from retrieval.types import ModelBinding, Quote, Record, Score, SearchRequest, SearchResult, now

MODEL = ModelBinding("none", 2, "none-1")

REQUEST = SearchRequest("text", ("d",))


def record(
    q: str, a: str = "", *, id_: str = "", key: str = "", row: int = 1, collection: str = "c"
) -> Record:
    return Record(id_ or f"id of {q}", "d", collection, q, a, row - 1, 1, now(), key)


def quote(q: str, *scores: float | tuple[str, float]) -> Quote:
    """With scores by embedding, or of the type given."""
    typed = [score if isinstance(score, tuple) else ("embedding", score) for score in scores]
    return Quote(record(q), "c", tuple(Score(type_, value, 0) for type_, value in typed), passage_id=0)


def found(
    *quotes: Quote,
    request: SearchRequest = REQUEST,
    seconds: float = 0.0,
    filtered_by: str | None = "embedding",
) -> SearchResult:
    return SearchResult(
        quotes,
        request,
        MODEL,
        seconds,
        similarity=0.0,
        filtered_by=filtered_by,
        phrasings=("text",),  # type: ignore[arg-type]
    )


def ignore(_done: int, _total: int) -> None:
    """Nobody looks on."""
