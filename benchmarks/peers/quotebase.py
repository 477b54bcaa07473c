"""quotebase itself, asked by the same lines as the others, through ``retrieval.library.Library``.

Everything as it comes, there is nothing to set: the vector index calibrates itself to a recall of 98 %, first by
questions made of its passages, and in the background by those that it was asked, once they are 1,000. By default is
before that; for the recall is after it, and opened again, so that no question is remembered. With vectors a search
is whole but for the model: the question's known embedding is handed over, records are read from SQLite, repeats
dropped, tokens counted. With texts a CSV file is imported as by `quotebase ingest`, the bundled model runs on
OpenVINO, in bf16 where the processor has it. Threads: as many as it takes. Each batch is on disk (fsync) before it
counts as added; a kill loses nothing that was acknowledged.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.known_embedder import KnownEmbedder
from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, main, slices
from ingest.imports import import_file
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from retrieval.types import MAX_LIMIT, ModelBinding, RecordDraft, SearchRequest

BATCH = 5_000


class QuotebaseVectors:
    returns = "records, scores, tokens"
    server = None

    def __init__(self, job: Job) -> None:
        assert job.binding is not None
        known = {query.text: query.vector for query in job.queries}
        self._place, self._embedder = job.place, KnownEmbedder(ModelBinding(**job.binding), known)
        self.settings: Sequence[Setting] = ({"questions before": len(known)},)
        self._library = Library.open(self._place, self._embedder)
        found = self._library.store.find_dataset("bulk")
        self._dataset = found or self._library.create_dataset("bulk")
        self._rows: dict[str, int] = {}

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        collection = self._library.ensure_collection(self._dataset.id, "bulk")
        for part in slices(len(rows), BATCH):
            drafts = [RecordDraft(row.q, row.a) for row in rows[part]]
            added = self._library.add_records(collection, drafts, vectors[part]).added
            self._rows |= {record_id: row for row, record_id in enumerate(added, part.start)}
        self._settle()

    def search(self, query: Query, top_k: int) -> list[int]:
        request = SearchRequest(query.text, (self._dataset.id,), limit=MAX_LIMIT, top_k=top_k)
        return [self._rows[quote.record.id] for quote in self._library.search(request).quotes]

    def use(self, setting: Setting) -> None:
        self._settle()
        self._library.close()
        self._library = Library.open(self._place, self._embedder)
        self._settle()

    def _settle(self) -> None:
        """Wait for the background: a fold, a graph that is read into memory, its effort."""
        self._library.load_index(self._dataset.id)
        self._library.settle()

    def count(self) -> int:
        return self._library.index_status(self._dataset.id).passages


class QuotebaseTexts:
    def __init__(self, job: Job) -> None:
        assert job.model is not None
        # The bundled model unpacks itself into CACHE/models/NAME.
        self._library = Library.open(job.place, BundledEmbedder(job.model.parent.parent))
        self._dataset = self._library.create_dataset("bulk")

    def add(self, table: Path) -> None:
        import_file(self._library, self._dataset, table)

    def search(self, question: str, top_k: int) -> list[int]:
        request = SearchRequest(question, (self._dataset.id,), limit=MAX_LIMIT, top_k=top_k)
        return [quote.record.chunk_index for quote in self._library.search(request).quotes]


if __name__ == "__main__":
    main(QuotebaseVectors, QuotebaseTexts)
