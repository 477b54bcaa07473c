"""Speed of the vector engine: recall, latency, memory and start-up as a dataset grows, with texts and peers.

One library grows from the smallest size to the largest; after each step its folds are waited for and
everything is measured. The truth is numpy's brute force over the same fp16 vectors. What is measured
and what is left out is said beside each figure.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np

from benchmarks.brute_force import Rows, nearest_rows, recall
from benchmarks.corpus import NOISE, Corpus, Say
from benchmarks.http_load import measure_http
from benchmarks.known_embedder import KnownEmbedder
from benchmarks.peers import run_peer
from benchmarks.report import make_report
from retrieval.library import Library
from retrieval.quotes import content_key
from retrieval.tokens import count_tokens
from retrieval.types import (
    MAX_LIMIT,
    Collection,
    CollectionFilter,
    Dataset,
    Embeddings,
    ModelBinding,
    PassageIds,
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
ROUNDS = 3
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
                started = time.perf_counter()
                collection = library.ensure_collection(dataset.id, f"rows from {first}")
                added = library.add_records(collection, drafts, block[start : start + PER_COLLECTION])
                self.add_s += time.perf_counter() - started
                self.collections.append(collection)
                self.record_ids += added.added
        started = time.perf_counter()
        library.load_index(dataset.id)
        library.settle()
        self.fold_s += time.perf_counter() - started


def measure_vectors(
    bulk: Path,
    corpus: Corpus,
    model: ModelBinding,
    cache_dir: Path,
    sizes: Sequence[int],
    say: Say,
) -> dict[str, Any]:
    """Grow a library through the sizes; texts, peers and HTTP at the last size of real vectors alone."""
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
                results["texts"] = _measure_texts(bench, size)
                results["http"] = _measure_http(bench)
                say(f"http: {results['http']}")
            results["growth"][-1] |= _measure_start(bench)
            say(f"{size:,}: {results['growth'][-1]}")
        with bench.open() as library:
            results["deletion"] = _measure_deletion(bench, library)
    return make_report("speed vectors", model, bulk, results)


def _measure_size(bench: Bench, library: Library, size: int) -> dict[str, Any]:
    index = library.load_index(bench.dataset(library).id)
    (true,) = _truth(bench, size)
    ids = _ids(index)
    found: list[list[int]] = []
    latencies: list[float] = []
    for query in bench.corpus.queries:
        started = time.perf_counter()
        hits = index.search(query[np.newaxis], TOP_K)[0]
        latencies.append((time.perf_counter() - started) * 1000)
        found.append([hit.passage_id for hit in hits])
    return {
        "passages": size,
        "recall_at_10": round(recall(found[: len(true)], ids[true].tolist()), 4),
        "p50_ms": round(float(np.percentile(latencies, 50)), 3),
        "p99_ms": round(float(np.percentile(latencies, 99)), 3),
        "effort": index.sealed.codes.effort,
        "add_s": round(bench.add_s, 1),
        "records_per_s": round(size / bench.add_s),
        "fold_s": round(bench.fold_s, 1),
        "database_bytes": sum(path.stat().st_size for path in bench.data_dir.glob("quotebase.sqlite*")),
    }


def _ids(index: VectorIndex) -> PassageIds:
    """Of each row of the corpus: they were added in order, one passage each."""
    return np.concatenate([index.sealed.ids, index.flat.ids])


def _truth(bench: Bench, size: int, masks: Sequence[Any] = (None,), top_k: int = TOP_K) -> list[Rows]:
    blocks = bench.corpus.blocks(size)
    return nearest_rows(blocks, bench.corpus.queries[:TRUTH_QUERIES], top_k, masks)


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
        found, true, latencies = [], [], []
        for one, rows in zip(kept, truths, strict=True):
            allowed = CollectionFilter(frozenset(bench.collections[place].key for place in one))
            for query, nearest in zip(bench.corpus.queries, rows, strict=False):
                started = time.perf_counter()
                hits = index.search(query[np.newaxis], TOP_K, collections=allowed)[0]
                latencies.append((time.perf_counter() - started) * 1000)
                found.append([hit.passage_id for hit in hits])
                true.append(ids[nearest].tolist())
        results.append(
            {
                "kept": share,
                "recall_at_10": round(recall(found, true), 4),
                "p50_ms": round(float(np.percentile(latencies, 50)), 2),
                "p99_ms": round(float(np.percentile(latencies, 99)), 2),
            }
        )
        bench.say(f"filter: {results[-1]}")
    return results


# With texts


def _measure_texts(bench: Bench, size: int) -> dict[str, Any]:
    """Whole searches, as a program makes them, but for the embedding: records out of the store, repeats dropped."""
    true = _distinct_truth(bench, size)
    with bench.open() as library:
        found = _search_all(bench, library)
        index = library.load_index(bench.dataset(library).id)
        ids = _ids(index).tolist()
    rows = {passage_id: row for row, passage_id in enumerate(ids)}
    own_recall = recall([[rows[one] for one in each] for each in found[: len(true)]], true)
    vectors = np.concatenate(list(bench.corpus.blocks(size)))
    bare, bare_recall, effort = _bare_hnsw(bench, vectors, own_recall)
    rates = [(_search_rate(bench), bare()) for _ in range(ROUNDS)]
    own_rate, bare_rate = (median(each) for each in zip(*rates, strict=True))
    chroma = _measure_chroma(bench, vectors, own_recall)
    return {
        "passages": size,
        "recall_at_10": round(own_recall, 4),
        "queries_per_s": round(own_rate),
        "bare_hnsw": {
            "recall_at_10": round(bare_recall, 4),
            "effort": effort,
            "queries_per_s": round(bare_rate),
        },
        "times_bare_hnsw": round(own_rate / bare_rate, 2),
        "chroma": chroma,
        "times_chroma": round(own_rate / chroma["default"]["queries_per_s"], 2),
        "times_chroma_at_same_recall": round(own_rate / chroma["same_recall"]["queries_per_s"], 2),
    }


def _search_all(bench: Bench, library: Library) -> list[list[int]]:
    """The passages of the quotes for each query."""
    dataset_id = bench.dataset(library).id
    requests = (
        SearchRequest(text, (dataset_id,), limit=MAX_LIMIT, top_k=TOP_K) for text in bench.corpus.questions
    )
    return [[quote.passage_id for quote in library.search(request).quotes] for request in requests]


def _search_rate(bench: Bench) -> float:
    """Whole searches per second, in a library that knows none of the queries yet."""
    with bench.open() as library:
        library.load_index(bench.dataset(library).id)
        started = time.perf_counter()
        _search_all(bench, library)
        return len(bench.corpus.questions) / (time.perf_counter() - started)


def _distinct_truth(bench: Bench, size: int) -> list[list[int]]:
    """The true nearest rows, without those that say the same as a nearer one, as a search has it."""
    (rows,) = _truth(bench, size, top_k=3 * TOP_K)
    distinct = []
    for nearest in rows.tolist():
        first = {content_key(bench.corpus.draft(row)): row for row in reversed(nearest)}
        distinct.append(sorted(first.values(), key=nearest.index)[:TOP_K])
    return distinct


def _bare_hnsw(
    bench: Bench, vectors: StoredEmbeddings, least_recall: float
) -> tuple[Callable[[], float], float, int]:
    """FAISS's HNSW by itself, with the least effort at which it finds as much: ids and nothing else."""
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    index = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors.astype(np.float32))
    faiss.omp_set_num_threads(1)
    (true,) = _truth(bench, len(vectors))
    found = 0.0
    for effort in range(64, 1024, 16):
        index.hnsw.efSearch = effort
        found = recall(index.search(bench.corpus.queries[: len(true)], TOP_K)[1].tolist(), true.tolist())
        if found >= least_recall:
            break

    def run() -> float:
        started = time.perf_counter()
        for query in bench.corpus.queries:
            index.search(query[np.newaxis], TOP_K)
        return len(bench.corpus.queries) / (time.perf_counter() - started)

    return run, found, effort


def _measure_chroma(bench: Bench, vectors: StoredEmbeddings, least_recall: float) -> dict[str, Any]:
    (true,) = _truth(bench, len(vectors))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "queries.npy", bench.corpus.queries)
        np.save(folder / "truth.npy", true)
        texts = [bench.corpus.draft(row).text for row in range(len(vectors))]
        (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        arguments = [str(folder), str(TOP_K), str(ROUNDS), str(least_recall)]
        return run_peer("chroma", arguments, bench.cache_dir, bench.say)


# In other processes


def _measure_http(bench: Bench) -> dict[str, Any]:
    with bench.open() as library:
        dataset_id = bench.dataset(library).id
    return measure_http(bench.data_dir, bench.cache_dir, dataset_id, bench.corpus.questions, CLIENTS)


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
    started = time.perf_counter()
    for collection in bench.collections[:half]:
        library.delete_collection(collection.id)
    collections_s = time.perf_counter() - started
    returned += _count_returned(
        library, dataset, vectors, set(ids[gone_rows[: half * PER_COLLECTION]].tolist())
    )
    started = time.perf_counter()
    for start in range(half * PER_COLLECTION, 2 * half * PER_COLLECTION, PER_COLLECTION):
        library.delete_records(dataset.id, bench.record_ids[start : start + PER_COLLECTION])
    records_s = time.perf_counter() - started
    gone = set(ids[gone_rows].tolist())
    returned += _count_returned(library, dataset, vectors, gone)
    after = library.index_status(dataset.id)
    started = time.perf_counter()
    library.settle()
    if library.index_status(dataset.id).removed:
        library.rebuild(dataset.id)
    rebuilt = library.index_status(dataset.id)
    rebuild_s = time.perf_counter() - started
    returned += _count_returned(library, dataset, vectors, gone)
    return {
        "passages_before": before.passages,
        "deleted": len(gone_rows),
        "collections_per_s": round(half / collections_s, 1),
        "records_per_s": round(half * PER_COLLECTION / records_s),
        "searched_for_deleted": 3 * len(vectors),
        "deleted_ones_returned": returned,
        "memory_bytes_before": before.memory_bytes,
        "memory_bytes_after_delete": after.memory_bytes,
        "memory_bytes_after_rebuild": rebuilt.memory_bytes,
        "rebuild_s": round(rebuild_s, 1),
    }


def _rows_of(corpus: Corpus, rows: Rows) -> Embeddings:
    blocks = corpus.blocks(int(rows.max()) + 1)
    return np.concatenate(list(blocks))[rows].astype(np.float32)


def _count_returned(library: Library, dataset: Dataset, vectors: Embeddings, gone: set[int]) -> int:
    index = library.load_index(dataset.id)
    found = (index.search(vector[np.newaxis], TOP_K)[0] for vector in vectors)
    return sum(hit.passage_id in gone for hits in found for hit in hits)
