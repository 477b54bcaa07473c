"""Relevance of texts to a query, by a model that reads both together. One protocol, two implementations:

- :mod:`.cross_encoder` a sentence-transformers cross-encoder, by folder or hub id
- :mod:`.endpoint` any ``/rerank`` endpoint in the form of Jina's and Cohere's

Only the chosen one is imported.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Reranker(Protocol):
    """A reranking model. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """What replies and reports call it."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """How relevant each text is to the query, 0 to 1, in the order given.

        Raises:
            RerankFailed: the model cannot be run or reached, or gave something else.
        """
        ...


@dataclass(frozen=True, slots=True)
class RerankChoice:
    """Which reranker to use; none if both ``model`` and ``url`` are empty.

    Args:
        model: a cross-encoder's folder or hub id, or the model's name at ``url``.
        url: a ``/rerank`` endpoint; without it the model runs in this process.
    """

    model: str = ""
    url: str = ""
    key: str = field(default="", repr=False)


def open_reranker(choice: RerankChoice) -> Reranker | None:
    """The chosen reranker; nothing is loaded or sent before the first query."""
    if choice.url:
        from retrieval.rerank.endpoint import EndpointReranker

        return EndpointReranker(choice.url, choice.model, choice.key)
    if choice.model:
        from retrieval.rerank.cross_encoder import CrossEncoderReranker

        return CrossEncoderReranker(choice.model)
    return None


def to_relevance(logit: float) -> float:
    """The sigmoid, 0 to 1; in float64, where scores near the ends stay apart."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1 + odds)
