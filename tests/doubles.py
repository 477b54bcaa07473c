"""Small real implementations of the seams, for tests that are not about the model."""

import hashlib
from collections.abc import Sequence

import numpy as np

from retrieval.types import Embeddings


class HashEmbedder:
    """A text's character trigrams, hashed into ``dim`` buckets: equal texts get equal vectors."""

    name = "hash"
    fingerprint = "hash-1"
    max_tokens = 512

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim
        self.texts_read = 0

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return (
            np.stack([self._embed(text) for text in texts]) if texts else np.empty((0, self.dim), np.float32)
        )

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        self.texts_read += len(texts)
        return self.embed_queries(texts)

    def _embed(self, text: str) -> Embeddings:
        padded = f"^{text}$"
        vector = np.zeros(self.dim, dtype=np.float32)
        for start in range(max(1, len(padded) - 2)):
            digest = hashlib.blake2b(
                padded[start : start + 3].encode("utf-8", "surrogatepass"), digest_size=8
            ).digest()
            number = int.from_bytes(digest, "little")
            vector[number % self.dim] += 1.0 if number >> 63 else -1.0
        norm = float(np.linalg.norm(vector))
        if norm == 0.0:
            vector[0] = norm = 1.0
        unit: Embeddings = vector / np.float32(norm)
        return unit
