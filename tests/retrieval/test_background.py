"""When upkeep gets to a dataset."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import retrieval.background
from retrieval.background import Background

LONG_S = 1_000.0


class Clock:
    """Stands still unless it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(retrieval.background, "time", SimpleNamespace(monotonic=lambda: self.now))


@contextmanager
def noting(rest_s: float, longest_s: float) -> Iterator[tuple[Background, list[str], threading.Event]]:
    """Upkeep that notes what it was called with."""
    called: list[str] = []
    was_called = threading.Event()

    def work(dataset_id: str) -> None:
        called.append(dataset_id)
        was_called.set()

    background = Background(work, "noting", rest_s, longest_s)
    try:
        yield background, called, was_called
    finally:
        background.close()


def order_of_turns(longest_s: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of "a", due at 0 s and again at 8 s, and "b", due at 5 s, each resting for 10 s."""
    clock = Clock(monkeypatch)
    with noting(10.0, longest_s) as (background, called, _):
        for clock.now, dataset_id in ((0.0, "a"), (5.0, "b"), (8.0, "a")):
            background.put(dataset_id)
        background.settle()
        return called


def test_what_is_due_again_rests_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert order_of_turns(LONG_S, monkeypatch) == ["b", "a"]


def test_nothing_waits_longer_than_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert order_of_turns(12.0, monkeypatch) == ["a", "b"]


@pytest.mark.parametrize(("rest_s", "longest_s"), [(0.05, LONG_S), (LONG_S, 0.05)])
def test_its_turn_comes_by_itself(rest_s: float, longest_s: float) -> None:
    with noting(rest_s, longest_s) as (background, called, was_called):
        background.put("a")

        assert was_called.wait(10)
        assert called == ["a"]


def test_closing_does_not_wait_for_what_rests() -> None:
    with noting(LONG_S, LONG_S) as (background, called, _):
        background.put("a")

    assert called == []
