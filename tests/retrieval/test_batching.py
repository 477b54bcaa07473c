"""Batches carry each text once, the longest first, within their budget of tokens."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.embedding.batching import BATCH_TOKENS, batches_by_length


def batches(lengths: list[int], max_tokens: int) -> list[list[int]]:
    return [batch.tolist() for batch in batches_by_length(lengths, max_tokens)]


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "expected"),
    [
        ([], 10, []),
        ([5], 10, [[0]]),
        ([5, 5], 10, [[0, 1]]),
        ([5, 5], 9, [[0], [1]]),
        ([5, 5, 5], 10, [[0], [1, 2]]),
        ([1, 9, 2, 3], 10, [[1], [3, 2, 0]]),
        ([4, 10, 4], 10, [[1], [0, 2]]),
        ([50, 1, 20], 10, [[0], [2], [1]]),
        ([0, 0, 0], 2, [[0, 1, 2]]),
        ([100, 4, 4], 1000, [[0], [1, 2]]),
        ([20, 12, 20, 11], 1000, [[0, 2, 1, 3]]),
        ([20, 12, 20, 11, 3], 1000, [[0, 2], [1, 3, 4]]),
        ([3, 3, 3, 3], 1, [[0], [1], [2], [3]]),
    ],
)
def test_batches(lengths: list[int], max_tokens: int, expected: list[list[int]]) -> None:
    assert batches(lengths, max_tokens) == expected


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 100))
def test_each_position_once_longest_first_and_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    found = batches(lengths, max_tokens)
    in_order = [position for batch in found for position in batch]
    assert sorted(in_order) == list(range(len(lengths)))
    assert in_order == sorted(in_order, key=lambda position: (-lengths[position], position))
    for batch in found:
        padded = len(batch) * lengths[batch[0]]
        assert padded <= max_tokens or len(batch) == 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.integers(1, 100))
def test_no_other_cut_costs_less(lengths: list[int], max_tokens: int) -> None:
    descending = sorted(lengths, reverse=True)
    costs = []
    for cuts in product((False, True), repeat=len(lengths) - 1):
        starts = [0, *(place for place, is_cut in enumerate(cuts, start=1) if is_cut), len(lengths)]
        groups = [descending[start:stop] for start, stop in pairwise(starts)]
        if all(len(group) == 1 or len(group) * group[0] <= max_tokens for group in groups):
            costs.append(sum(BATCH_TOKENS + len(group) * group[0] for group in groups))
    found = batches(lengths, max_tokens)
    assert sum(BATCH_TOKENS + len(batch) * lengths[batch[0]] for batch in found) == min(costs)


def test_positions_index_an_array() -> None:
    (batch,) = batches_by_length([1, 2], 10)
    assert np.array(["short", "longer"])[batch].tolist() == ["longer", "short"]


def test_what_a_batch_costs_decides_how_many_there_are() -> None:
    lengths = [64, 64, 32, 32]
    assert [len(batch) for batch in batches_by_length(lengths, 1000, 16)] == [2, 2]
    assert [len(batch) for batch in batches_by_length(lengths, 1000, 200)] == [4]
