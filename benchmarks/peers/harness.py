"""What runs inside a peer's environment: one job, described on stdin, answered by one JSON line on stdout.

Every peer, and the project itself, is asked by the same lines here. A peer only says how it adds and how it
searches, and gives back the rows of what it found, for which it has read their texts.
"""

import csv
import json
import os
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.timing import time_each, time_once

Vectors = npt.NDArray[np.float32]
Setting = Mapping[str, int]
Item = TypeVar("Item")

ROUNDS = 3
WARM_UP = 20
LEAST_ASKED = 50
BY_CHANCE = 0.002
TRIED_WITH = 1000
"""Questions by which the setting for the recall is found."""


class Row(NamedTuple):
    """A question and its answer; together they are a text."""

    q: str
    a: str

    @property
    def text(self) -> str:
        return f"{self.q}\n{self.a}" if self.a else self.q


class Query(NamedTuple):
    """A question and its embedding, (dim,) float32 of unit length."""

    text: str
    vector: Vectors


@dataclass(frozen=True)
class Job:
    """What to measure. ``data`` holds vectors.npy, queries.npy, truth.npy, rows.json and questions.json."""

    kind: str
    place: Path
    """An empty folder for what the peer keeps."""
    data: Path
    top_k: int
    least_recall: float = 0.0
    round_s: float = 0.0
    """Most seconds that one round of questions takes."""
    model: Path | None = None
    """A sentence-transformers folder."""
    binding: Mapping[str, Any] | None = None
    is_killed: bool = False

    @cached_property
    def vectors(self) -> Vectors:
        """(n, dim)"""
        return self._load("vectors").astype(np.float32)

    @cached_property
    def rows(self) -> list[Row]:
        """Of the vectors, in the same order."""
        return [Row(*row) for row in json.loads((self.data / "rows.json").read_text(encoding="utf-8"))]

    @cached_property
    def questions(self) -> list[str]:
        found: list[str] = json.loads((self.data / "questions.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def queries(self) -> list[Query]:
        vectors = self._load("queries").astype(np.float32)
        return [Query(text, vector) for text, vector in zip(self.questions, vectors, strict=True)]

    @cached_property
    def truth(self) -> list[list[int]]:
        """The rows nearest to each query, best first."""
        found: list[list[int]] = self._load("truth").tolist()
        return found

    @property
    def prompts(self) -> dict[str, str]:
        """What the model wants before a ``query`` and a ``document``."""
        assert self.model is not None
        settings = (self.model / "config_sentence_transformers.json").read_text(encoding="utf-8")
        found: dict[str, str] = json.loads(settings)["prompts"]
        return found

    def _load(self, name: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = np.load(self.data / f"{name}.npy")
        return found


class VectorPeer(Protocol):
    """Vectors that come with texts."""

    @property
    def returns(self) -> str:
        """What a search has read when it returns."""

    @property
    def settings(self) -> Sequence[Setting]:
        """Of searches, from the quickest to the most thorough, each finding more; none if there is nothing to set."""

    @property
    def server(self) -> int | None:
        """The process that holds the data, if it is another."""

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        """Add them with the numbers from 0; they can be found, and are kept, when this returns."""

    def search(self, query: Query, top_k: int) -> Sequence[int]:
        """The rows nearest to the query, best first."""

    def use(self, setting: Setting) -> None:
        """Search with this from now on."""

    def count(self) -> int:
        """Vectors that are there."""


class TextPeer(Protocol):
    """Texts that the peer embeds by itself."""

    def add(self, table: Path) -> None:
        """Import a CSV file with the columns q and a; it can be found, and is kept, when this returns."""

    def search(self, question: str, top_k: int) -> Sequence[int]:
        """The numbers, from 0, of the rows nearest to the question, best first."""


OpenVectors = Callable[[Job], VectorPeer]
OpenTexts = Callable[[Job], TextPeer]


def read_rows(table: Path) -> list[Row]:
    """All rows of a CSV file with the columns q and a."""
    with table.open(encoding="utf-8", newline="") as stream:
        return [Row(row["q"], row["a"]) for row in csv.DictReader(stream)]


def efforts(name: str, least: int, most: int) -> tuple[Setting, ...]:
    """What a walk along a graph may spend, under the peer's name for it, each a tenth more than the one before."""
    steps = int(8 * log2(most / least))
    values = [*(round(least * 2 ** (step / 8)) for step in range(steps + 1)), most]
    return tuple({name: value} for value in dict.fromkeys(values))


def slices(count: int, size: int) -> Iterator[slice]:
    """Of ``size`` and less, up to ``count``."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def main(open_vectors: OpenVectors | None = None, open_texts: OpenTexts | None = None) -> None:
    """Do the job that stdin describes."""
    told = json.load(sys.stdin)
    paths = {name: Path(told[name]) for name in ("place", "data", "model") if told.get(name)}
    job = Job(**{**told, **paths})
    if job.kind in ("texts", "runs"):
        assert open_texts is not None
        measure = {"texts": measure_texts, "runs": find_runs}[job.kind]
        answer = measure(open_texts(job), job)
    else:
        assert open_vectors is not None
        answer = {"vectors": measure_vectors, "kill": add_and_die, "count": count_rows}[job.kind](
            open_vectors(job), job
        )
    _answer(answer)


def measure_vectors(peer: VectorPeer, job: Job) -> dict[str, Any]:
    """Adding all; then searches as the peer is, and with the quickest setting that finds enough."""
    _, add_s = time_once(lambda: peer.add(job.vectors, job.rows))
    default = _measure(peer, job)
    same = _measure_at(peer, job) if peer.settings else default
    return {
        "returns": peer.returns,
        "rows_per_s": round(len(job.vectors) / add_s),
        "default": default,
        "same_recall": same,
        "disk_mb": _megabytes(job.place),
        "resident_mb": _resident_mb(),
    }


def _measure_at(peer: VectorPeer, job: Job) -> dict[str, Any] | None:
    """With the least setting that finds enough, give or take what chance does; ``None`` if none does."""

    def finds_enough(setting: Setting) -> bool:
        peer.use(setting)
        return _recall_of(peer, job) >= job.least_recall

    for setting in peer.settings[bisect_left(peer.settings, True, key=finds_enough) :]:
        peer.use(setting)
        measured = _measure(peer, job)
        if measured["recall_at_10"] >= job.least_recall - BY_CHANCE:
            return {"setting": dict(setting), **measured}
    return None


def _measure(peer: VectorPeer, job: Job) -> dict[str, Any]:
    """Each question once, in rounds of other questions, so that nothing can be remembered within them."""
    for query in job.queries[-WARM_UP:]:
        peer.search(query, job.top_k)
    size = (len(job.queries) - WARM_UP) // ROUNDS
    rates: list[float] = []
    taken_ms: list[float] = []
    shares: list[float] = []
    cpu_s, started = time.process_time(), time.monotonic()
    for turn in range(ROUNDS):
        part = slice(turn * size, (turn + 1) * size)
        timed = time_each(lambda one: peer.search(one, job.top_k), _within(job.queries[part], job.round_s))
        rates.append(timed.per_s)
        taken_ms += timed.taken_ms
        shares += _shares(timed.answers, job.truth[part])
    cores = (time.process_time() - cpu_s) / (time.monotonic() - started)
    p50, p99 = np.percentile(taken_ms, (50, 99))
    return {
        "recall_at_10": round(float(np.mean(shares)), 4),
        "queries_per_s": round(median(rates), 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "asked": len(taken_ms),
        "cores_busy": round(cores, 2),
    }


def _recall_of(peer: VectorPeer, job: Job) -> float:
    asked = [peer.search(query, job.top_k) for query in _within(job.queries[:TRIED_WITH], job.round_s)]
    return float(np.mean(_shares(asked, job.truth)))


def _shares(found: Iterable[Sequence[int]], truth: Iterable[Sequence[int]]) -> list[float]:
    return [len(set(one) & set(true)) / len(true) for one, true in zip(found, truth, strict=False)]


def _within(items: Sequence[Item], seconds: float) -> Iterator[Item]:
    """As many as come before the time is over, and a few in any case."""
    end = time.monotonic() + seconds
    for place, item in enumerate(items):
        if place >= LEAST_ASKED and time.monotonic() > end:
            return
        yield item


def add_and_die(peer: VectorPeer, job: Job) -> dict[str, Any]:
    """Add all, say so, and be killed; a server that holds the data is made to end at once, saving nothing."""
    peer.add(job.vectors, job.rows)
    _answer({"added": len(job.vectors)})
    if peer.server is not None:
        os.kill(peer.server, signal.SIGQUIT)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process does not come here")


def count_rows(peer: VectorPeer, job: Job) -> dict[str, Any]:
    """What is there after ``add_and_die``."""
    return {"kept": peer.count()}


def measure_texts(peer: TextPeer, job: Job) -> dict[str, Any]:
    """Import a table, ask questions; the model is loaded before."""
    peer.add(job.data / "warm_up.csv")
    _, import_s = time_once(lambda: peer.add(job.data / "rows.csv"))
    for question in job.questions[-WARM_UP:]:
        peer.search(question, job.top_k)
    timed = time_each(
        lambda question: peer.search(question, job.top_k), _within(job.questions[:-WARM_UP], job.round_s)
    )
    return {
        "rows_per_s": round(len(read_rows(job.data / "rows.csv")) / import_s, 1),
        "import_s": round(import_s, 1),
        "queries_per_s": round(timed.per_s, 1),
        **timed.percentiles(),
        "disk_mb": _megabytes(job.place),
        "resident_mb": _resident_mb(),
    }


def find_runs(peer: TextPeer, job: Job) -> dict[str, Any]:
    """Import a corpus, search all its queries: the rows found for each."""
    _, import_s = time_once(lambda: peer.add(job.data / "rows.csv"))
    timed = time_each(lambda question: list(peer.search(question, job.top_k)), job.questions)
    return {"import_s": round(import_s, 1), "found": timed.answers, **timed.percentiles()}


def _answer(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _megabytes(place: Path) -> float:
    return round(sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e6, 1)


def _resident_mb() -> int | None:
    """The most that this process had; ``None`` where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    # What getrusage tells is at least what the parent had.
    return next(round(int(line.split()[1]) / 1024) for line in lines if line.startswith("VmHWM"))
