"""An embedder that is opened when it is first asked for more than its name."""

import threading
from collections.abc import Callable, Sequence

from retrieval.embedding import Embedder
from retrieval.types import Embeddings


class LazyEmbedder:
    """The model of a name, which ``open_embedder`` opens; asked again if it could not.

    Everything but the name may raise EmbedderUnavailable.
    """

    def __init__(self, name: str, open_embedder: Callable[[], Embedder]) -> None:
        self.name = name
        self._open = open_embedder
        self._opening = threading.Lock()
        self._opened: Embedder | None = None

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def max_tokens(self) -> int:
        return self._embedder.max_tokens

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._embedder.count_tokens(texts)

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return self._embedder.embed_queries(texts)

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return self._embedder.embed_passages(texts)

    @property
    def _embedder(self) -> Embedder:
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened
