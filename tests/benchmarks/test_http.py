"""The load of a server: what becomes of its answers. The load itself needs Locust, which is installed when it is asked for."""

from itertools import islice

import pytest

from benchmarks.http import LOCK, figures, new_questions


def test_questions_are_new_for_ever() -> None:
    asked = list(islice(new_questions(["a", "b?", "c"]), 10))

    assert asked[:6] == ["a?", "b??", "c?", "a??", "b???", "c??"]
    assert len(set(asked)) == len(asked)


def test_the_figures_of_a_load() -> None:
    answer = {"taken_ms": [1.0, 2.0, 3.0, 4.0], "asked_in_all": 6, "failed": 1}

    assert figures(answer, 6, seconds=2.0) == {
        "answered_per_s": 2.0,
        "p50_ms": 2.5,
        "p99_ms": pytest.approx(3.97, abs=0.1),
        "failed": 1,
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"taken_ms": [], "asked_in_all": 3, "failed": 3},
        {"taken_ms": [1.0] * 7, "asked_in_all": 7, "failed": 0},
    ],
)
def test_a_load_that_says_nothing_is_an_error(answer: dict[str, object]) -> None:
    with pytest.raises(RuntimeError, match="of 6 questions"):
        figures(answer, 6, seconds=2.0)


def test_the_load_generator_is_pinned() -> None:
    lines = LOCK.read_text(encoding="utf-8").splitlines()

    assert any(line.startswith("locust==") for line in lines)
    assert all("==" in line for line in lines)
