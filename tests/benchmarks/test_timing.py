"""The loop that times calls: on calls that take what they say."""

import time
from collections.abc import Iterator

import pytest

from benchmarks.timing import Timed, time_each, time_once


def slept(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_each_answer_has_its_time() -> None:
    timed = time_each(slept, [0.02, 0, 0.01])

    assert timed.answers == [0.02, 0, 0.01]
    assert timed.taken_ms[0] >= 20
    assert timed.taken_ms[1] < timed.taken_ms[2]


def test_waiting_for_a_question_is_not_counted() -> None:
    def questions() -> Iterator[float]:
        slept(0.05)
        yield 0.0

    (taken_ms,) = time_each(slept, questions()).taken_ms

    assert taken_ms < 50


def test_one_call_in_seconds() -> None:
    answer, seconds = time_once(lambda: slept(0.02))

    assert answer == 0.02
    assert 0.02 <= seconds < 2


def test_rate_and_percentiles() -> None:
    timed = Timed(range(101), range(101))

    assert timed.per_s == pytest.approx(20)  # 101 answers in 5.05 seconds
    assert timed.percentiles() == {"p50_ms": 50.0, "p99_ms": 99.0}
    assert str(timed.percentiles(0)) == "{'p50_ms': 50, 'p99_ms': 99}"
