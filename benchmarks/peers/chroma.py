"""Chroma, `PersistentClient`, in the cosine space, all else as it comes.

With vectors: `add` in batches of 5,000, fewer than its limit, with the texts as documents; `query` returns
ids, documents and distances. For the recall, `ef_search` (100) is raised, and the collection opened again, as what
is open keeps its value. With texts: its own `SentenceTransformerEmbeddingFunction` on our model's folder,
normalised; it has no way to put one prompt before queries and another before documents, so none is put.
Threads: as many as it takes. Each `add` is committed to SQLite before it returns; a kill loses nothing.
"""

from collections.abc import Sequence
from pathlib import Path

import chromadb
from chromadb.api.client import SharedSystemClient
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, efforts, main, read_rows, slices

BATCH = 5_000
COSINE = {"hnsw": {"space": "cosine"}}


class ChromaVectors:
    returns = "ids, texts, distances"
    settings = efforts("ef_search", 100, 1600)
    server = None

    def __init__(self, job: Job) -> None:
        self._place = str(job.place)
        self._collection = chromadb.PersistentClient(self._place).get_or_create_collection(
            "bulk", configuration=COSINE, embedding_function=None
        )

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        for part in slices(len(rows), BATCH):
            self._collection.add(
                ids=[str(row) for row in range(part.start, part.stop)],
                embeddings=vectors[part],
                documents=[row.text for row in rows[part]],
            )

    def search(self, query: Query, top_k: int) -> list[int]:
        found = self._collection.query(
            query_embeddings=query.vector[None], n_results=top_k, include=["documents", "distances"]
        )
        return [int(row) for row in found["ids"][0]]

    def use(self, setting: Setting) -> None:
        self._collection.modify(configuration={"hnsw": dict(setting)})
        SharedSystemClient.clear_system_cache()
        self._collection = chromadb.PersistentClient(self._place).get_collection(
            "bulk", embedding_function=None
        )

    def count(self) -> int:
        return int(self._collection.count())


class ChromaTexts:
    def __init__(self, job: Job) -> None:
        embed = SentenceTransformerEmbeddingFunction(str(job.model), normalize_embeddings=True)
        self._client = chromadb.PersistentClient(str(job.place))
        self._embed = embed

    def add(self, table: Path) -> None:
        rows = read_rows(table)
        self._collection = self._client.create_collection(
            table.stem, configuration=COSINE, embedding_function=self._embed
        )
        for part in slices(len(rows), BATCH):
            self._collection.add(
                ids=[str(row) for row in range(part.start, part.stop)],
                documents=[row.text for row in rows[part]],
            )

    def search(self, question: str, top_k: int) -> list[int]:
        found = self._collection.query(query_texts=[question], n_results=top_k)
        return [int(row) for row in found["ids"][0]]


if __name__ == "__main__":
    main(ChromaVectors, ChromaTexts)
