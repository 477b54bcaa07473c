"""What an import costs beside the embedding of its texts, and what searches feel of it.

The rows are imported in parts, and before or after each part its texts are embedded by themselves, in
turns, so that a noisy machine is noisy for both. All parts go into one collection. What imports leave to the
background, as the graph of the index, is waited for in between and timed by itself.
"""

import csv
import itertools
import resource
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.report import make_report
from benchmarks.timing import time_each, time_once
from ingest.imports import import_file
from ingest.jobs import ImportReport, ImportSettings, Mode
from retrieval.embedding import Embedder, binding
from retrieval.library import Library
from retrieval.passages import to_passages
from retrieval.types import Dataset, RecordDraft, SearchRequest

PARTS = 10
SEARCHED_BESIDE = 3_000
"""Rows that are imported while searches are timed."""
PAUSE_S = 0.1
"""Between two of these searches."""
CHANGED, REMOVED = 100, 50

FORGOTTEN_AFTER = 10_000
"""Other texts that are counted before texts are embedded by themselves: more than an embedder remembers."""

Say = Callable[[str], None]
Rows = Sequence[tuple[str, str]]


def measure_ingest(bulk: Path, embedder: Embedder, most: int, say: Say) -> dict[str, Any]:
    """Import ``most`` rows of a q/a table, in parts, then again, then changed."""
    rows = read_rows(bulk, most)
    embedder.embed_passages(["warm up"])
    with (
        tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place,
        Library.open(Path(place) / "data", embedder) as library,
    ):
        dataset = library.create_dataset("bulk")
        bench = _Bench(library, dataset, Path(place), say)
        results = {
            **bench.cost(rows),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "again": bench.again(rows),
            "replaced": bench.replaced(rows),
            "searches_beside": bench.searches_beside(rows[-SEARCHED_BESIDE:]),
        }
    return make_report("speed ingest", binding(embedder), bulk, results)


class _Bench:
    def __init__(self, library: Library, dataset: Dataset, folder: Path, say: Say) -> None:
        self._library = library
        self._dataset = dataset
        self._folder = folder
        self._say = say

    def cost(self, rows: Rows) -> dict[str, Any]:
        """Seconds of importing against seconds of embedding the same distinct texts."""
        embed_s = import_s = upkeep_s = 0.0
        counts = dict.fromkeys(("read", "added", "unchanged", "rejected", "embedded"), 0)
        size = -(-len(rows) // PARTS)
        for part in range(PARTS):
            slice_ = rows[part * size : (part + 1) * size]
            for is_import in (part % 2 == 0, part % 2 == 1):
                if is_import:
                    report = self._import(slice_, "bulk")
                    import_s += report.seconds
                    counts = {name: count + getattr(report, name) for name, count in counts.items()}
                else:
                    embed_s += self._embed_alone(slice_)
                upkeep_s += time_once(self._library.settle)[1]
            self._say(f"part {part + 1} of {PARTS}: import {import_s:.1f} s, embedding {embed_s:.1f} s")
        assert counts["read"] == counts["added"] + counts["unchanged"] + counts["rejected"]
        return {
            "rows": len(rows),
            **counts,
            "import_s": round(import_s, 1),
            "embedding_alone_s": round(embed_s, 1),
            "times_embedding": round(import_s / embed_s, 3),
            "background_after_parts_s": round(upkeep_s, 1),
            "rows_per_s": round(len(rows) / import_s, 1),
        }

    def _embed_alone(self, rows: Rows) -> float:
        embedder = self._library.embedder
        drafts = [RecordDraft(q, a) for q, a in rows]
        texts = list(dict.fromkeys(p.text for group in to_passages(drafts, embedder) for p in group))
        # An embedder may remember the tokens of what it has counted last: embedding takes reading them.
        embedder.count_tokens([f"something else {n}" for n in range(FORGOTTEN_AFTER)])
        _, seconds = time_once(lambda: embedder.embed_passages(texts))
        return seconds

    def again(self, rows: Rows) -> dict[str, Any]:
        """All rows at once, all of them known."""
        report = self._import(rows, "bulk")
        return {
            "embedded": report.embedded,
            "added": report.added,
            "rows_per_s": round(report.read / report.seconds),
        }

    def replaced(self, rows: Rows) -> dict[str, Any]:
        """The collection becomes the same rows but for some that changed and some that went."""
        changed = [(q, f"{a} (changed)") for q, a in rows[:CHANGED]]
        report = self._import([*changed, *rows[CHANGED:-REMOVED]], "bulk", "replace")
        found = sum(self._is_found(q, a) for q, a in rows[-REMOVED:])
        return {
            "embedded": report.embedded,
            "removed": report.removed,
            "removed_ones_found": found,
            "s": round(report.seconds, 1),
        }

    def _is_found(self, q: str, a: str) -> bool:
        result = self._library.search(SearchRequest(q, (self._dataset.id,), limit=20_000, top_k=10))
        return any((quote.record.q, quote.record.a) == (q, a) for quote in result.quotes)

    def searches_beside(self, rows: Rows) -> dict[str, Any]:
        """Milliseconds of whole searches with new questions while rows are imported."""
        fresh = [(f"{q} ", a) for q, a in rows]
        is_over = threading.Event()
        asked = itertools.takewhile(lambda _: not is_over.wait(PAUSE_S), (f"{q}?" for q, _ in rows))

        def ask(text: str) -> None:
            self._library.search(SearchRequest(text, (self._dataset.id,), limit=5_000))

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(time_each, ask, asked)
            try:
                self._import(fresh, "beside")
            finally:
                is_over.set()
        timed = asking.result()
        return {"searches": len(timed.taken_ms), **timed.percentiles(0)}

    def _import(self, rows: Rows, collection: str, mode: Mode = "append") -> ImportReport:
        path = self._folder / "rows.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("q", "a"), *rows])
        settings = ImportSettings("rows.csv", collection, mode)
        return import_file(self._library, self._dataset, path, settings)


def read_rows(bulk: Path, most: int) -> list[tuple[str, str]]:
    """(q, a) of the first rows of a q/a table."""
    with bulk.open(encoding="utf-8", newline="") as file:
        return [(row["q"], row["a"]) for row, _ in zip(csv.DictReader(file), range(most), strict=False)]
