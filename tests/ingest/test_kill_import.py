"""An import is killed at any moment, and again: in the end every row is there once, and next to nothing was read twice.

``python -m tests.ingest.test_kill_import --kills 100 --seed N`` does the same for longer.
"""

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingest.jobs import Jobs, Mode
from ingest.rejects import rejects_path
from ingest.staging import STAGED
from retrieval.library import Library
from tests.ingest.importing import NotingEmbedder, texts_of, write_csv
from tests.ingest.kill_import import BATCH_RECORDS, COLLECTION, DATASET

ROOT = Path(__file__).parents[2]

ROWS = 7_000

REPEATED_BATCHES = 2
"""What a kill can cost: the batch that was being embedded, and the one before it that was being stored."""

LONGEST_S = 60.0

Said = tuple[str, str, tuple[str, ...]]
"""q, a and the index texts of a record."""


@dataclass(frozen=True)
class Table:
    """A file, and what the collection is to be after it, by key."""

    mode: Mode
    rows: list[tuple[str, ...]]
    after: dict[str, Said]
    rejected: int


def record_of(number: int, version: int) -> Said:
    also = (f"also {number}", f"and {number}") if number % 3 == 0 else ()
    return f"question {number}", f"answer {number}, version {version}", also


def make_table(
    mode: Mode, numbers: Sequence[int], version: Mapping[int, int], before: dict[str, Said]
) -> Table:
    """Every 501st row is without a question, every 701st has the key of another."""
    said = {f"k{number}": record_of(number, version.get(number, 1)) for number in numbers}
    rows: list[tuple[str, ...]] = []
    rejected = 0
    for place, (key, (q, a, also)) in enumerate(said.items()):
        rows.append((key, q, a, *also))
        if place % 501 == 7:
            rows.append((f"none {place}", "", "no question", f"rejected {place}"))
        if place % 701 == 9:
            rows.append((key, f"twice {place}", a))
        rejected += (place % 501 == 7) + (place % 701 == 9)
    return Table(mode, rows, said if mode == "replace" else before | said, rejected)


def make_tables() -> list[Table]:
    """All rows; then those that are new or have changed among others; then most of them, some changed again."""
    first = make_table("append", range(ROWS), {}, {})
    changed = dict.fromkeys(range(0, ROWS, 7), 2)
    some = range(ROWS + 700)
    second = make_table("upsert", some, changed, first.after)
    left = [number for number in reversed(some) if number % 5]
    changed_again = changed | dict.fromkeys(range(0, ROWS, 2), 3)
    return [first, second, make_table("replace", left, changed_again, second.after)]


def texts_of_record(said: Said) -> tuple[str, ...]:
    q, a, also = said
    return f"{q}\n{a}", *also


def texts(records: Mapping[str, Said]) -> set[str]:
    return {text for said in records.values() for text in texts_of_record(said)}


@dataclass
class Past:
    """One import, attempt by attempt."""

    read: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    """Texts whose embeddings were durable when a process was killed."""
    kills: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)

    def take(self, log: Path) -> tuple[list[str], int]:
        """Go on with what a process has written; what it read that was kept already, and its batches."""
        lines = log.read_text().rpartition("\n")[0].splitlines() if log.exists() else []
        noted = [json.loads(line) for line in lines]
        batches = [line["reads"] for line in noted if "reads" in line]
        now_read = [text for batch in batches for text in batch]
        self.read += now_read
        self.reports += [line["report"] for line in noted if "report" in line]
        return [text for text in now_read if text in self.kept], len(batches)


def start(data_dir: Path, path: Path, mode: Mode, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.ingest.kill_import", str(data_dir), str(path), mode, str(log)]
    with log.with_suffix(".err").open("wb") as errors:
        return subprocess.Popen(command, cwd=ROOT, stdout=errors, stderr=errors)


@dataclass(frozen=True, slots=True)
class Moment:
    """Up to ``within_s`` after something has come into the log so many times."""

    sign: str
    times: int
    within_s: float


def choose_moment(choice: random.Random, last_text: str) -> Moment:
    """Mostly after some batches, at times after the last one or before the first."""
    kind = choice.choices(("batches", "end", "start"), (6, 3, 1))[0]
    if kind == "end":
        return Moment(json.dumps(last_text), 1, 0.15)
    return Moment('"reads"', choice.randint(1, 40), 0.02) if kind == "batches" else Moment("", 0, 0.8)


def kill_at(process: "subprocess.Popen[bytes]", log: Path, moment: Moment, choice: random.Random) -> bool:
    """Whether it did not end by itself before."""
    started = time.monotonic()
    sign = moment.sign.encode()
    while sign and process.poll() is None and time.monotonic() - started < LONGEST_S:
        if log.exists() and log.read_bytes().count(sign) >= moment.times:
            break
        time.sleep(0.001)
    time.sleep(choice.uniform(0, moment.within_s))
    process.kill()
    return process.wait() == -9


def look_at(
    library: Library, table: Table, before: dict[str, Said], past: Past, is_done: bool
) -> Iterator[str]:
    """What is wrong with what is there."""
    store = library.store
    dataset = store.find_dataset(DATASET)
    collection = store.find_collection(dataset.id, COLLECTION) if dataset else None
    if not dataset or not collection:
        if is_done:
            yield "there is no collection"
        return
    records = store.list_records(collection.id, limit=10 * ROWS)
    actual = {
        one.key: (one.q, one.a, own[1:]) for one, own in zip(records, texts_of(library, records), strict=True)
    }
    if len(actual) != len(records):
        yield f"{len(records) - len(actual)} keys are there twice"
    if astray := [key for key, said in actual.items() if said not in (before.get(key), table.after.get(key))]:
        yield f"{len(astray)} records say what no file says: {astray[:3]}"
    if lost := [key for key in before if key in table.after and key not in actual]:
        yield f"{len(lost)} records are lost: {lost[:3]}"
    is_whole = actual in (before, table.after)
    if (is_done and actual != table.after) or (table.mode == "replace" and not is_whole):
        wrong = [key for key in actual.keys() | table.after if actual.get(key) != table.after.get(key)]
        yield f"{len(wrong)} records are not as they are to be: {wrong[:3]}"
    report = library.verify()
    if not report.is_clean:
        yield f"verify: {report}"
    staged = [text for document in store.list_documents(STAGED) for text in document.body["texts"]]  # type: ignore[attr-defined]
    past.kept |= texts(actual) | set(staged)
    if is_done and staged:
        yield f"{len(staged)} texts are still staged"


def look_at_end(library: Library, table: Table, before: dict[str, Said], past: Past) -> Iterator[str]:
    """What is wrong with the counts, with the file of rejected rows, and with what was read."""
    report = past.reports[-1]
    outcomes = sum(report[name] for name in ("added", "updated", "unchanged", "rejected"))
    if report["state"] != "done" or (report["read"], outcomes) != (len(table.rows), len(table.rows)):
        yield f"the counts are not those of {len(table.rows)} rows: {report}"
    if report["rejected"] != table.rejected:
        yield f"{report['rejected']} rows are rejected, not {table.rejected}"
    (job,) = (job for job in Jobs(library.store).list() if job.settings.mode == table.mode)
    with rejects_path(library, job.id).open(encoding="utf-8", newline="") as file:
        lines = [row[0] for row in csv.reader(file)][1:]
    if lines != [str(problem["line"]) for problem in report["problems"]]:
        yield f"the file of rejected rows has the lines {lines}"
    needed = texts(table.after) - texts(before)
    if set(past.read) != needed:
        yield f"{len(set(past.read) ^ needed)} texts were read for nothing, or not"


def limit_of(kills: int) -> int:
    """Texts that may be read more than once."""
    return kills * REPEATED_BATCHES * BATCH_RECORDS * max(len(record_of(n, 1)[2]) + 1 for n in range(3))


def play(kills: int, per_import: tuple[int, int], seed: int, folder: Path, say: Callable[[str], None]) -> int:
    """Kill so many times, an import as often as the range says; the number of imports with a problem."""
    choice = random.Random(seed)
    tables = make_tables()
    paths = [
        write_csv(folder / f"{table.mode}.csv", table.rows, ("key", "q", "a", "indexes")) for table in tables
    ]
    wrong = done = number = 0
    while done < kills:
        number += 1
        before: dict[str, Said] = {}
        data_dir = folder / f"data-{number}"
        for table, path in zip(tables, paths, strict=True):
            times = min(kills - done, choice.randint(*per_import))
            past = Past()
            problems = import_with_kills(data_dir, table, path, before, past, times, choice, say)
            done += past.kills
            wrong += bool(problems)
            repeated = len(past.read) - len(set(past.read))
            say(
                f"{number}: {table.mode:7} {past.kills} kills | read {len(past.read):5} texts, {repeated:3} of them "
                f"again (at most {limit_of(past.kills)}) | {problems or 'ok'}"
            )
            before = table.after
        if not wrong:
            shutil.rmtree(data_dir)
    return wrong


def import_with_kills(
    data_dir: Path,
    table: Table,
    path: Path,
    before: dict[str, Said],
    past: Past,
    kills: int,
    choice: random.Random,
    say: Callable[[str], None],
) -> list[str]:
    """Import, killed so many times, and then to the end; what was wrong."""
    needed = texts(table.after) - texts(before)
    last_text = [text for said in table.after.values() for text in texts_of_record(said) if text in needed][
        -1
    ]
    problems: list[str] = []
    attempts = 0
    while True:
        attempts += 1
        log = data_dir.with_name(f"{data_dir.name}-{table.mode}-{attempts}.log")
        started = time.monotonic()
        process = start(data_dir, path, table.mode, log)
        if past.kills < kills:
            was_killed = kill_at(process, log, choose_moment(choice, last_text), choice)
        else:
            was_killed = process.wait(LONGEST_S) != 0
        seconds = time.monotonic() - started
        again, batches = past.take(log)
        past.kills += was_killed
        problems += [f"{len(again)} texts were read that were there: {again[:3]}"] * bool(again)
        if said := log.with_suffix(".err").read_text():
            problems.append(said)
        is_done = not was_killed
        if data_dir.exists():
            with Library.open(data_dir, NotingEmbedder()) as library:
                problems += look_at(library, table, before, past, is_done)
                if is_done:
                    problems += look_at_end(library, table, before, past)
        repeated = len(past.read) - len(set(past.read))
        if repeated > limit_of(past.kills):
            problems.append(
                f"{repeated} texts were read more than once, at most {limit_of(past.kills)} may be"
            )
        position = past.reports[-1]["read"] if past.reports else 0
        end = "killed" if was_killed else "ended "
        say(
            f"   {end} at {seconds:4.1f} s after {batches:2} batches, {position:4} rows noted | {problems or 'ok'}"
        )
        if is_done or problems:
            return problems


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    lines: list[str] = []
    seed = random.randrange(10**6)
    assert play(3, (1, 1), seed, tmp_path, lines.append) == 0, "\n".join([f"seed {seed}", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-import-"))

    def say(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    wrong = play(given.kills, (1, 4), given.seed, folder, say)
    say(f"{given.kills} kills, {wrong} imports with problems; logs in {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
