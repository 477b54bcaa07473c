"""An embedder that looks up what was embedded before, so that a measurement is not about the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.types import Embeddings, ModelBinding


@dataclass(frozen=True, slots=True)
class KnownEmbedder:
    """Under the name of the model that made the embeddings."""

    model: ModelBinding
    known: Mapping[str, npt.NDArray[np.float32]]
    max_tokens: int = 512

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def dim(self) -> int:
        return self.model.dim

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """None: what is known was embedded in one piece."""
        return [0] * len(texts)

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return np.stack([self.known[text] for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return self.embed_queries(texts)
