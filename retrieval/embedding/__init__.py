"""Texts to unit vectors. One protocol, three implementations:

- :mod:`.bundled` multilingual-e5-small on OpenVINO, the default, nothing to download
- :mod:`.sentence_transformers` any sentence-transformers model, by folder or hub id
- :mod:`.endpoint` any OpenAI-compatible ``/embeddings`` endpoint

Only the chosen one is imported: a search with the bundled model never loads torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retrieval.types import Embeddings, ModelBinding

BUNDLED = "multilingual-e5-small"
"""The setting, and the name, of the bundled model."""

Progress = Callable[[str, float], None]
"""Called with what is being done and the share that is done, 0 to 1."""


class Embedder(Protocol):
    """A text embedding model.

    ``embed_queries`` and ``embed_passages`` take n texts and return (n, dim) float32 in the order
    given, rows of unit length, so that an inner product is a cosine. Both may be called from
    several threads. Texts longer than ``max_tokens`` are cut. They raise EmbedderUnavailable when
    the model cannot be run or reached.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights; what datasets are bound to."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens that the model would have to read for each passage, special ones included, uncut."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Embeddings: ...

    def embed_passages(self, texts: Sequence[str]) -> Embeddings: ...


def binding(embedder: Embedder) -> ModelBinding:
    """What a dataset remembers of its model."""
    return ModelBinding(embedder.name, embedder.dim, embedder.fingerprint)


@dataclass(frozen=True, slots=True)
class EmbedderChoice:
    """Which model to run.

    Args:
        model: ``BUNDLED``, a sentence-transformers folder or hub id, or the endpoint's model name.
        base_url: an OpenAI-compatible API; without it the model runs in this process.
        max_tokens: what an endpoint's model reads at most; ignored for local models, which know.
    """

    model: str = BUNDLED
    base_url: str | None = None
    api_key: str | None = None
    max_tokens: int = 512

    @property
    def name(self) -> str:
        """That of its embedder."""
        return self.model if self.base_url or self.model == BUNDLED else Path(self.model).name


def open_embedder(choice: EmbedderChoice, cache_dir: Path, progress: Progress | None = None) -> Embedder:
    """The chosen embedder, ready for use; weights are loaded when first needed.

    Raises:
        EmbedderUnavailable: the model cannot be found, or its packages are missing.
    """
    if choice.base_url:
        from retrieval.embedding.endpoint import EndpointEmbedder

        return EndpointEmbedder(choice.model, choice.base_url, choice.api_key, choice.max_tokens)
    if choice.model == BUNDLED:
        from retrieval.embedding.bundled import BundledEmbedder

        return BundledEmbedder(cache_dir, progress)
    from retrieval.embedding.sentence_transformers import SentenceTransformersEmbedder

    return SentenceTransformersEmbedder(choice.model)


def open_later(choice: EmbedderChoice, cache_dir: Path, progress: Progress | None = None) -> Embedder:
    """The same, but opened when it is first asked for more than its name."""
    from retrieval.embedding.lazy import LazyEmbedder

    return LazyEmbedder(choice.name, lambda: open_embedder(choice, cache_dir, progress))
