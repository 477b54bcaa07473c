"""What the chat layer adds to a language model: to its first word, and to many answers at once.

The model is a process of its own that says what time it is, so that each piece tells how long it was on its way.
Before it stands a server as users run it. They and the clients share the machine's cores.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.chat_backend import MODEL
from benchmarks.corpus import fill, read_passages
from benchmarks.report import make_report
from benchmarks.server import chatting
from retrieval.embedding import binding
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library

DELTAS = 200
"""Of each answer; what models call tokens."""

PAUSE_S = 0.005
"""Between two of them."""

STREAMS = 32
"""At once."""

WARM = 8
"""Answers before anything is measured."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: records to search in, answers one after another, rounds of many at once."""

    records: int
    answers: int
    rounds: int


FULL = Size(20_000, 100, 10)
QUICK = Size(1_000, 10, 2)


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: a URL of chat completions, and a key for it."""

    url: str
    key: str = "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """Milliseconds from the question to the first delta, and of each delta from its sending to its arrival."""

    first_ms: float
    lags_ms: Sequence[float]


def measure_chat(
    bulk: Path, embedder: BundledEmbedder, cache_dir: Path, size: Size, say: Say
) -> dict[str, Any]:
    """Answers through the server and from the model itself, in turns."""
    drafts, embeddings = read_passages(bulk, embedder, cache_dir, size.records, say)
    questions = (f"{draft.q}?" for draft in drafts)
    with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
        data_dir = Path(place) / "data"
        with Library.open(data_dir, embedder) as library:
            fill(library, drafts, embeddings)
        say(f"{len(drafts):,} records are in")
        with chatting(data_dir, cache_dir, DELTAS, PAUSE_S) as chat:
            through = Target(f"{chat.server}/v1/chat/completions", chat.app_key)
            bench = _Bench(through, Target(f"{chat.backend}/chat/completions"), questions, say)
            results = asyncio.run(bench.measure(size))
    shape = {"records": len(drafts), "deltas": DELTAS, "pause_ms": PAUSE_S * 1000}
    return make_report("speed chat", binding(embedder), bulk, shape | results)


class _Bench:
    """Each question is asked once, so that no embedding is remembered."""

    def __init__(self, through: Target, direct: Target, questions: Iterator[str], say: Say) -> None:
        self._targets = {"through": through, "direct": direct}
        self._questions = questions
        self._say = say

    async def measure(self, size: Size) -> dict[str, Any]:
        for target in self._targets.values():
            await asyncio.gather(*(ask(target, next(self._questions)) for _ in range(WARM)))
        return {
            "one_by_one": await self._one_by_one(size.answers),
            "at_once": await self._at_once(size.rounds),
        }

    async def _one_by_one(self, count: int) -> dict[str, Any]:
        answers: dict[str, list[Answer]] = {name: [] for name in self._targets}
        for place in range(count):
            for name in self._turns(place):
                answers[name].append(await ask(self._targets[name], next(self._questions)))
        figures = {name: _figures(answers[name]) for name in answers}
        self._say(f"one by one: {figures}")
        return {"answers": count, **figures}

    async def _at_once(self, rounds: int) -> dict[str, Any]:
        seconds = dict.fromkeys(self._targets, 0.0)
        answers: dict[str, list[Answer]] = {name: [] for name in self._targets}
        for place in range(rounds):
            for name in self._turns(place):
                asked = [next(self._questions) for _ in range(STREAMS)]
                started = time.perf_counter()
                answers[name] += await asyncio.gather(*(ask(self._targets[name], text) for text in asked))
                seconds[name] += time.perf_counter() - started
            self._say(f"round {place + 1} of {rounds}: {seconds}")
        figures = {
            name: {
                "s": round(seconds[name] / rounds, 3),
                "deltas_per_s": round(STREAMS * DELTAS * rounds / seconds[name]),
                **_figures(answers[name]),
            }
            for name in self._targets
        }
        return {
            "streams": STREAMS,
            "rounds": rounds,
            **figures,
            "times_direct": round(seconds["through"] / seconds["direct"], 3),
        }

    def _turns(self, place: int) -> Sequence[str]:
        """Who goes first changes."""
        names = list(self._targets)
        return names if place % 2 else names[::-1]


def _figures(answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        "first_delta_lag_ms": _percentiles([answer.lags_ms[0] for answer in answers]),
        "delta_lag_ms": _percentiles([lag for answer in answers for lag in answer.lags_ms]),
        "to_first_delta_ms": _percentiles([answer.first_ms for answer in answers]),
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


async def ask(target: Target, question: str) -> Answer:
    """Read a stream as it comes, with as little in between as can be."""
    address = urlsplit(target.url)
    body = json.dumps(
        {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": question}]}
    ).encode()
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {target.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    started = time.monotonic_ns()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head.encode() + body)
    arrived = [(time.monotonic_ns(), line) async for line in reader if line.startswith(b"data: {")]
    writer.close()
    deltas = [(moment, sent) for moment, line in arrived if (sent := _sent(line))]
    if len(deltas) != DELTAS:
        raise RuntimeError(f"{target.url} sent {len(deltas)} of {DELTAS} deltas: {arrived[-1:]}")
    return Answer((deltas[0][0] - started) / 1e6, [(moment - sent) / 1e6 for moment, sent in deltas])


def _sent(line: bytes) -> int | None:
    """When a delta was sent; the last chunk has none."""
    (choice,) = json.loads(line.removeprefix(b"data: "))["choices"]
    content = choice["delta"].get("content")
    return int(content) if content else None
