"""What whole searches cost in each mode, and what the full-text index costs to make.

The rows come with ready-made embeddings. Questions are those of the last rows, asked once with their
embedding still to be made, and once more when it is remembered.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.corpus import fill, read_passages
from benchmarks.report import make_report
from benchmarks.timing import time_each, time_once
from retrieval.batched import batched
from retrieval.embedding import binding
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.fulltext.index import FullTextIndex
from retrieval.library import Library
from retrieval.store import drain
from retrieval.types import Dataset, SearchMode, SearchRequest

QUESTIONS = 1_000
"""For each mode, so that none meets an embedding that another has made."""

Say = Callable[[str], None]


def measure_search(
    bulk: Path, embedder: BundledEmbedder, cache_dir: Path, most: int, say: Say
) -> dict[str, Any]:
    """Milliseconds of a search over ``most`` rows of a q/a table: p50 and p99 by mode."""
    drafts, embeddings = read_passages(bulk, embedder, cache_dir, most, say)
    with (
        tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place,
        Library.open(Path(place) / "data", embedder) as library,
    ):
        dataset = fill(library, drafts, embeddings)
        say(f"{len(drafts):,} records are in")
        results: dict[str, Any] = {"records": len(drafts), "full_text": _index(library, dataset, Path(place))}
        library.load_index(dataset.id)
        library.settle()
        say("the indexes are made")
        questions = [draft.q for draft in reversed(drafts)]
        for mode, asked in zip(get_args(SearchMode), batched(questions, QUESTIONS), strict=False):
            library.search(SearchRequest("warm up", (dataset.id,), mode=mode))
            results[mode] = {
                "with_embedding": _search(library, dataset, mode, asked),
                "without": _search(library, dataset, mode, asked),
            }
            say(f"{mode}: {results[mode]}")
    return make_report("speed search", binding(embedder), bulk, results)


def _index(library: Library, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """An index of its own, so that nothing else is timed."""
    index = FullTextIndex(folder / "fulltext")

    def fill() -> None:
        for changes in drain(library.store.texts_after, dataset.id, 0):
            index.apply([changes])

    _, seconds = time_once(fill)
    return {
        "passages_per_s": round(len(index) / seconds),
        "disk_mb": round(index.nbytes / 1e6, 1),
        "bytes_per_passage": round(index.nbytes / len(index)),
    }


def _search(library: Library, dataset: Dataset, mode: SearchMode, questions: Sequence[str]) -> dict[str, Any]:
    requests = [SearchRequest(text, (dataset.id,), limit=5_000, top_k=10, mode=mode) for text in questions]
    return time_each(library.search, requests).percentiles()
