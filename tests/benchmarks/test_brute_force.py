"""The truth that indexes are measured against, beside a loop that anyone can check."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.brute_force import nearest_rows, recall

DIM = 8


def vectors(count: int, seed: int) -> npt.NDArray[np.float16]:
    """Of whole numbers, so that every order of adding up gives the same scores."""
    return np.random.default_rng(seed).integers(-9, 10, (count, DIM)).astype(np.float16)


def blocks_of(rows: npt.NDArray[np.float16], size: int) -> Iterator[npt.NDArray[np.float16]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def looped(
    rows: npt.NDArray[Any], query: npt.NDArray[Any], top_k: int, mask: Sequence[bool] | None
) -> list[float]:
    """The best scores, one after the other."""
    scores = []
    for place, row in enumerate(rows):
        if mask is None or mask[place]:
            scores.append(sum(float(a) * float(b) for a, b in zip(row, query, strict=True)))
    return sorted(scores, reverse=True)[:top_k]


@pytest.mark.parametrize("size", [1, 7, 10, 64, 65])
@pytest.mark.parametrize("top_k", [1, 5, 63, 64, 65])
def test_nearest_rows_are_those_of_a_loop(size: int, top_k: int) -> None:
    rows, queries = vectors(64, seed=1), vectors(5, seed=2).astype(np.float32)
    choice = np.random.default_rng(3)
    masks = [None, choice.random(64) < 0.5, choice.random(64) < 0.1, np.arange(64) == 40, np.arange(64) >= 60]

    found = nearest_rows(blocks_of(rows, size), queries, top_k, masks)

    assert len(found) == len(masks)
    for mask, each in zip(masks, found, strict=True):
        kept = 64 if mask is None else int(mask.sum())
        assert each.shape == (5, min(top_k, kept))
        for query, own in zip(queries, each, strict=True):
            assert len(set(own.tolist())) == len(own)
            assert mask is None or mask[own].all()
            # Rows of equal scores may stand for each other.
            scores = rows[own].astype(np.float32) @ query
            assert scores.tolist() == looped(rows, query, top_k, None if mask is None else mask.tolist())


@pytest.mark.parametrize("top_k", [2, 10, 30])
def test_the_last_of_the_best_among_many(top_k: int) -> None:
    rows = np.random.default_rng(4).permutation(2000).astype(np.float16)[:, np.newaxis]

    (found,) = nearest_rows(blocks_of(rows, 900), np.ones((1, 1), np.float32), top_k)

    assert rows[found[0], 0].tolist() == list(range(1999, 1999 - top_k, -1))


def test_without_equal_scores_the_rows_are_known() -> None:
    rows = np.arange(20, dtype=np.float16)[:, np.newaxis]
    best, worst = np.ones((1, 1), np.float32), -np.ones((1, 1), np.float32)
    odd = np.arange(20) % 2 == 1

    (first, of_odd) = nearest_rows(blocks_of(rows, 6), np.concatenate([best, worst]), 3, (None, odd))

    assert first.tolist() == [[19, 18, 17], [0, 1, 2]]
    assert of_odd.tolist() == [[19, 17, 15], [1, 3, 5]]


def test_a_mask_that_keeps_nothing() -> None:
    (found,) = nearest_rows(
        blocks_of(vectors(9, 1), 4), vectors(2, 2).astype(np.float32), 3, [np.zeros(9, np.bool_)]
    )
    assert found.shape == (2, 0)


@pytest.mark.parametrize(
    ("found", "true", "share"),
    [
        ([[1, 2, 3]], [[3, 2, 1]], 1.0),
        ([[1, 2, 9]], [[1, 2, 3]], 2 / 3),
        ([[1, 1, 1]], [[1, 2, 3]], 1 / 3),
        ([[]], [[1, 2]], 0.0),
        ([[1, 2], [8, 9]], [[1, 2], [3, 4]], 0.5),
        ([[1, 2, 3, 4]], [[3, 4]], 1.0),
    ],
)
def test_recall_is_the_share_of_the_true_ones(
    found: list[list[int]], true: list[list[int]], share: float
) -> None:
    assert recall(found, true) == pytest.approx(share)


def test_recall_wants_an_answer_to_every_query() -> None:
    with pytest.raises(ValueError, match="longer"):
        recall([[1]], [[1], [2]])
