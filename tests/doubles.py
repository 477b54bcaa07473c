"""Small real implementations of the seams, for tests that are not about the model."""

import hashlib
import random
import re
from collections.abc import Sequence

import numpy as np

from retrieval.types import Embeddings


class FourCharactersAToken:
    """Long texts are long for these embedders too; with no special tokens."""

    max_tokens = 512

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [-(-len(text) // 4) for text in texts]


class HashEmbedder(FourCharactersAToken):
    """A text's character trigrams, hashed into ``dim`` buckets: equal texts get equal vectors."""

    name = "hash"
    fingerprint = "hash-1"

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


class DialEmbedder(FourCharactersAToken):
    """A passage says what it scores: ``… @0.75 …`` has that cosine to every query, others 0.

    Scores that are multiples of 1/1024 are exact in fp16, so that thresholds can be met to the bit.
    """

    name = "dial"
    fingerprint = "dial-1"
    dim = 2

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return np.tile(np.array([1, 0], dtype=np.float32), (len(texts), 1))

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        scores = np.array([self._score(text) for text in texts], dtype=np.float32)
        return np.stack([scores, np.sqrt(1 - scores**2)], axis=1)

    def _score(self, text: str) -> float:
        found = re.search(r"@(-?[\d.]+\d)", text)
        return float(found[1]) if found else 0.0


class GridEmbedder(FourCharactersAToken):
    """16 of 64 components are ±1/4, chosen by the text: scores are multiples of 1/16, whatever sums them.

    Brute force then gives the very same numbers, and there are many ties.
    """

    name = "grid"
    fingerprint = "grid-1"
    dim = 64

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            choice = random.Random(text)
            for place in choice.sample(range(self.dim), 16):
                vector[place] = choice.choice((-0.25, 0.25))
        return vectors

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return self.embed_queries(texts)
