"""The true nearest rows, by numpy alone: what every index here is compared with."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from retrieval.types import Embeddings, StoredEmbeddings

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def nearest_rows(
    blocks: Iterable[StoredEmbeddings],
    queries: Embeddings,
    top_k: int,
    masks: Sequence[Mask | None] = (None,),
) -> list[Rows]:
    """(queries, top_k) rows for each mask, best first.

    Args:
        blocks: the vectors in order, some at a time.
        masks: the rows to look at, one flag a row; ``None`` for all.
    """
    best = [(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)) for _ in masks]
    start = 0
    for block in blocks:
        scores = queries @ block.astype(np.float32).T
        for place, mask in enumerate(masks):
            kept = np.arange(len(block)) if mask is None else np.flatnonzero(mask[start : start + len(block)])
            best[place] = _merge(best[place], scores[:, kept], kept + start, top_k)
        start += len(block)
    return [rows for _, rows in best]


def _merge(
    best: tuple[Embeddings, Rows], scores: Embeddings, rows: Rows, top_k: int
) -> tuple[Embeddings, Rows]:
    all_scores = np.concatenate([best[0], scores], axis=1)
    all_rows = np.concatenate([best[1], np.broadcast_to(rows, scores.shape)], axis=1)
    if all_scores.shape[1] > top_k:
        kept = np.argpartition(-all_scores, top_k, axis=1)[:, :top_k]
        all_scores, all_rows = np.take_along_axis(all_scores, kept, 1), np.take_along_axis(all_rows, kept, 1)
    order = np.argsort(-all_scores, axis=1, kind="stable")
    return np.take_along_axis(all_scores, order, 1), np.take_along_axis(all_rows, order, 1)


def recall(found: Sequence[Sequence[int]], true: Sequence[Sequence[int]]) -> float:
    """The share of the true ones that were found, on average over the queries."""
    shares = [len(set(one) & set(other)) / len(other) for one, other in zip(found, true, strict=True)]
    return float(np.mean(shares))
