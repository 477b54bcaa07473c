"""What the tests of imports share: files to import, a model that notes what it reads, a look at what is left."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ingest.imports import run_job
from ingest.jobs import ImportReport, ImportSettings, Jobs
from ingest.mapping import ColumnChoice
from ingest.sources import Reading
from retrieval.errors import EmbedderUnavailable
from retrieval.library import Library
from retrieval.types import Embeddings, Record
from tests.doubles import FourCharactersAToken


def write_csv(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = ("q", "a")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)
    return path


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object] | str]) -> Path:
    """A text is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def numbered(count: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"question {number}", f"answer {number}") for number in range(start, start + count)]


def settings_of(path: Path, mode: str = "append", key: str | None = None) -> ImportSettings:
    """Into the collection ``all``."""
    reading = Reading(columns=ColumnChoice(key=key))
    return ImportSettings(path.name, "all", mode, reading)  # type: ignore[arg-type]


def run_again(library: Library, report: ImportReport) -> ImportReport:
    """Go on with a job as the store has it."""
    return run_job(library, Jobs(library.store).get(report.job))


def records_of(library: Library, report: ImportReport) -> list[Record]:
    return library.store.list_records(report.collection_id, limit=1_000_000)


def texts_of(library: Library, records: Sequence[Record]) -> list[tuple[str, ...]]:
    """The passages of each record."""
    passages = library.store.passages_of([record.id for record in records])
    return [tuple(passage.text for passage in passages[record.id]) for record in records]


def assert_balanced(report: ImportReport) -> None:
    assert report.read == report.added + report.updated + report.unchanged + report.rejected
    assert report.rejected == len(report.problems)


class NotingEmbedder(FourCharactersAToken):
    """A direction for each text, none across another; ``read`` has the passages in the order in which they came.

    Args:
        before: called with the passages before they are read; what it raises, the model raises.
    """

    name = "noting"
    fingerprint = "noting-1"
    dim = 16

    def __init__(self, before: Callable[[Sequence[str]], None] | None = None) -> None:
        self.before = before
        self.read: list[str] = []

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        digests = [hashlib.blake2b(text.encode(), digest_size=self.dim).digest() for text in texts]
        rows = np.frombuffer(b"".join(digests), dtype=np.uint8).astype(np.float32) + 1
        rows = rows.reshape(len(texts), self.dim)
        unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        if self.before:
            self.before(texts)
        self.read += texts
        return self.embed_queries(texts)


def refuse(*words: str) -> Callable[[Sequence[str]], None]:
    """Batches with one of the words in them, as a model does that cannot read it."""

    def check(texts: Sequence[str]) -> None:
        found = [word for word in words if any(word in text for text in texts)]
        if found:
            raise EmbedderUnavailable(f"the model cannot read {found[0]}")

    return check


def fail(times: int, after: int = 0) -> Callable[[Sequence[str]], None]:
    """Batches, so many, after so many were read."""
    calls = iter(range(after + times))

    def check(_: Sequence[str]) -> None:
        if next(calls, -1) >= after:
            raise EmbedderUnavailable("the model is away: start it")

    return check
