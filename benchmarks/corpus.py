"""The bulk table as texts and vectors: embedded once with the bundled model, then kept in the cache.

More vectors than the table has rows are noisy copies of real ones, and reports say so.
"""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from benchmarks.report import SEED
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from retrieval.types import Dataset, Embeddings, RecordDraft, StoredEmbeddings

REAL_PASSAGES = 100_000
"""Rows of the table that are passages; questions of rows after them are the queries."""

PART_ROWS = 4_000
"""Rows embedded between two writes to the cache: what an interruption costs."""

NOISE = 0.2
"""Length of the noise added to a unit vector before it is scaled back: cosine to the original 0.98."""

ADDED_AT_ONCE = 5_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Rows as records, their embeddings in the same order, and queries that are not among them."""

    drafts: Sequence[RecordDraft]
    embeddings: StoredEmbeddings
    questions: Sequence[str]
    queries: Embeddings
    """Of the questions, as float32."""

    def blocks(self, count: int, size: int = 10_000) -> Iterator[StoredEmbeddings]:
        """``count`` vectors: the real ones, then copies of them with noise, the same in each run."""
        real = len(self.embeddings)
        noise = np.random.default_rng(SEED)
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            block = self.embeddings[rows % real].astype(np.float32)
            step = noise.standard_normal(block.shape, dtype=np.float32)
            step *= NOISE / np.sqrt(block.shape[1])
            block[rows >= real] += step[rows >= real]
            yield (block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16)

    def draft(self, row: int) -> RecordDraft:
        """The record of any row; those of copies say which copy they are of."""
        copy, original = divmod(row, len(self.drafts))
        draft = self.drafts[original]
        return RecordDraft(f"{draft.q} ({copy})", draft.a) if copy else draft


def read_corpus(
    bulk: Path,
    embedder: BundledEmbedder,
    cache_dir: Path,
    queries: int,
    say: Say,
    rows: int = REAL_PASSAGES,
) -> Corpus:
    """The first ``rows`` of ``bulk``, and the questions of the ``queries`` rows after them."""
    drafts = read_rows(bulk, rows + queries)
    real = len(drafts) - queries
    passages = [draft.text for draft in drafts[:real]]
    questions = list(dict.fromkeys(draft.q for draft in drafts[real:]))
    folder = cache_dir / "benchmarks" / embedder.fingerprint
    return Corpus(
        drafts[:real],
        _cached(folder, "passages", passages, embedder.embed_passages, say),
        questions,
        _cached(folder, "queries", questions, embedder.embed_queries, say).astype(np.float32),
    )


def read_passages(
    bulk: Path, embedder: BundledEmbedder, cache_dir: Path, most: int, say: Say
) -> tuple[list[RecordDraft], StoredEmbeddings]:
    """The first ``most`` distinct rows, and their embeddings."""
    drafts = read_rows(bulk, most)
    folder = cache_dir / "benchmarks" / embedder.fingerprint
    texts = [draft.text for draft in drafts]
    return drafts, _cached(folder, "passages", texts, embedder.embed_passages, say)


def read_rows(bulk: Path, most: int) -> list[RecordDraft]:
    """Distinct rows, so that each is a record of its own."""
    with bulk.open(encoding="utf-8", newline="") as stream:
        rows = (RecordDraft(row["q"], row["a"]) for row in csv.DictReader(stream))
        return list(dict.fromkeys(row for row, _ in zip(rows, range(most), strict=False)))


def fill(library: Library, drafts: Sequence[RecordDraft], embeddings: StoredEmbeddings) -> Dataset:
    """A new dataset named bulk, with the records."""
    dataset = library.create_dataset("bulk")
    collection = library.ensure_collection(dataset.id, "bulk")
    for start in range(0, len(drafts), ADDED_AT_ONCE):
        rows = slice(start, start + ADDED_AT_ONCE)
        library.add_records(collection, drafts[rows], embeddings[rows])
    return dataset


def _cached(
    folder: Path, kind: str, texts: Sequence[str], embed: Callable[[Sequence[str]], Embeddings], say: Say
) -> StoredEmbeddings:
    parts: list[StoredEmbeddings] = []
    for start in range(0, len(texts), PART_ROWS):
        part = texts[start : start + PART_ROWS]
        path = folder / f"{kind}-{sha256(chr(0).join(part).encode()).hexdigest()[:16]}.npy"
        if not path.exists():
            say(f"embedding {kind} {start + 1:,} to {start + len(part):,} of {len(texts):,}")
            _write(path, embed(part).astype(np.float16))
        parts.append(np.load(path))
    return np.concatenate(parts)


def _write(path: Path, embeddings: StoredEmbeddings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    with beside.open("wb") as stream:
        np.save(stream, embeddings)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
