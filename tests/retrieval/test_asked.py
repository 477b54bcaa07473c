"""The questions that are remembered: each once, the last of them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.types import Embeddings
from retrieval.vectors.asked import Asked
from retrieval.vectors.calibration import ENOUGH


def query(number: int) -> Embeddings:
    return np.array([[number, 1]], dtype=np.float32)


def numbers(asked: Asked) -> list[int]:
    return [int(row[0]) for row in asked.queries()]


def test_it_is_said_once_that_there_are_enough() -> None:
    asked = Asked()
    assert len(asked.queries()) == 0
    told = [asked.note(f"question {n}", query(n)) for n in range(3 * ENOUGH)]
    assert [n for n, is_enough in enumerate(told) if is_enough] == [ENOUGH - 1]


@pytest.mark.parametrize(("count", "is_enough"), [(1, False), (ENOUGH - 1, False), (ENOUGH, True)])
def test_a_question_counts_once(count: int, is_enough: bool) -> None:
    asked = Asked()
    told = [asked.note(f"question {n % count}", query(n)) for n in range(2 * count)]
    assert any(told) == is_enough
    assert numbers(asked) == list(range(count))


def test_the_last_ones_are_kept() -> None:
    asked = Asked()
    for n in range(ENOUGH + 7):
        asked.note(f"question {n}", query(n))
    assert asked.queries().shape == (ENOUGH, 2)
    assert numbers(asked) == list(range(7, ENOUGH + 7))


def test_threads_note_side_by_side() -> None:
    asked = Asked()

    def note(first: int) -> int:
        return sum(asked.note(f"question {n}", query(n)) for n in range(first, first + ENOUGH))

    with ThreadPoolExecutor(4) as pool:
        told = sum(pool.map(note, (0, 0, ENOUGH // 2, 5 * ENOUGH)))
    assert told == 1
    assert len(set(numbers(asked))) == ENOUGH
