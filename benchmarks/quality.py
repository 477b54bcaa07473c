"""Retrieval quality on a labelled set, through the library as it is used: import, search, measure."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.report import make_report
from ingest.labelled import LabelledSet, read_labelled
from retrieval.embedding import Embedder, binding
from retrieval.evaluation import Run, evaluate
from retrieval.library import Library
from retrieval.types import MAX_LIMIT, Dataset, SearchMode, SearchRequest

BATCH_RECORDS = 512
TOP_K = 10

Say = Callable[[str], None]


def measure_quality(
    folder: Path, split: str, mode: SearchMode, embedder: Embedder, data_dir: Path | None, say: Say
) -> dict[str, Any]:
    """Import the documents of a set as records, search every judged query, score the run.

    Args:
        data_dir: where the dataset is kept, to be used again by the next run; nowhere if ``None``.
    """
    labelled = read_labelled(folder, split)
    with ExitStack() as stack:
        place = data_dir or Path(stack.enter_context(TemporaryDirectory(prefix="quotebase-")))
        library = stack.enter_context(Library.open(place, embedder))
        dataset = library.store.find_dataset(labelled.name) or library.create_dataset(labelled.name)
        embedded, import_seconds = _import(library, dataset, labelled, say)
        run, latencies_ms = _search_all(library, dataset, labelled, mode, say)
    scores = evaluate(run, labelled.qrels)
    results: dict[str, Any] = {
        "mode": mode,
        "split": split,
        "documents": len(labelled.documents),
        "queries": len(labelled.queries),
        **scores.means,
        "embedded": embedded,
        "import_seconds": round(import_seconds, 1),
        "search_p50_ms": round(float(np.percentile(latencies_ms, 50)), 2),
        "search_p99_ms": round(float(np.percentile(latencies_ms, 99)), 2),
    }
    return make_report("quality", binding(embedder), folder, results)


def _import(library: Library, dataset: Dataset, labelled: LabelledSet, say: Say) -> tuple[int, float]:
    """(texts embedded, seconds)"""
    collection = library.ensure_collection(dataset.id, "corpus")
    drafts = list(labelled.documents.values())
    started = time.perf_counter()
    embedded = 0
    for start in range(0, len(drafts), BATCH_RECORDS):
        embedded += library.add_records(collection, drafts[start : start + BATCH_RECORDS]).embedded
        say(f"{labelled.name}: {min(start + BATCH_RECORDS, len(drafts))} of {len(drafts)} documents imported")
    return embedded, time.perf_counter() - started


def _search_all(
    library: Library, dataset: Dataset, labelled: LabelledSet, mode: SearchMode, say: Say
) -> tuple[Run, list[float]]:
    """The run, and how long each search took."""
    ids = {(draft.q, draft.a): document_id for document_id, draft in reversed(labelled.documents.items())}
    run: dict[str, dict[str, float]] = {}
    latencies_ms: list[float] = []
    for query_id, text in labelled.queries.items():
        request = SearchRequest(text, (dataset.id,), limit=MAX_LIMIT, top_k=TOP_K, mode=mode)
        found = library.search(request)
        latencies_ms.append(found.seconds * 1000)
        run[query_id] = {ids[quote.record.q, quote.record.a]: quote.score for quote in found.quotes}
    say(f"{labelled.name}: {len(run)} queries searched")
    return run, latencies_ms
