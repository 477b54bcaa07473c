"""Retrieval quality on a labelled set, through the library as it is used: import, search, measure."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report import make_report
from benchmarks.timing import time_each
from ingest.labelled import LabelledSet, read_labelled
from retrieval.batched import batched
from retrieval.embedding import Embedder, binding
from retrieval.evaluation import Qrels, evaluate, try_queries
from retrieval.labels import by_content
from retrieval.library import Library
from retrieval.quotes import content_key
from retrieval.types import MAX_LIMIT, Dataset, SearchMode, SearchRequest

BATCH_RECORDS = 512
TOP_K = 10

Say = Callable[[str], None]


def measure_quality(
    folder: Path, split: str, modes: Sequence[SearchMode], embedder: Embedder, data_dir: Path | None, say: Say
) -> dict[str, Any]:
    """Import the documents of a set as records, search every judged query in each mode, score the runs.

    Args:
        data_dir: where the dataset is kept, to be used again by the next run; nowhere if ``None``.
    """
    labelled = read_labelled(folder, split)
    qrels = qrels_of(labelled)
    with ExitStack() as stack:
        place = data_dir or Path(stack.enter_context(TemporaryDirectory(prefix="quotebase-")))
        library = stack.enter_context(Library.open(place, embedder))
        dataset = library.store.find_dataset(labelled.name) or library.create_dataset(labelled.name)
        embedded, import_seconds = _import(library, dataset, labelled, say)
        results: dict[str, Any] = {
            "split": split,
            "documents": len(labelled.documents),
            "queries": len(labelled.queries),
            "embedded": embedded,
            "import_seconds": round(import_seconds, 1),
        }
        for mode in modes:
            request = SearchRequest(
                "", (dataset.id,), similarity=0.0, limit=MAX_LIMIT, top_k=TOP_K, mode=mode
            )
            [trial] = try_queries(library.search, labelled.queries, [request], lambda *_: None)
            say(f"{labelled.name}: {len(labelled.queries)} queries searched in {mode}")
            results |= {f"{mode} {name}": value for name, value in evaluate(trial.run, qrels).means.items()}
            results |= {f"{mode} {name}_ms": trial.latencies_ms[name] for name in ("p50", "p99")}
    return make_report(f"quality {folder.name}", binding(embedder), folder, results)


def qrels_of(labelled: LabelledSet) -> Qrels:
    """Documents by their content, of which a search shows each once."""
    keys = {name: [content_key(draft)] for name, draft in labelled.documents.items()}
    return {query_id: by_content(judged, keys) for query_id, judged in labelled.qrels.items()}


def _import(library: Library, dataset: Dataset, labelled: LabelledSet, say: Say) -> tuple[int, float]:
    """(texts embedded, seconds)"""
    collection = library.ensure_collection(dataset.id, "corpus")
    drafts = list(labelled.documents.values())
    say(f"{labelled.name}: importing {len(drafts)} documents")
    timed = time_each(
        lambda batch: library.add_records(collection, batch).embedded, batched(drafts, BATCH_RECORDS)
    )
    return sum(timed.answers), sum(timed.taken_ms) / 1000
