"""Embeddings from an OpenAI-compatible ``/embeddings`` endpoint."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from retrieval.errors import EmbedderUnavailable
from retrieval.openai_client import EndpointError, OpenAIEmbeddings
from retrieval.tokens import count_tokens, cut_to_tokens
from retrieval.types import Embeddings

BATCH_TEXTS = 64
"""Texts of one request: what the common servers take at once."""

TIMEOUT_S = 60.0

MAX_RETRIES = 4


class EndpointEmbedder:
    """A model behind an endpoint, known by its name: its weights cannot be looked at.

    Texts are cut to ``max_tokens`` of cl100k_base, so that a long one is not refused. The dimension
    is what the endpoint answers to a first text.
    """

    def __init__(self, model: str, base_url: str, api_key: str | None, max_tokens: int) -> None:
        self.name = model
        self.max_tokens = max_tokens
        self._client = OpenAIEmbeddings(base_url, api_key, TIMEOUT_S, MAX_RETRIES)

    @cached_property
    def dim(self) -> int:
        return int(self._embed(["dimension"]).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name}/{self.dim}".encode()).hexdigest()[:16]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """In cl100k_base, which mostly has more of them than the model."""
        return [count_tokens(text) for text in texts]

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return self._embed_all(texts)

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return self._embed_all(texts)

    def _embed_all(self, texts: Sequence[str]) -> Embeddings:
        cut = [cut_to_tokens(text, self.max_tokens) for text in texts]
        dim = self.dim
        groups = [self._embed(cut[start : start + BATCH_TEXTS]) for start in range(0, len(cut), BATCH_TEXTS)]
        for width in {group.shape[1] for group in groups} - {dim}:
            raise EmbedderUnavailable(
                f"the embedding endpoint gave vectors of {width} dimensions for {self.name}, and of {dim} before"
            )
        return np.concatenate(groups) if groups else np.empty((0, dim), dtype=np.float32)

    def _embed(self, texts: Sequence[str]) -> Embeddings:
        """(n, dim) float32, unit rows."""
        try:
            vectors = self._client.embed(self.name, texts)
        except EndpointError as error:
            raise EmbedderUnavailable(
                f"the embedding endpoint failed: {error}; check QUOTEBASE_EMBEDDING_BASE_URL, "
                "QUOTEBASE_EMBEDDING_API_KEY and QUOTEBASE_EMBEDDING_MODEL"
            ) from error
        embeddings = self._to_array(vectors)
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise EmbedderUnavailable(
                f"the embedding endpoint gave vectors without direction for {self.name}"
            )
        unit: Embeddings = embeddings / norms
        return unit

    def _to_array(self, vectors: Sequence[Sequence[float]]) -> Embeddings:
        try:
            embeddings: Embeddings = np.array(vectors, dtype=np.float32)
        except (TypeError, ValueError):
            embeddings = np.empty(0, dtype=np.float32)
        if embeddings.ndim != 2:
            raise EmbedderUnavailable(
                f"the embedding endpoint gave vectors of different lengths, or not of numbers, for {self.name}"
            )
        return embeddings
