"""Similarity search over a dataset's passages: :class:`VectorIndex` and its implementations.

An index is derived: it can be thrown away and made again from the store without embedding anything.
"""

from collections.abc import Collection as AnyOf
from typing import Protocol

from retrieval.types import Changes, Embeddings, Hit


class VectorIndex(Protocol):
    """The passages of one dataset, searchable. Safe to use from several threads."""

    @property
    def dim(self) -> int: ...

    @property
    def watermark(self) -> int:
        """All changes up to this number of the store's sequence are in."""
        ...

    def __len__(self) -> int: ...

    def apply(self, changes: Changes) -> None:
        """Take in what happened in the store; what is in already changes nothing.

        Raises:
            ModelMismatch: the embeddings are not ``dim`` wide.
        """
        ...

    def search(
        self, queries: Embeddings, top_k: int, similarity: float = -1.0, collections: AnyOf[int] | None = None
    ) -> list[list[Hit]]:
        """Find the passages most similar to each query.

        Args:
            queries: (n, dim) float32, rows of unit length.
            top_k: most hits for one query; at least 1.
            similarity: lowest cosine to keep, inclusive.
            collections: keys of the collections to search in; ``None`` for all.

        Returns:
            One list per query, best first, ties by ascending passage id.

        Raises:
            ModelMismatch: ``queries`` is not ``dim`` wide.
        """
        ...

    def contents(self) -> Changes:
        """A copy of everything in the index, as changes to an empty one."""
        ...
