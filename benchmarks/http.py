"""A server under load: what a search and a chat take at rates up to more than it can do, and how many clients it serves.

First so many clients at once, each of which asks again as soon as it is answered (a closed load); the most answers a
second of these is what the server can do. Then questions come at shares of that rate, whatever the answers take (an
open load), as those of people do who do not wait for each other. Server, model and load share the machine's cores.
"""

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.chat_backend import MODEL
from benchmarks.corpus import Say, fill, read_passages
from benchmarks.peers.environments import environment_python
from benchmarks.report import SEED, make_report
from benchmarks.server import Chat, chatting
from benchmarks.timing import Timed
from retrieval.embedding import binding
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from retrieval.types import Dataset

HERE = Path(__file__).parent
LOCK = HERE / "locks" / "locust.txt"

DELTAS, PAUSE_S = 20, 0.005
"""Of an answer of the language model: a tenth of a second."""

KNOWN = 32
"""Questions that are asked again and again."""

MOST_PER_S = 1000
"""More than is ever asked: so many new questions are made for each second."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; each load is measured for ``seconds``, after ``warm_s`` of it."""

    records: int
    seconds: float
    warm_s: float
    clients: Sequence[int]
    shares: Sequence[float]
    """Of what the server can do, at which questions come."""


FULL = Size(100_000, 15.0, 5.0, (1, 4, 16, 64), (0.25, 0.5, 0.75, 0.9, 1.1))
QUICK = Size(1_000, 1.5, 0.5, (1, 16), (0.5, 1.1))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: the path, the key for it, and the body of each question."""

    path: str
    key: str
    bodies: Iterator[Body]


def measure_http(
    bulk: Path, embedder: BundledEmbedder, cache_dir: Path, size: Size, say: Say
) -> dict[str, Any]:
    """Searches and chats, with questions that are new and with some that are known."""
    drafts, embeddings = read_passages(bulk, embedder, cache_dir, size.records, say)
    questions = list(dict.fromkeys(draft.q for draft in drafts))
    with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
        data_dir = Path(place) / "data"
        with Library.open(data_dir, embedder) as library:
            dataset = fill(library, drafts, embeddings)
            library.load_index(dataset.id)
            library.settle()
        say(f"{len(drafts):,} records are in")
        with chatting(data_dir, cache_dir, DELTAS, PAUSE_S) as chat:
            bench = _Bench(chat, dataset, questions, environment_python(LOCK, cache_dir, say), size, say)
            loads = bench.measure()
    shape = {"records": len(drafts), "known": KNOWN, "deltas": DELTAS, "pause_ms": PAUSE_S * 1000}
    return make_report("http", binding(embedder), bulk, {**shape, "seconds": size.seconds, "loads": loads})


def new_questions(questions: Sequence[str]) -> Iterator[str]:
    """Questions that nobody has asked, without end: in each round with one more question mark."""
    for marks in itertools.count(1):
        for question in questions:
            yield question + "?" * marks


class _Bench:
    def __init__(
        self, chat: Chat, dataset: Dataset, questions: Sequence[str], python: Path, size: Size, say: Say
    ) -> None:
        self._chat = chat
        self._dataset = dataset
        self._new = new_questions(questions)
        self._python = python
        self._size = size
        self._say = say

    def measure(self) -> dict[str, Any]:
        known = list(islice(self._new, KNOWN))
        loads = {}
        for name, texts in (("new", self._new), ("known", itertools.cycle(known))):
            loads[f"search_{name}"] = self._measure(f"searches, {name} questions", self._search(texts))
            loads[f"chat_{name}"] = self._measure(f"chats, {name} questions", self._complete(texts))
        return loads

    def _search(self, texts: Iterable[str]) -> Asked:
        bodies = ({"datasetId": self._dataset.id, "text": text, "topK": 10} for text in texts)
        return Asked("/api/core/dataset/searchTest", self._chat.key, bodies)

    def _complete(self, texts: Iterable[str]) -> Asked:
        bodies = (
            {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": text}]}
            for text in texts
        )
        return Asked("/v1/chat/completions", self._chat.app_key, bodies)

    def _measure(self, name: str, asked: Asked) -> dict[str, Any]:
        closed = [
            {"clients": clients, **self._load(asked, {"clients": clients})} for clients in self._size.clients
        ]
        most_per_s = max(one["answered_per_s"] for one in closed)
        rates = [round(share * most_per_s, 1) for share in self._size.shares]
        measured = {
            "closed": closed,
            "open": [{"rate": rate, **self._load(asked, {"rate": rate})} for rate in rates],
        }
        self._say(f"{name}: {measured}")
        return measured

    def _load(self, asked: Asked, load: Mapping[str, float]) -> dict[str, Any]:
        size = self._size
        count = int(MOST_PER_S * (size.warm_s + size.seconds))
        job = {
            "url": self._chat.server,
            "path": asked.path,
            "key": asked.key,
            "bodies": list(islice(asked.bodies, count)),
            "seconds": size.seconds,
            "warm_s": size.warm_s,
            "seed": SEED,
            **load,
        }
        done = subprocess.run(
            [self._python, "-m", "benchmarks.load"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
        if done.returncode:
            raise RuntimeError(f"the load of {load} failed: {done.stderr[-2000:]}")
        return figures(json.loads(done.stdout.splitlines()[-1]), count, size.seconds)


def figures(answer: Mapping[str, Any], questions: int, seconds: float) -> dict[str, Any]:
    """Answers a second, percentiles of what they took, and how many failed.

    Raises:
        RuntimeError: nothing was answered, or more was asked than there were questions.
    """
    taken_ms = answer["taken_ms"]
    if not taken_ms or answer["asked_in_all"] > questions:
        raise RuntimeError(f"{len(taken_ms)} answers to {answer['asked_in_all']} of {questions} questions")
    return {
        "answered_per_s": round(len(taken_ms) / seconds, 1),
        **Timed(taken_ms, taken_ms).percentiles(1),
        "failed": answer["failed"],
    }
