"""The chat benchmark: the model that says what time it is, and its reader."""

import asyncio
import os

import pytest

from benchmarks.chat import DELTAS, Target, ask
from benchmarks.server import starting

PAUSE_MS = 1.0


def test_each_delta_tells_how_long_it_was_on_its_way() -> None:
    with starting(("-m", "benchmarks.chat_backend", str(DELTAS), str(PAUSE_MS / 1000)), os.environ) as url:
        answer = asyncio.run(ask(Target(f"{url}/chat/completions"), "x"))

    assert len(answer.lags_ms) == DELTAS
    assert min(answer.lags_ms) > 0
    assert answer.first_ms > PAUSE_MS + answer.lags_ms[0]


def test_an_answer_with_too_few_deltas_is_no_measurement() -> None:
    with (
        starting(("-m", "benchmarks.chat_backend", "3", "0"), os.environ) as url,
        pytest.raises(RuntimeError, match=f"sent 3 of {DELTAS} deltas"),
    ):
        asyncio.run(ask(Target(f"{url}/chat/completions"), "x"))
