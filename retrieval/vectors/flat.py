"""Exact search: a FAISS scalar quantizer over fp16, scanned whole.

What FAISS leaves open is settled here: labels are positions, and positions ascend with passage
ids, so that ids are never entered twice; ties have an order; padding does not come out.
"""

from collections.abc import Collection as AnyOf

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.errors import ModelMismatch
from retrieval.types import Changes, Embeddings, Hit, PassageBlock, PassageIds, StoredEmbeddings
from retrieval.vectors.locking import ReadWriteLock

Scores = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


class FlatIndex:
    """A :class:`retrieval.vectors.VectorIndex` without approximation: 2 × dim bytes a passage.

    Scores are inner products of float32 queries with float16 passages, at most 1.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._watermark = 0
        self._lock = ReadWriteLock()
        self._ids: PassageIds = np.empty(0, dtype=np.int64)
        self._collection_keys: PassageIds = np.empty(0, dtype=np.int64)
        self._faiss = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )

    @property
    def watermark(self) -> int:
        return self._watermark

    def __len__(self) -> int:
        return len(self._ids)

    def apply(self, changes: Changes) -> None:
        with self._lock.writing():
            self._add(changes.added)
            self._remove(changes.removed)
            self._watermark = max(self._watermark, changes.watermark)

    def search(
        self, queries: Embeddings, top_k: int, similarity: float = -1.0, collections: AnyOf[int] | None = None
    ) -> list[list[Hit]]:
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ModelMismatch(
                f"queries of shape {queries.shape} cannot search an index of {self.dim} dimensions"
            )
        with self._lock.reading():
            allowed = self._allowed(collections)
            available = len(self._ids) if allowed is None else int(allowed.sum())
            return [self._search_one(query, min(top_k, available), similarity, allowed) for query in queries]

    def contents(self) -> Changes:
        with self._lock.reading():
            codes = faiss.vector_to_array(self._faiss.codes)
            embeddings: StoredEmbeddings = codes.view(np.float16).reshape(len(self._ids), self.dim)
            block = PassageBlock(self._ids.copy(), self._collection_keys.copy(), embeddings)
            return Changes(block, np.empty(0, dtype=np.int64), self._watermark, is_last=True)

    def _add(self, block: PassageBlock) -> None:
        if not len(block):
            return
        if block.embeddings.shape[1] != self.dim:
            raise ModelMismatch(
                f"passages of {block.embeddings.shape[1]} dimensions do not fit an index of {self.dim}"
            )
        is_new = block.ids > self._watermark
        codes = np.ascontiguousarray(block.embeddings[is_new], dtype=np.float16)
        self._faiss.add_sa_codes(codes.view(np.uint8).reshape(len(codes), 2 * self.dim))
        self._ids = np.concatenate([self._ids, block.ids[is_new]])
        self._collection_keys = np.concatenate([self._collection_keys, block.collection_keys[is_new]])

    def _remove(self, passage_ids: PassageIds) -> None:
        is_gone = np.isin(self._ids, passage_ids)
        if not is_gone.any():
            return
        bitmap = np.packbits(is_gone, bitorder="little")
        self._faiss.remove_ids(faiss.IDSelectorBitmap(bitmap))
        self._ids = self._ids[~is_gone]
        self._collection_keys = self._collection_keys[~is_gone]

    def _allowed(self, collections: AnyOf[int] | None) -> npt.NDArray[np.bool_] | None:
        if collections is None:
            return None
        return np.isin(self._collection_keys, np.fromiter(collections, dtype=np.int64))

    def _search_one(
        self,
        query: npt.NDArray[np.float32],
        top_k: int,
        similarity: float,
        allowed: npt.NDArray[np.bool_] | None,
    ) -> list[Hit]:
        if top_k < 1:
            return []
        scores, positions = self._scan_with_ties(query, top_k, allowed)
        order = np.lexsort((positions, -scores))[:top_k]
        return [
            Hit(int(self._ids[position]), float(score))
            for score, position in zip(scores[order], positions[order], strict=True)
            if score >= np.float32(similarity)
        ]

    def _scan_with_ties(
        self, query: npt.NDArray[np.float32], top_k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> tuple[Scores, Positions]:
        """At least the best ``top_k``, with everything that ties with the last of them."""
        available = len(self._ids) if allowed is None else int(allowed.sum())
        count = top_k
        while True:
            count = min(count + 8, available)
            scores, positions = self._scan(query, count, allowed)
            if count == available or scores[-1] < scores[top_k - 1]:
                return scores, positions
            count *= 2

    def _scan(
        self, query: npt.NDArray[np.float32], count: int, allowed: npt.NDArray[np.bool_] | None
    ) -> tuple[Scores, Positions]:
        parameters = None
        if allowed is not None:
            bitmap = np.packbits(allowed, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        scores, positions = self._faiss.search(query[np.newaxis], count, params=parameters)
        # FAISS pads missing results with id -1.
        found = positions[0] >= 0
        # Rounded to fp16, a row can be longer than 1.
        return np.minimum(scores[0][found], np.float32(1)), positions[0][found]
