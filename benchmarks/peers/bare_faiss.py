"""Bare FAISS, a floor: `IndexHNSWFlat`, 32 links, fp32, inner product, everything else as it comes.

Not a peer but the price of the index alone: rows and scores come back, no texts, nothing is filtered, and
ids are positions. The default efSearch is 16; for the recall it is raised. One query at a time, as an
application would; building uses all cores. Nothing is on disk until the program calls `write_index`,
which writes everything: a kill loses all since then, here all.
"""

from collections.abc import Sequence

import faiss

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, efforts, main

LINKS = 32


class FaissVectors:
    returns = "rows, scores"
    settings = efforts("efSearch", 16, 1024)
    server = None

    def __init__(self, job: Job) -> None:
        self._index = faiss.IndexHNSWFlat(job.vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        self._index.add(vectors)

    def search(self, query: Query, top_k: int) -> list[int]:
        found: list[int] = self._index.search(query.vector[None], top_k)[1][0].tolist()
        return found

    def use(self, setting: Setting) -> None:
        self._index.hnsw.efSearch = setting["efSearch"]

    def count(self) -> int:
        return int(self._index.ntotal)


if __name__ == "__main__":
    main(FaissVectors)
