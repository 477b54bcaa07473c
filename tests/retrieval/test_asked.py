"""The questions that are remembered: each once, the last of them, also by the next process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retrieval.types import Embeddings
from retrieval.vectors.asked import ASKED_FILE, Asked
from retrieval.vectors.calibration import ENOUGH


def query(number: int) -> Embeddings:
    return np.array([number, 1], dtype=np.float32)


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


@pytest.mark.parametrize("effort", [0, 77])
def test_it_is_due_until_an_effort_was_found(effort: int) -> None:
    asked = Asked(effort=effort)
    for n in range(ENOUGH):
        assert not asked.is_due
        asked.note(f"question {n}", query(n))
    assert asked.is_due == (effort == 0)
    asked.effort = 77
    assert not asked.is_due


@pytest.mark.parametrize("count", [3, ENOUGH - 1, ENOUGH])
def test_what_was_saved_is_gone_on_with(tmp_path: Path, count: int) -> None:
    asked = Asked()
    for n in range(count):
        asked.note(f"question {n}", query(n))
    assert not asked.is_saved
    asked.effort = 77
    asked.save(tmp_path)
    assert asked.is_saved

    again = Asked.load(tmp_path, 2)
    assert (again.effort, again.is_saved, numbers(again)) == (77, True, list(range(count)))
    assert again.note("another", query(count)) == (count == ENOUGH - 1)
    assert numbers(again) == list(range(count + 1))[-ENOUGH:]
    assert again.queries().dtype == np.float32


def test_what_does_not_fit_is_not_loaded(tmp_path: Path) -> None:
    assert len(Asked.load(tmp_path / "none", 2)) == 0
    asked = Asked(effort=77)
    asked.note("question", query(1))
    asked.save(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    asked.save(tmp_path)
    assert len(Asked.load(tmp_path, 3)) == Asked.load(tmp_path, 3).effort == 0
    whole = (tmp_path / ASKED_FILE).read_bytes()
    for end in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / ASKED_FILE).write_bytes(whole[:end])
        assert len(Asked.load(tmp_path, 2)) == 0


def test_what_could_not_be_saved_is_still_to_be(tmp_path: Path) -> None:
    asked = Asked(effort=77)
    asked.note("question", query(1))
    (tmp_path / ASKED_FILE).mkdir()
    with pytest.raises(IsADirectoryError):
        asked.save(tmp_path)
    assert not asked.is_saved
    (tmp_path / ASKED_FILE).rmdir()
    asked.save(tmp_path)
    assert asked.is_saved
    assert numbers(Asked.load(tmp_path, 2)) == [1]
