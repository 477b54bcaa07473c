"""Brute force: what a search has to find, in a few lines that are easy to believe."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from retrieval.embedding import Embedder
from retrieval.tokens import count_tokens
from retrieval.types import Hit, RecordDraft, SearchRequest, StoredEmbeddings

TOLERANCE = 1e-5
"""How far two sums of the same float32 products may be apart."""


def nearest(
    ids: npt.NDArray[np.int64],
    embeddings: StoredEmbeddings,
    query: npt.NDArray[np.float32],
    top_k: int,
    similarity: float = -1.0,
) -> list[Hit]:
    """The best ``top_k`` passages, ties by ascending id."""
    scores = embeddings.astype(np.float32) @ query
    best = np.lexsort((ids, -scores))[:top_k]
    return [Hit(int(ids[place]), float(scores[place])) for place in best if scores[place] >= similarity]


def assert_as_near(found: Sequence[Hit], everything: Sequence[Hit], top_k: int) -> None:
    """``found`` is a right answer of ``top_k`` hits where scores closer than the tolerance are equal."""
    scores = {hit.passage_id: hit.score for hit in everything}
    assert len(found) == min(top_k, len(everything))
    assert len({hit.passage_id for hit in found}) == len(found)
    assert list(found) == sorted(found, key=lambda hit: (-hit.score, hit.passage_id))
    for place, hit in enumerate(found):
        assert abs(hit.score - scores[hit.passage_id]) <= TOLERANCE
        assert abs(hit.score - everything[place].score) <= TOLERANCE


def expected_quotes(
    embedder: Embedder, records: Mapping[str, RecordDraft], request: SearchRequest
) -> list[tuple[str, float]]:
    """(record id, score) of the quotes; ``records`` are in the order in which they were added."""
    query = embedder.embed_queries([request.text])[0]
    hits: list[tuple[float, int, str]] = []
    for record_id, draft in records.items():
        passages = embedder.embed_passages(draft.texts).astype(np.float16).astype(np.float32)
        hits += [
            (-float(score), len(hits) + place, record_id) for place, score in enumerate(passages @ query)
        ]
    quotes: list[tuple[str, float]] = []
    contents: set[str] = set()
    tokens = 0
    for negative_score, _, record_id in sorted(hits):
        draft = records[record_id]
        content = "".join(filter(str.isalnum, draft.q + draft.a))
        if content in contents:
            continue
        tokens += count_tokens(draft.text)
        if -negative_score < (request.similarity or 0.0) or len(quotes) == request.top_k:
            break
        if quotes and tokens > request.limit:
            break
        contents.add(content)
        quotes.append((record_id, -negative_score))
    return quotes
