"""Threads that give way to others."""

import os
import sys
import threading

import pytest

from retrieval.priority import stand_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is not a thread's own here")


def own_niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def in_a_thread(*steps: int) -> tuple[int, int]:
    """Niceness of a thread that stands back, and of one that it starts."""
    seen: list[int] = []

    def see() -> None:
        seen.append(own_niceness())

    def stand_back_and_see() -> None:
        for step in steps:
            stand_back(step)
        see()
        child = threading.Thread(target=see)
        child.start()
        child.join()

    thread = threading.Thread(target=stand_back_and_see)
    thread.start()
    thread.join()
    own, of_child = seen
    return own, of_child


@pytest.mark.parametrize("steps", [(5,), (3, 4), (19,), (10, 15)])
def test_a_thread_and_those_it_starts_stand_back_and_others_do_not(steps: tuple[int, ...]) -> None:
    before = expected = own_niceness()
    for step in steps:
        expected = min(expected + step, 19)
    assert in_a_thread(*steps) == (expected, expected)
    assert own_niceness() == before
