"""Calls timed one after another: the loop of every benchmark, of the project and of its peers.

Nothing but numpy and the standard library is imported, so that it runs in the environment of a peer, too.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Timed(Generic[Answer]):
    """What was answered, and the milliseconds that each answer took."""

    answers: Sequence[Answer]
    taken_ms: Sequence[float]

    @property
    def per_s(self) -> float:
        """Answers a second of one client that asks the next as soon as it has the last."""
        return 1000 * len(self.taken_ms) / sum(self.taken_ms)

    def percentiles(self, digits: int = 2) -> dict[str, Any]:
        """``p50_ms`` and ``p99_ms``; whole numbers if no digits are wanted."""
        p50, p99 = (round(float(ms), digits or None) for ms in np.percentile(self.taken_ms, (50, 99)))
        return {"p50_ms": p50, "p99_ms": p99}


def time_each(ask: Callable[[Question], Answer], questions: Iterable[Question]) -> Timed[Answer]:
    """Ask them one after another; what the iterable itself takes to give a question is not counted."""
    answers: list[Answer] = []
    taken_ms: list[float] = []
    for question in questions:
        started = time.perf_counter()
        answers.append(ask(question))
        taken_ms.append((time.perf_counter() - started) * 1000)
    return Timed(answers, taken_ms)


def time_once(do: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer and the seconds it took."""
    timed = time_each(lambda _: do(), [None])
    return timed.answers[0], timed.taken_ms[0] / 1000
