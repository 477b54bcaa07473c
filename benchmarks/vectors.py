"""Speed of the vector engine: recall, latency, memory and start-up as a dataset grows, and over HTTP.

One library grows from the smallest size to the largest; after each step its folds are waited for and
everything is measured. The truth is numpy's brute force over the same fp16 vectors. What is measured
and what is left out is said beside each figure.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.batching import measure_batching
from benchmarks.brute_force import Rows, nearest_rows, recall
from benchmarks.corpus import NOISE, Corpus, Say
from benchmarks.known_embedder import KnownEmbedder
from benchmarks.report import make_report
from benchmarks.timing import Timed, time_each, time_once
from retrieval.batched import batched
from retrieval.library import Library
from retrieval.tokens import count_tokens
from retrieval.types import (
    MAX_LIMIT,
    Collection,
    CollectionFilter,
    Dataset,
    Embeddings,
    Hit,
    IndexStatus,
    ModelBinding,
    PassageIds,
    RecordDraft,
    SearchRequest,
    StoredEmbeddings,
)
from retrieval.vectors.index import VectorIndex

TOP_K = 10
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
PER_COLLECTION = 1000
TRUTH_QUERIES = 500
"""Of which the true nearest are worked out; latencies are of all queries."""
FILTER_SHARES = (0.5, 0.1, 0.01, 0.001)
FILTERS_EACH = 5
CLIENTS = 16
DELETED_SHARE = 0.1
"""Half of it as whole collections, half as single records."""
CHECKED_DELETIONS = 3000
"""Deleted passages that are searched for with their own vectors."""


@dataclass
class Bench:
    """A library that grows, and what it is made of."""

    corpus: Corpus
    model: ModelBinding
    data_dir: Path
    cache_dir: Path
    say: Say
    collections: list[Collection] = field(default_factory=list)
    record_ids: list[str] = field(default_factory=list)
    add_s: float = 0.0
    fold_s: float = 0.0

    def open(self) -> Library:
        known = dict(zip(self.corpus.questions, self.corpus.queries, strict=True))
        return Library.open(self.data_dir, KnownEmbedder(self.model, known))

    def dataset(self, library: Library) -> Dataset:
        return library.dataset_named("bulk")

    def grow(self, library: Library, blocks: Iterator[StoredEmbeddings], size: int) -> None:
        """Add whole collections until there are ``size`` records; each call is durable when it returns.

        The index is loaded after them, so that its folds do not run beside the adds.
        """
        dataset = self.dataset(library)
        while len(self.record_ids) < size:
            block = next(blocks)
            for start in range(0, len(block), PER_COLLECTION):
                first = len(self.record_ids)
                drafts = [self.corpus.draft(row) for row in range(first, first + PER_COLLECTION)]
                vectors = block[start : start + PER_COLLECTION]
                self.add_s += self._add(library, dataset, f"rows from {first}", drafts, vectors)
        self.fold_s += time_once(lambda: self._fold(library, dataset))[1]

    def _add(
        self,
        library: Library,
        dataset: Dataset,
        name: str,
        drafts: Sequence[RecordDraft],
        vectors: StoredEmbeddings,
    ) -> float:
        """The seconds of it."""

        def add() -> Collection:
            collection = library.ensure_collection(dataset.id, name)
            self.record_ids += library.add_records(collection, drafts, vectors).added
            return collection

        collection, seconds = time_once(add)
        self.collections.append(collection)
        return seconds

    def _fold(self, library: Library, dataset: Dataset) -> None:
        library.load_index(dataset.id)
        library.settle()


def measure_vectors(
    bulk: Path,
    corpus: Corpus,
    model: ModelBinding,
    cache_dir: Path,
    sizes: Sequence[int],
    say: Say,
) -> dict[str, Any]:
    """Grow a library through the sizes; HTTP at the last size of real vectors alone."""
    results: dict[str, Any] = {
        "queries": len(corpus.questions),
        "top_k": TOP_K,
        "real_vectors": len(corpus.embeddings),
        "beyond_them": f"copies with noise of length {NOISE}",
        "growth": [],
    }
    count_tokens("the vocabulary is read once a process")
    real = max((size for size in sizes if size <= len(corpus.embeddings)), default=None)
    with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
        bench = Bench(corpus, model, Path(place) / "data", cache_dir, say)
        blocks = corpus.blocks(max(sizes), size=min(10_000, min(sizes)))
        with bench.open() as library:
            library.create_dataset("bulk")
        for size in sizes:
            is_last = size == max(sizes)
            with bench.open() as library:
                bench.grow(library, blocks, size)
                results["growth"].append(_measure_size(bench, library, size))
                if is_last:
                    results["filters"] = _measure_filters(bench, library, size)
            if size == real:
                results["http"] = _measure_http(bench)
                say(f"http: {results['http']}")
            results["growth"][-1] |= _measure_start(bench)
            say(f"{size:,}: {results['growth'][-1]}")
        with bench.open() as library:
            results["deletion"] = _measure_deletion(bench, library)
    return make_report("speed vectors", model, bulk, results)


def _measure_size(bench: Bench, library: Library, size: int) -> dict[str, Any]:
    dataset = bench.dataset(library)
    for question in bench.corpus.questions:
        library.search(SearchRequest(question, (dataset.id,), limit=MAX_LIMIT))
    # The effort of walks is found anew by what was asked.
    library.settle()
    index = library.load_index(dataset.id)
    (true,) = _truth(bench, size)
    ids = _ids(index)
    timed = time_each(lambda query: index.search(query[np.newaxis], TOP_K)[0], bench.corpus.queries)
    return {
        "passages": size,
        "recall_at_10": round(recall(_passages(timed.answers[: len(true)]), ids[true].tolist()), 4),
        **timed.percentiles(3),
        "effort": index.effort,
        "add_s": round(bench.add_s, 1),
        "records_per_s": round(size / bench.add_s),
        "fold_s": round(bench.fold_s, 1),
        "database_bytes": sum(path.stat().st_size for path in bench.data_dir.glob("quotebase.sqlite*")),
    }


def _ids(index: VectorIndex) -> PassageIds:
    """Of each row of the corpus: they were added in order, one passage each."""
    return np.concatenate([index.sealed.ids, index.flat.ids])


def _passages(answers: Sequence[Sequence[Hit]]) -> list[list[int]]:
    return [[hit.passage_id for hit in hits] for hits in answers]


def _truth(bench: Bench, size: int, masks: Sequence[Any] = (None,)) -> list[Rows]:
    return nearest_rows(bench.corpus.blocks(size), bench.corpus.queries[:TRUTH_QUERIES], TOP_K, masks)


def _measure_filters(bench: Bench, library: Library, size: int) -> list[dict[str, Any]]:
    """Collections drawn at random; the first search under each filter makes its bitmap."""
    choice = np.random.default_rng(1)
    index = library.load_index(bench.dataset(library).id)
    ids, count = _ids(index), len(bench.collections)
    results = []
    for share in FILTER_SHARES:
        kept = [
            choice.choice(count, max(1, round(count * share)), replace=False) for _ in range(FILTERS_EACH)
        ]
        masks = [np.isin(np.arange(size) // PER_COLLECTION, one) for one in kept]
        truths = _truth(bench, size, masks)
        answers: list[list[Hit]] = []
        taken_ms: list[float] = []
        true: list[list[int]] = []
        for one, rows in zip(kept, truths, strict=True):
            allowed = CollectionFilter(frozenset(bench.collections[place].key for place in one))
            search = partial(index.search, top_k=TOP_K, collections=allowed)
            timed = time_each(search, bench.corpus.queries[: len(rows), np.newaxis])
            answers += [hits for (hits,) in timed.answers]
            taken_ms += timed.taken_ms
            true += [ids[nearest].tolist() for nearest in rows]
        found = _passages(answers)
        results.append(
            {
                "kept": share,
                "recall_at_10": round(recall(found, true), 4),
                **Timed(answers, taken_ms).percentiles(),
            }
        )
        bench.say(f"filter: {results[-1]}")
    return results


# In other processes


def _measure_http(bench: Bench) -> dict[str, Any]:
    with bench.open() as library:
        dataset_id = bench.dataset(library).id
    return measure_batching(bench.data_dir, bench.cache_dir, dataset_id, bench.corpus.questions, CLIENTS)


def _measure_start(bench: Bench) -> dict[str, Any]:
    """Of a new process, from opening the library to the first answer; then the memory after all queries."""
    queries = bench.data_dir.parent / "queries.npy"
    np.save(queries, bench.corpus.queries)
    arguments = [str(bench.data_dir), "bulk", str(queries), json.dumps(asdict(bench.model))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.start", *arguments], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    passages = answer["passages"]
    resident = answer["resident_bytes"]
    return {
        "start_s": round(answer["start_s"], 2),
        "index_bytes_per_passage": round(answer["index_bytes"] / passages),
        "resident_bytes_per_passage": None if resident is None else round(resident / passages),
    }


# Deleting


def _measure_deletion(bench: Bench, library: Library) -> dict[str, Any]:
    """Delete, search for the deleted with their own vectors as soon as each call returns, then fold.

    A tenth is what is folded by itself; if it is not, the index is rebuilt.
    """
    dataset = bench.dataset(library)
    index = library.load_index(dataset.id)
    rows = len(bench.record_ids)
    ids = _ids(index)
    before = library.index_status(dataset.id)
    half = max(1, round(rows * DELETED_SHARE / 2 / PER_COLLECTION))
    gone_rows = np.arange(2 * half * PER_COLLECTION)
    vectors = _rows_of(bench.corpus, gone_rows[:: max(1, len(gone_rows) // CHECKED_DELETIONS)])
    returned = 0
    deleted = time_each(library.delete_collection, [one.id for one in bench.collections[:half]])
    returned += _count_returned(
        library, dataset, vectors, set(ids[gone_rows[: half * PER_COLLECTION]].tolist())
    )
    batches = batched(bench.record_ids[half * PER_COLLECTION : 2 * half * PER_COLLECTION], PER_COLLECTION)
    emptied = time_each(lambda ids: library.delete_records(dataset.id, ids), batches)
    gone = set(ids[gone_rows].tolist())
    returned += _count_returned(library, dataset, vectors, gone)
    after = library.index_status(dataset.id)
    rebuilt, rebuild_s = time_once(lambda: _rebuild(library, dataset))
    returned += _count_returned(library, dataset, vectors, gone)
    return {
        "passages_before": before.passages,
        "deleted": len(gone_rows),
        "collections_per_s": round(deleted.per_s, 1),
        "records_per_s": round(PER_COLLECTION * emptied.per_s),
        "searched_for_deleted": 3 * len(vectors),
        "deleted_ones_returned": returned,
        "memory_bytes_before": before.memory_bytes,
        "memory_bytes_after_delete": after.memory_bytes,
        "memory_bytes_after_rebuild": rebuilt.memory_bytes,
        "rebuild_s": round(rebuild_s, 1),
    }


def _rebuild(library: Library, dataset: Dataset) -> IndexStatus:
    library.settle()
    if library.index_status(dataset.id).removed:
        library.rebuild(dataset.id)
    return library.index_status(dataset.id)


def _rows_of(corpus: Corpus, rows: Rows) -> Embeddings:
    blocks = corpus.blocks(int(rows.max()) + 1)
    return np.concatenate(list(blocks))[rows].astype(np.float32)


def _count_returned(library: Library, dataset: Dataset, vectors: Embeddings, gone: set[int]) -> int:
    index = library.load_index(dataset.id)
    found = (index.search(vector[np.newaxis], TOP_K)[0] for vector in vectors)
    return sum(hit.passage_id in gone for hits in found for hit in hits)
