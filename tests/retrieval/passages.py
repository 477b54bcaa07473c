"""Passages for the tests of the vector index: at random, in clusters, with copies; and what is right of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.types import Changes, Embeddings, Hit, PassageBlock
from retrieval.vectors.index import FoldPolicy, VectorIndex
from retrieval.vectors.part import SCAN_NS, WALK_NS, Part
from tests.oracle import TOLERANCE

SPREAD = 0.7
"""Length of what is added at random to the unit vector in the middle of a cluster."""


def unit_rows(count: int, seed: int, dim: int) -> Embeddings:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def clustered_rows(count: int, seed: int, dim: int, clusters: int = 60) -> Embeddings:
    """Around the same middles whatever the seed, so that another seed gives queries held out."""
    middles = unit_rows(clusters, 99, dim)
    rows = middles[np.random.default_rng(seed).integers(clusters, size=count)]
    rows = rows + SPREAD * unit_rows(count, seed + 1000, dim)
    unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def block(
    embeddings: npt.ArrayLike, first_id: int = 1, collections: int | npt.ArrayLike = 1, step: int = 1
) -> PassageBlock:
    """Passages with the ids ``first_id``, ``first_id + step`` …"""
    stored = np.asarray(embeddings, dtype=np.float16)
    ids = np.arange(first_id, first_id + step * len(stored), step, dtype=np.int64)
    keys = np.broadcast_to(np.asarray(collections, dtype=np.int64), len(stored)).copy()
    return PassageBlock(ids, keys, stored)


def take(
    passages: PassageBlock, places: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice
) -> PassageBlock:
    return PassageBlock(passages.ids[places], passages.collection_keys[places], passages.embeddings[places])


def without(passages: PassageBlock, ids: npt.ArrayLike) -> PassageBlock:
    return take(passages, ~np.isin(passages.ids, ids))


def joined(blocks: Sequence[PassageBlock], dim: int) -> PassageBlock:
    blocks = [block(np.empty((0, dim))), *blocks]
    return PassageBlock(
        np.concatenate([one.ids for one in blocks]),
        np.concatenate([one.collection_keys for one in blocks]),
        np.concatenate([one.embeddings for one in blocks]),
    )


def addition(passages: PassageBlock, removed: npt.ArrayLike = ()) -> Changes:
    last = int(passages.ids[-1]) if len(passages) else 0
    return Changes(passages, np.array(removed, dtype=np.int64), last, is_last=True)


def removal(dim: int, *passage_ids: int, watermark: int = 0) -> Changes:
    nothing = block(np.empty((0, dim)))
    return Changes(nothing, np.array(passage_ids, dtype=np.int64), watermark, is_last=True)


def index_of(passages: PassageBlock, policy: FoldPolicy) -> VectorIndex:
    index = VectorIndex(passages.embeddings.shape[1], policy)
    index.apply(addition(passages))
    return index


def contents(index: VectorIndex | Part) -> PassageBlock:
    """All that can be found, as it would be read to be sealed."""
    dim = index.dim if isinstance(index, VectorIndex) else index.codes.dim
    return joined(list(index.blocks(64)), dim)


def is_walked(part: Part) -> bool:
    """Whether a search for a few, with no filter and nothing removed, goes along the graph."""
    return part.codes.has_graph and part.codes.effort * WALK_NS < len(part.codes) * SCAN_NS


def found_ids(hits: Sequence[Hit]) -> list[int]:
    return [hit.passage_id for hit in hits]


def assert_same_block(left: PassageBlock, right: PassageBlock) -> None:
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.collection_keys, right.collection_keys)
    np.testing.assert_array_equal(left.embeddings.view(np.uint16), right.embeddings.view(np.uint16))


def assert_right(
    answers: Sequence[Sequence[Hit]],
    passages: PassageBlock,
    queries: Embeddings,
    top_k: int,
    recall: float = 1.0,
) -> None:
    """As many hits as there can be, distinct, in order, with their true scores; ``recall`` of the best.

    Scores that are closer than the tolerance are equal.
    """
    assert len(answers) == len(queries)
    count = min(top_k, len(passages))
    found_of_best = 0
    all_true = np.minimum(queries @ passages.embeddings.astype(np.float32).T, np.float32(1))
    for true, hits in zip(all_true, answers, strict=True):
        ids = np.array(found_ids(hits), dtype=np.int64)
        scores = np.array([hit.score for hit in hits])
        assert len(hits) == count
        assert len(np.unique(ids)) == count
        assert np.isin(ids, passages.ids).all()
        np.testing.assert_allclose(scores, true[np.searchsorted(passages.ids, ids)], rtol=0, atol=TOLERANCE)
        assert list(hits) == sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))
        if count:
            worst = np.partition(true, len(true) - count)[len(true) - count]
            found_of_best += int(np.count_nonzero(scores >= worst - TOLERANCE))
    assert found_of_best >= recall * count * len(queries)
