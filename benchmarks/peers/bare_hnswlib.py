"""Bare hnswlib, a floor: cosine space, M 16 and ef_construction 200, which are its defaults.

Not a peer but the price of the index alone: labels and distances come back, no texts. The default ef is
10, which for ten neighbours is the least there can be; for the recall it is raised. Adding uses all cores,
a query one. Nothing is on disk until the program calls `save_index`, which writes everything: a kill loses
all since then, here all.
"""

from collections.abc import Sequence

import hnswlib

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, efforts, main


class HnswlibVectors:
    returns = "rows, scores"
    settings = efforts("ef", 16, 1024)
    server = None

    def __init__(self, job: Job) -> None:
        self._index = hnswlib.Index(space="cosine", dim=job.vectors.shape[1])
        self._index.init_index(max_elements=len(job.vectors))

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        self._index.add_items(vectors)

    def search(self, query: Query, top_k: int) -> list[int]:
        found: list[int] = self._index.knn_query(query.vector, k=top_k)[0][0].tolist()
        return found

    def use(self, setting: Setting) -> None:
        self._index.set_ef(setting["ef"])

    def count(self) -> int:
        return int(self._index.get_current_count())


if __name__ == "__main__":
    main(HnswlibVectors)
