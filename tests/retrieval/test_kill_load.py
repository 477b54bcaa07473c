"""A process under load is killed at any moment: all that it had acknowledged is there, and nothing else.

``python -m tests.retrieval.test_kill_load --rounds 100 --seed N`` does the same for longer.
"""

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.library import Library
from retrieval.types import Dataset, VerifyReport
from tests.retrieval.kill_load import ALIKE, TextEmbedder, draft_of, number_of, open_library

ROOT = Path(__file__).parents[2]

ROUNDS_PER_DIRECTORY = 4
"""Later ones begin with what the earlier ones have left."""

LONGEST_S = 2.5
"""A process that does not come to the moment in question is killed all the same."""

SOUGHT_IN_VAIN = 100
"""Searches for what is gone."""

MISSED_BY_THE_WALK = 0.02
"""The share of passages that a walk along a graph may miss where a scan finds them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Up to ``within_s`` after an operation was begun for the ``nth`` time; ``""`` is the start."""

    name: str
    begun: str
    within_s: float
    nth: tuple[int, ...] = (1,)


MOMENTS = (
    Moment("working", "add", 2.0),
    Moment("closing", "close", 0.012, (1, 1, 2)),
    Moment("folding", "settle", 0.1, (1, 2, 3, 4)),
    Moment("opening", "open", 0.015, (1, 1, 2)),
    Moment("deleting", "delete", 0.01, (1, 5, 20)),
    Moment("rebuilding", "rebuild", 0.08, (1, 2, 3)),
    Moment("dropping", "drop", 0.01, (1, 2, 3)),
    Moment("working", "add", 2.0),
    Moment("starting", "", 1.2),
)


@dataclass
class Past:
    """What there must be in a data directory, and what may be."""

    home: dict[int, str] = field(default_factory=dict)
    """The collection of each record that was ever begun to be added."""
    must: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    groups: list[set[int]] = field(default_factory=list)
    """Records of which there are all or none."""
    collections: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    dropping: set[str] = field(default_factory=set)
    acknowledged: int = 0
    in_flight: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def read(self, log: Path) -> None:
        """Go on with what a process has written of itself."""
        whole_lines = log.read_text().rpartition("\n")[0].splitlines() if log.exists() else []
        lines = [json.loads(line) for line in whole_lines]
        ended = {line["n"]: line for line in lines if "done" in line or "failed" in line}
        begun = [line for line in lines if "begin" in line]
        self.errors = [line["error"] for line in lines if "error" in line]
        self.acknowledged = len(ended)
        self.in_flight = [line["begin"] for line in begun if line["n"] not in ended]
        deleted: set[int] = set()
        for line in begun:
            deleted.update(self._note(line, ended.get(line["n"])))
        self.gone |= {number for number, collection in self.home.items() if collection in self.dropped}
        self.groups += [
            {n for n in self.must - self.gone if self.home[n] == collection} for collection in self.dropping
        ]
        self.must -= deleted | self.gone
        self.must -= {number for number in self.must if self.home[number] in self.dropping}

    def _note(self, line: dict[str, Any], end: dict[str, Any] | None) -> list[int]:
        """The records that it may have deleted."""
        match line["begin"]:
            case "collection" if end:
                self.collections.add(end["id"])
            case "drop":
                self.collections.discard(line["collection"])
                (self.dropped if end else self.dropping).add(line["collection"])
            case "delete":
                if end:
                    self.gone.update(line["numbers"])
                else:
                    self.groups.append(set(line["numbers"]))
                return list(line["numbers"])
            case "add":
                first, size = line["numbers"]
                batch = set(range(first, first + size))
                self.home.update(dict.fromkeys(batch, line["collection"]))
                if end is None:
                    self.groups.append(batch)
                elif "failed" in end:
                    self.gone |= batch
                else:
                    self.must |= batch
        return []

    def compare(self, actual: dict[int, str], collections: set[str]) -> Iterator[str]:
        """What is wrong with the records, which have their collections, and with the collections."""
        there = set(actual)
        if lost := self.must - there:
            yield f"{len(lost)} acknowledged records are lost: {sorted(lost)[:5]}"
        if back := self.gone & there:
            yield f"{len(back)} deleted or refused records are there: {sorted(back)[:5]}"
        if astray := {number for number, home in actual.items() if self.home.get(number) != home}:
            yield f"{len(astray)} records are in a strange collection: {sorted(astray)[:5]}"
        for group in self.groups:
            if 0 < len(group & there) < len(group):
                yield f"{len(group & there)} of the {len(group)} records of one change: {sorted(group)[:5]}"
        if lost_collections := self.collections - collections:
            yield f"acknowledged collections are lost: {lost_collections}"
        if left := self.dropped & collections:
            yield f"deleted collections are there: {left}"

    def go_on(self, actual: dict[int, str], collections: set[str]) -> None:
        """What was in flight has come to an end, one way or the other."""
        self.gone |= self.home.keys() - actual.keys()
        self.must = set(actual)
        self.dropped |= self.dropping - collections
        self.collections = set(collections)
        self.groups, self.dropping = [], set()


class Warnings(logging.Handler):
    """What the engine had to mend while the library was opened."""

    SIGNS = ("does not fit the store", "is not usable", "lacks a file", "not of this store", "repaired")
    WRONG = ("folding the index", "cannot be written")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    @property
    def signs(self) -> list[str]:
        return sorted({sign for sign in self.SIGNS for message in self.messages if sign in message})

    @contextmanager
    def listening(self) -> Iterator[None]:
        logger = logging.getLogger("retrieval")
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)


def kill_at(moment: Moment, data_dir: Path, log: Path, seed: int, choice: random.Random) -> tuple[int, str]:
    """Start a process and end it: after how many milliseconds, and what it had to say."""
    nth = choice.choice(moment.nth)
    sign = f'"begin": "{moment.begun}"' if moment.begun else ""
    command = [sys.executable, "-m", "tests.retrieval.kill_load", str(data_dir), str(log), str(seed)]
    errors = log.with_suffix(".err")
    started = time.monotonic()
    with errors.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream)
    try:
        while sign and time.monotonic() - started < LONGEST_S and process.poll() is None:
            if log.exists() and log.read_bytes().count(sign.encode()) >= nth:
                break
            time.sleep(0.002)
        time.sleep(choice.uniform(0, moment.within_s))
    finally:
        process.kill()
        code = process.wait()
    ended_by_itself = f"the process ended by itself with {code}" if code != -9 else ""
    return round(1000 * (time.monotonic() - started)), ended_by_itself + errors.read_text()


def look_at(library: Library, past: Past) -> tuple[list[str], int]:
    """What is wrong, and the number of passages."""
    store = library.store
    datasets = store.list_datasets()
    collections = [one for dataset in datasets for one in store.list_collections(dataset.id)]
    actual = {
        number_of(record.q): collection.id
        for collection in collections
        for record in store.list_records(collection.id, limit=1_000_000)
    }
    kept = {collection.id for collection in collections}
    problems = list(past.compare(actual, kept))
    for dataset in datasets:
        here = {c.id for c in collections if c.dataset_id == dataset.id}
        own = [number for number, home in actual.items() if home in here]
        problems += find_all(library, dataset, own, sorted(past.gone))
    report = library.verify()
    passages = sum(len(draft_of(number).texts) for number in actual)
    if sum(report.passages.values()) != passages:
        problems.append(f"there are {report.passages} passages, not {passages}")
    if not report.is_clean:
        problems.append(f"verify: {report}")
    past.go_on(actual, kept)
    return problems, passages


def find_all(library: Library, dataset: Dataset, own: list[int], gone: list[int]) -> Iterator[str]:
    """Every passage is the top hit for its own vector, and what is gone is not found."""
    index = library.load_index(dataset.id)
    wanted = [(text, number) for number in own for text in draft_of(number).texts]
    found: list[int | None] = []
    missed = 0
    for query in TextEmbedder().embed_queries([text for text, _ in wanted]):
        (hits,) = index.search(query[None], 1, ALIKE)
        if not hits:
            # As many as there are: that is a scan, which is exact.
            missed += 1
            (hits,) = index.search(query[None], len(index), ALIKE)
        found.append(hits[0].passage_id if len(hits) == 1 else None)
    sources = library.store.sources_of([hit for hit in found if hit is not None])
    finds = [number_of(sources[hit][0].q) if hit in sources else None for hit in found]
    if wrong := [
        (text, other) for (text, number), other in zip(wanted, finds, strict=True) if number != other
    ]:
        yield f"{len(wrong)} passages do not find their record: {wrong[:5]}"
    if missed > MISSED_BY_THE_WALK * len(wanted) + 2:
        yield f"a walk missed {missed} of {len(wanted)} passages"
    queries = TextEmbedder().embed_queries([draft_of(number).q for number in gone])
    for block in index.blocks():
        scores = queries @ block.embeddings.astype(np.float32).T
        if wrong_rows := np.flatnonzero((scores > ALIKE).any(axis=1)).tolist():
            yield f"{len(wrong_rows)} records are gone and in the index: {[gone[n] for n in wrong_rows[:5]]}"
    for number, query in list(zip(gone, queries, strict=True))[-SOUGHT_IN_VAIN:]:
        if len(index) and index.search(query[None], len(index), ALIKE)[0]:
            yield f"record {number} is gone and found"


def play(rounds: int, seed: int, folder: Path, say: Callable[[str], None]) -> int:
    """The number of rounds with a problem; their directories and logs stay."""
    choice = random.Random(seed)
    wrong = 0
    past = Past()
    data_dir = folder / "none yet"
    for number in range(rounds):
        if number % ROUNDS_PER_DIRECTORY == 0:
            past = Past()
            data_dir = folder / f"data-{number + 1}"
        moment = MOMENTS[number % len(MOMENTS)]
        log = folder / f"{number + 1}.log"
        milliseconds, said = kill_at(moment, data_dir, log, 1000 * seed + number, choice)
        past.read(log)
        as_killed = folder / f"killed-{number + 1}"
        if data_dir.exists():
            shutil.copytree(data_dir, as_killed)
        problems, parts, passages, verified, signs = judge(data_dir, past)
        problems += [said] * bool(said)
        if not problems and as_killed.exists():
            shutil.rmtree(as_killed)
        wrong += bool(problems)
        flight = ",".join(sorted(past.in_flight)) or "none"
        say(
            f"{number + 1:3} {moment.name:10} killed at {milliseconds:5} ms | {past.acknowledged:4} acknowledged, "
            f"in flight {flight} | {passages:5} passages | sealed/flat/removed {parts} | verify {verified} | "
            f"{problems or 'ok'}{f' | mended at opening: {signs}' * bool(signs)}"
        )
    return wrong


def judge(data_dir: Path, past: Past) -> tuple[list[str], str, int, str, list[str]]:
    """Open what is left: problems, parts, passages, what verify says, what had to be mended."""
    warnings = Warnings()
    problems = [*past.errors]
    with warnings.listening():
        with open_library(data_dir) as library:
            statuses = [library.load_index(dataset.id) for dataset in library.store.list_datasets()]
            parts = " ".join(
                f"{len(one.sealed)}{'g' * one.has_graph}/{len(one.flat)}/{one.sealed.removed + one.flat.removed}"
                for one in statuses
            )
            found, passages = look_at(library, past)
            problems += found
        with open_library(data_dir) as library:
            again: VerifyReport = library.verify()
            if not again.is_clean:
                problems.append(f"verify after closing: {again}")
    problems += [message for message in warnings.messages if any(one in message for one in warnings.WRONG)]
    return (
        problems,
        parts,
        passages,
        "clean" if not any("verify" in one for one in problems) else "NOT CLEAN",
        warnings.signs,
    )


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_under_load(tmp_path: Path) -> None:
    lines: list[str] = []
    assert play(5, seed=random.randrange(10**6), folder=tmp_path, say=lines.append) == 0, "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-load-"))

    def say(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    wrong = play(given.rounds, given.seed, folder, say)
    say(f"{given.rounds} rounds, {wrong} with problems; logs in {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
